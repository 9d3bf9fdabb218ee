"""What becomes of a task whose child is gone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from multi import signals
from multi.app import life
from multi.app.execute import dealt_with, failure, limited, stores, termination, vacate
from multi.brokers.base import Settlement, Watch
from multi.errors import MultiError, TimeLimitExceeded, WorkerLostError
from multi.log import get_logger
from multi.worker import lines
from multi.worker.crew import Member
from multi.worker.slots import Held

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.message import Message
    from multi.outcome import Outcome
    from multi.worker.events.node import Events

logger = get_logger("multi.worker")

#: After a place could not be given back, those of the next seconds are left to their leases: the worker has more to do
#: than to wait for a store that is away.
LEFT_ALONE = 10.0
#: In less time (s) than this the broker says what a message was.
ANSWERS = 2.0


class Orphans:
    """Settles for what was running: delivered again, or a FAILURE where a limit or the acknowledgement says so."""

    def __init__(self, app: App, watch: Watch, events: Events) -> None:
        self.app = app
        self.watch = watch
        self.events = events
        self._asked = 0
        self._asked_at = 0.0
        self._away_until = 0.0

    def take(self, member: Member, held: Held, code: int, *, cold: bool) -> None:
        """A task whose child is gone: what becomes of its message."""
        if held.tag in member.terminated:
            self._end(held, member.terminated[held.tag])
        elif held.will is not None:
            limit = member.condemned.get(held.tag)
            lost = WorkerLostError(f"the process that ran the task {how(code)}; it runs at most once (acks_late=False)")
            self._fail_directly(held, held.will, lost if limit is None else TimeLimitExceeded(limit))
        elif cold:
            self._hand_back(held)
        elif held.tag in member.condemned:
            limit = member.condemned[held.tag]
            self._fail(held, TimeLimitExceeded(limit))
        elif self._fails(held.task):
            lost = WorkerLostError(f"the process that ran the task {how(code)} (reject_on_worker_lost=False)")
            self._fail(held, lost)
        else:
            logger.error(
                "Task %s was running in child %d (pid %d), which %s: its message is delivered again",
                held.task,
                member.number,
                member.pid,
                how(code),
            )
            self._deliver_again(held)

    def _fails(self, name: str) -> bool:
        """Whether a task is to fail when its process dies: only where it says so in so many words."""
        task = self.app.tasks.get(name)
        return task is not None and task.effective("reject_on_worker_lost") is False

    @property
    def asking(self) -> bool:
        """Whether messages are being read again; over a connection that broke no answer comes."""
        return self._asked > 0 and monotonic() < self._asked_at + ANSWERS

    def _recall(self, held: Held, answer: Callable[[Message | None], None]) -> None:
        """Read a message again, and remember for a stop that it is under way."""
        self._asked += 1
        self._asked_at = monotonic()

        def answered(message: Message | None) -> None:
            self._asked -= 1
            answer(message)

        self.watch.recall(held.tag, held.fence, answered)

    def _hand_back(self, held: Held) -> None:
        def answer(message: Message | None) -> None:
            if message is not None:
                self.events.told("task-cancelled", str(message.headers.get("id") or ""), held.task)
            self.watch.settle([Settlement(held.tag, held.fence, held.queue, "requeue", started=False)])

        if self.events.enabled:
            self._recall(held, answer)
        else:
            answer(None)

    def _deliver_again(self, held: Held) -> None:
        def answer(message: Message | None) -> None:
            if message is not None:
                self._vacate(held, message)  # before anybody else can have the message, and a place for it
                self.events.told("task-rejected", str(message.headers.get("id") or ""), held.task, requeue=True)
            self.watch.settle([Settlement(held.tag, held.fence, held.queue, "requeue", started=True)])

        if self.events.enabled or limited(self.app, held.task):
            self._recall(held, answer)
        else:
            answer(None)

    def _vacate(self, held: Held, message: Message) -> None:
        """Give back the place of a run under a concurrency limit, which its process can't do any more."""
        if not limited(self.app, held.task) or monotonic() < self._away_until:
            return
        try:
            vacate(self.app, message)
        except Exception as error:  # the key may be a function of anybody's
            self._away_until = monotonic() + LEFT_ALONE
            logger.warning("A place of task %s could not be freed, it comes free by itself: %s", held.task, error)

    def _end(self, held: Held, number: int) -> None:
        """REVOKED, for what was terminated by this signal."""

        def outcome(message: Message) -> Outcome:
            found = termination(self.app, message)
            logger.info(lines.REVOKED, found.name, found.task_id, "terminated")
            self.events.terminated(found.task_id, found.name, number)
            if signals.RUNS.any:
                life.revoked(self.app, message, found, terminated=True, signum=number)
            return found

        if held.will is not None:
            self._settle_directly(held, outcome(held.will), held.will)
        else:
            self._settle(held, outcome)

    def _fail(self, held: Held, error: Exception) -> None:
        def outcome(message: Message) -> Outcome:
            found = failure(self.app, message, error)
            logger.error(lines.FAILED, found.name, found.task_id, found.reason or repr(error))
            self.events.ended(found, message)
            return found

        self._settle(held, outcome)

    def _settle(self, held: Held, make: Callable[[Message], Outcome]) -> None:
        """Settle with the outcome that is made of the message, which is read again."""

        def answer(message: Message | None) -> None:
            if message is None:
                return  # the lease is lost: whoever has the message now decides
            outcome = make(message)
            self._vacate(held, message)
            dealt_with(self.app, message, outcome)
            try:
                stored = stores(self.app, outcome)
            except MultiError as trouble:
                logger.error("The end of task %s could not be recorded: %s", outcome.name, trouble)
                stored = []
                if outcome.parts:
                    outcome.verb = "requeue"  # a chord waits for it
            verb, reason = outcome.verb, outcome.reason
            self.watch.settle(
                [
                    Settlement(
                        held.tag,
                        held.fence,
                        held.queue,
                        verb,
                        reason=reason,
                        stores=stored,
                        publications=outcome.publications,
                    )
                ]
            )

        self._recall(held, answer)

    def _fail_directly(self, held: Held, message: Message, error: Exception) -> None:
        """Record a FAILURE of what was acknowledged before it ran: there is no claim whose settlement could tell it."""
        outcome = failure(self.app, message, error)
        logger.error(lines.FAILED, outcome.name, outcome.task_id, repr(error))
        self.events.ended(outcome, message)
        self._settle_directly(held, outcome, message)

    def _settle_directly(self, held: Held, outcome: Outcome, message: Message) -> None:
        self._vacate(held, message)
        dealt_with(self.app, message, outcome)
        # should its child have died just before the acknowledgement
        self.watch.settle([Settlement(held.tag, held.fence, held.queue)])
        try:
            stored = stores(self.app, outcome)
            if outcome.publications:
                self.app.worker_broker.publish(outcome.publications)
            if self.app.backend is not None:
                self.app.backend.store(stored)
        except MultiError as trouble:
            logger.error("The end of a task that was acknowledged early could not be recorded: %s", trouble)


def how(code: int) -> str:
    """An exit code in words, as what follows "child 1"."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
