"""What a worker holds, in Celery's form: the tasks that run, and those that are claimed and not begun.

The worker's process knows claims; what they are of, it reads from the broker, without waiting for it, and keeps as long as they
are held. A reply comes within `AT_MOST`, with what is known by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import msgspec

from multi.app.decoding import read
from multi.app.plan import executor
from multi.errors import MultiError
from multi.masking import STARS, is_secret, mask_arguments
from multi.worker.slots import CLAIMED, RUNNING, Held

if TYPE_CHECKING:
    from multi.message import Message
    from multi.worker.crew import Member
    from multi.worker.worker import Worker

#: So long (s) a reply waits for the broker.
AT_MOST = 0.5
#: More tasks than these aren't asked for at once.
MOST = 2000
#: The arguments of a larger body (bytes) are told as their text.
LARGEST = 64 * 1024
#: What is known of claims is forgotten so long (s) after it was asked for last.
KEPT = 10.0
_LONGEST_TEXT = 2048
#: Reading these runs no code of anybody's.
_PLAIN = ("application/json", "application/x-msgpack", "application/x-yaml")


class Known(msgspec.Struct):
    """What a message tells of its task."""

    id: str
    name: str
    type: str
    args: Any
    kwargs: Any
    argsrepr: str
    kwargsrepr: str
    delivery_info: dict[str, Any]
    headers: dict[str, Any]


class Found(msgspec.Struct):
    """One task that is held: by which child, in which state, and what is known of it."""

    member: Any
    held: Held
    known: Known

    @property
    def state(self) -> str:
        return "active" if self.held.state == RUNNING else "reserved"

    def info(self, hostname: str, *, safe: bool = False) -> dict[str, Any]:
        """As Celery's workers tell of a request."""
        known, running = self.known, self.held.state == RUNNING
        return {
            "id": known.id,
            "name": known.name,
            "args": known.argsrepr if safe else known.args,
            "kwargs": known.kwargsrepr if safe else known.kwargs,
            "type": known.type,
            "hostname": hostname,
            "time_start": time() - (monotonic() - self.held.since) if running else None,
            "acknowledged": self.held.will is not None,
            "delivery_info": known.delivery_info,
            "worker_pid": self.member.pid if running else None,
        }


class HeldTasks:
    """Finds them for the commands."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._known: dict[tuple[str, str], Known | None] = {}
        self._asked = 0.0
        self._tidying = False

    def ask(self, then: Callable[[list[Found]], None], states: Collection[int] = (CLAIMED, RUNNING)) -> None:
        """Call `then` with what is held in these states, in the order of the children; at once or soon."""
        worker = self._worker
        wanted: list[tuple[Member, Held]] = []
        for member in worker.members.values():
            wanted += ((member, held) for held in member.slot.held() if held.state in states)
        del wanted[MOST:]
        self._tidy(wanted)
        missing = 0
        begun = done = False

        def finish() -> None:
            nonlocal done
            if done:
                return
            done = True
            found = []
            for member, held in wanted:
                key = (held.tag, held.fence)
                known = self._known[key] if key in self._known else _told_by(held)
                if known is not None:
                    found.append(Found(member, held, known))
            then(found)

        for _, held in wanted:
            key = (held.tag, held.fence)
            if key in self._known:
                continue
            if held.will is not None:
                self._known[key] = self._read(held.will, held.queue)
                continue
            missing += 1

            def answer(message: Message | None, key: tuple[str, str] = key, queue: str = held.queue) -> None:
                nonlocal missing
                # None: it is held no more
                self._known[key] = None if message is None else self._read(message, queue)
                missing -= 1
                if not missing and begun:
                    finish()

            worker.watch.recall(held.tag, held.fence, answer)
        begun = True
        if missing:
            worker.loop.later(AT_MOST, finish)
        else:
            finish()

    def _read(self, message: Message, queue: str) -> Known:
        return read_message(self._worker.app, message, queue)

    def _tidy(self, wanted: list[tuple[Member, Held]]) -> None:
        """Forget what is held no more, now, and all of it when nobody asks any more."""
        now = monotonic()
        if now - self._asked > 0.05:
            still = {(held.tag, held.fence) for member in self._worker.members.values() for held in member.slot.held()}
            self._known = {key: known for key, known in self._known.items() if key in still and known is not None}
        self._asked = now
        if not self._tidying:
            self._tidying = True
            self._worker.loop.later(KEPT, self._forget)

    def _forget(self) -> None:
        left = self._asked + KEPT - monotonic()
        if left > 0:
            self._worker.loop.later(left, self._forget)
            return
        self._tidying = False
        self._known = {}


def read_message(app: Any, message: Message, queue: str) -> Known:
    """What a message tells, with what is named like a secret masked; of one that can't be read, what its headers say."""
    headers, args, kwargs = message.headers, None, None
    if message.content_type in _PLAIN and len(message.body) <= LARGEST:
        ex = executor(app)
        try:
            headers, args, kwargs, _ = read(message, ex.accept, ex.zone)
        except MultiError:
            pass  # its child will say why; here it is shown as far as it can be
    argsrepr = _text(headers.get("argsrepr"), args)
    kwargsrepr = _text(headers.get("kwargsrepr"), kwargs)
    info = message.properties.get("delivery_info")
    info = info if isinstance(info, dict) else {}
    task = str(headers.get("task") or "")
    return Known(
        id=str(headers.get("id") or ""),
        name=str(headers.get("shadow") or task),
        type=task,
        args=argsrepr if args is None else masked(args),
        kwargs=kwargsrepr if kwargs is None else masked(kwargs),
        argsrepr=argsrepr,
        kwargsrepr=kwargsrepr,
        delivery_info={
            "exchange": str(info.get("exchange") or ""),
            "routing_key": str(info.get("routing_key") or queue),
            "priority": message.properties.get("priority") or 0,
            "redelivered": bool(info.get("redelivered") or message.properties.get("redelivered")),
        },
        headers=message.headers,
    )


def masked(value: Any) -> Any:
    """A value with what is named like a secret masked, however deep it lies."""
    if isinstance(value, Mapping):
        return {key: STARS if is_secret(str(key)) else masked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each) for each in value]
    return mask_arguments(value) if isinstance(value, str) and ("://" in value or "=" in value) else value


def _text(given: Any, value: Any) -> str:
    text = given if isinstance(given, str) else "" if value is None else repr(value)
    return mask_arguments(text[:_LONGEST_TEXT])


def _told_by(held: Held) -> Known:
    """What the claim itself tells, where the broker hasn't answered."""
    info = {"exchange": "", "routing_key": held.queue, "priority": 0, "redelivered": False}
    return Known("", held.task, held.task, [], {}, "", "", info, {})
