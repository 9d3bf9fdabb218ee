"""Asks workers and collects what they reply, for as long as somebody who is meant may still answer.

When everybody has answered is known where the broker tells how many workers listen (`Broker.say`): then the waiting ends
with the last answer, and it is known how many were silent. With destinations it ends when all of them have answered; where
one doesn't, a roll call goes after the request, which tells who is there at all. Else the waiting ends as Celery's does, when
nobody has answered for `timeout`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from multi import control_key
from multi.app.control.replies import DECLINED, Replies
from multi.app.control.request import PING, Request, matches, message
from multi.codecs import accepted, pick
from multi.errors import MultiError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.message import Message

#: Told of each reply as it comes: `{name of the worker: what it replies}`.
Callback = Callable[[dict[str, Any]], object]

#: So long (s) after the last news a roll call goes out.
_PATIENCE = 0.15


class Question:
    """One request that was sent, and its replies so far."""

    def __init__(self, request: Request, ticket: str, callback: Callback | None) -> None:
        self.request = request
        self.ticket = ticket
        self.replies = Replies()
        self.callback = callback

    @property
    def is_complete(self) -> bool:
        """Whether everybody who listened has replied, or said that he doesn't."""
        listeners = self.replies.listeners
        return listeners is not None and self.replies.heard >= listeners

    def take(self, reply: dict[str, Any]) -> None:
        self.replies.append(reply)
        if self.callback is not None:
            self.callback(reply)


class Mailbox:
    """A queue for the replies to what is asked while it is open; to be used as a context, by one thread.

    Raises `BrokerUnavailable` when the broker can't be reached or is lost.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._key = control_key.secret(app.conf.control_key)
        namespace = app.conf.control_exchange
        self._exchange = f"{namespace}.pidbox"
        self._replies = f"reply.{namespace}.pidbox"
        self._reply_key = _uuid()
        self._questions: dict[str, Question] = {}
        self._subscription: Any = None
        self._accept = accepted(app.conf.accept_content)

    def __enter__(self) -> Mailbox:
        self._subscription = self._app.worker_broker.subscribe(
            self._replies,
            keys=(self._reply_key,),
            kind="direct",
            queue=f"{self._reply_key}.{self._replies}",
            expires=self._app.conf.control_queue_expires,
            ttl=self._app.conf.control_queue_ttl,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._subscription.close()

    def ask(self, request: Request, timeout: float = 1.0, callback: Callback | None = None) -> Question:
        """Send a request whose replies `turn` takes."""
        question = Question(request, _uuid(), callback)
        self._questions[question.ticket] = question
        said = message(
            request,
            self._app.clock.forward(),
            self._key,
            ticket=question.ticket,
            reply_to=(self._replies, self._reply_key),
            timeout=timeout,
        )
        question.replies.listeners = self._app.worker_broker.say(self._exchange, said)
        return question

    def turn(self, seconds: float) -> bool:
        """Wait so long for a message and take it; whether one came."""
        found = self._subscription.get(timeout=max(0.0, seconds))
        if found is None:
            return False
        self._take(found)
        return True

    def _take(self, found: Message) -> None:
        """A message of the reply queue; what nobody could read, or belongs to nothing that was asked, is passed over."""
        self._app.clock.adjust(_number(found.headers.get("clock")))
        question = self._questions.get(str(found.headers.get("ticket")))
        if question is None:
            return
        try:
            reply = pick(self._accept, found.content_type).loads(found.body)
        except MultiError:
            return
        if not isinstance(reply, dict):
            return
        if (reason := found.headers.get("declined")) in DECLINED:
            for name in reply:
                question.replies.decline(name, reason)
        else:
            question.take(reply)

    def call(
        self, request: Request, *, timeout: float = 1.0, limit: int | None = None, callback: Callback | None = None
    ) -> Replies:
        """Ask, and wait until everybody has answered who is meant, or nobody has for `timeout` seconds."""
        question = self.ask(request, timeout, callback)
        (found,) = self.collect([question], timeout=timeout, limit=limit)
        return found

    def collect(
        self,
        questions: list[Question],
        *,
        timeout: float = 1.0,
        limit: int | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> list[Replies]:
        """Wait for the replies to these questions, the last of which was asked last. `wait` is told while it takes long."""
        last = questions[-1]
        roll = self.ask(PING, timeout) if last.request.pattern else None
        begun = news = monotonic()
        count = 0
        while not all(_is_over(each, roll, limit) for each in questions):
            now = monotonic()
            if now - news >= timeout:
                break
            if roll is None and last.replies.listeners is not None and now - news >= _PATIENCE:
                roll = self.ask(PING, timeout)
            until = timeout if roll is not None or last.replies.listeners is None else min(timeout, _PATIENCE)
            pause = news + until - now
            came = self.turn(pause if wait is None else min(pause, 0.1))
            if (total := sum(each.replies.heard for each in questions)) > count:
                count, news = total, monotonic()
            elif wait is not None and not came:
                wait(monotonic() - begun)
        for each in questions:
            _account(each, roll, limit)
        return [each.replies for each in questions]


def cast(app: App, request: Request) -> int | None:
    """Say something to workers without a reply; how many listened, None where the broker can't tell."""
    said = message(request, app.clock.forward(), control_key.secret(app.conf.control_key))
    return app.worker_broker.say(f"{app.conf.control_exchange}.pidbox", said)


def _is_over(question: Question, roll: Question | None, limit: int | None) -> bool:
    """Whether nobody is left who may still answer a question."""
    replies, request = question.replies, question.request
    if limit and len(replies) >= limit:
        return True
    if request.destination:
        if replies.names.issuperset(request.destination):
            return True
    elif not request.pattern and question.is_complete:
        return True
    if replies.listeners == 0:
        return True
    if roll is None or roll is question or not roll.is_complete:
        return False
    # who answers a later question may only still owe the reply to this one
    return all(name in replies.names for name in roll.replies.names if _is_meant(name, request))


def _is_meant(name: str, request: Request) -> bool:
    if request.destination:
        return name in request.destination
    return not request.pattern or matches(name, request.pattern, request.matcher)


def _account(question: Question, roll: Question | None, limit: int | None) -> None:
    """Tell who was meant and hasn't replied."""
    replies, request = question.replies, question.request
    there = set[str]()
    if roll is not None:
        there = replies.there = roll.replies.names
        replies.all_there = roll.is_complete
    if request.destination:
        replies.missing = [name for name in request.destination if name not in replies.names]
        replies.silent = len(replies.missing)
        return
    replies.missing = sorted(name for name in there - replies.names if _is_meant(name, request))
    if request.pattern:
        replies.silent = None if limit and len(replies) >= limit else _silent(replies, roll)
    elif replies.listeners is not None:
        replies.silent = max(len(replies.missing), replies.listeners - replies.heard)


def _silent(replies: Replies, roll: Question | None) -> int | None:
    """How many of those who were meant by a pattern are silent, with all who haven't told their names."""
    if replies.all_there or replies.listeners == 0:
        return len(replies.missing)
    if roll is None or roll.replies.listeners is None or replies.listeners is None:
        return None
    known = roll.replies.heard + len(replies.names - roll.replies.names)
    return len(replies.missing) + max(0, min(roll.replies.listeners, replies.listeners) - known)


def _number(given: Any) -> int:
    return given if isinstance(given, int) else 0


def _uuid() -> str:
    # as uuid.uuid4() makes them; the module costs more than what it does here
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
