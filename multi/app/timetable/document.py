"""An entry of the schedule as it is kept: what is to be sent and when, and how far that has come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from multi.app.schedules import BaseSchedule
from multi.app.schedules.entry import Entry
from multi.app.schedules.storing import decode, encode
from multi.codecs import JSON
from multi.errors import DecodeError, EncodeError, MultiError

CODE, ADDED = "code", "added"


class Definition(msgspec.Struct, frozen=True):
    """What is to be sent, and when. `schedule` is None and `body` empty where only the project's code can say it."""

    task: str
    schedule: dict[str, Any] | None
    body: str
    missed: str = "once"
    enabled: bool = True


class Claim(msgspec.Struct):
    """Runs that are about to be sent, where that can't be one step with writing it down: due times, by whom, and when."""

    runs: list[float]
    by: str
    at: float


class Document(msgspec.Struct, omit_defaults=True):
    """One entry. Runs are due after `at`, the last due time that is done with; all times are seconds since the epoch.

    `ran` is when it was sent last and `id` that task's; `trouble` why it wasn't. `by` is who wrote this: no two who do write
    the same.
    """

    what: Definition
    at: float
    by: str
    origin: str = CODE
    ran: float = 0.0
    count: int = 0
    id: str = ""
    paused: bool = False
    trouble: str = ""
    claim: Claim | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Document).decode


def write(document: Document) -> bytes:
    return _encode(document)


def read(value: bytes) -> Document | None:
    """None for one that another version wrote and this one can't read: it is left alone."""
    try:
        return _decode(value)
    except msgspec.DecodeError:
        return None


def define(entry: Entry) -> Definition:
    """What of an entry can be kept."""
    try:
        schedule = encode(entry.schedule)
    except (MultiError, TypeError, ValueError):
        schedule = None
    options = {name: _seconds(value) for name, value in (entry.options or {}).items()}
    try:
        body = JSON.dumps([list(entry.args or ()), dict(entry.kwargs or {}), options]).decode()
    except (EncodeError, TypeError, ValueError):
        body = ""
    return Definition(entry.task, schedule, body, entry.missed, entry.enabled)


def restore(name: str, what: Definition, own: Mapping[str, Entry], app: Any) -> Entry | None:
    """The entry of a definition; `own` are those of this project's code. None where only other code can say it."""
    mine = own.get(name)
    if mine is not None and define(mine) == what:
        return mine
    if what.schedule is None or not what.body:
        return None
    try:
        schedule: BaseSchedule = decode(what.schedule)
        args, kwargs, options = JSON.loads(what.body.encode())
    except (MultiError, DecodeError, TypeError, ValueError, KeyError):
        return None
    schedule.app = app
    return Entry(
        name=name,
        task=what.task,
        schedule=schedule,
        args=tuple(args),
        kwargs=kwargs,
        options=options,
        missed=what.missed,
    )


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value
