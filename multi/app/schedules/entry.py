"""One entry of the schedule: which task, when, and with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from multi.app.schedules.base import BaseSchedule
from multi.app.schedules.lazy import BeatLazyFunc
from multi.app.schedules.making import maybe_schedule
from multi.app.schedules.missed import MISSED
from multi.errors import ConfigurationError, EncodeError, MultiError

if TYPE_CHECKING:
    from multi.app.app import App

#: What an entry of `beat_schedule` may say.
KEYS = ("task", "schedule", "args", "kwargs", "options", "relative", "missed", "tz", "enabled")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be sent, and when."""

    name: str
    task: str
    schedule: BaseSchedule
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those of `apply_async`."""
    relative: bool = False
    missed: str = "once"
    """What is done about runs while no scheduler was there: once, skip or all (`multi.app.schedules.missed`)."""
    enabled: bool = True
    """False: it is known, but nothing is sent until somebody resumes it."""


def nameless(name: object) -> str:
    """What is wrong with the name of an entry; "" if nothing is."""
    if not isinstance(name, str):
        return "the name of an entry is a text"
    return "" if name.strip() else "the name of an entry is empty; give it one that tells what it is for"


def misfit(app: App, entry: Entry) -> str:
    """Why its task can't be called with its arguments, as the call itself would say; "" if it can, or nobody here knows."""
    task = app._tasks.get(entry.task)
    if task is None or not task.typing or not app.strict_typing:
        return ""
    try:
        task.check_arguments(entry.args, entry.kwargs)
    except TypeError as error:
        return str(error)
    return ""


def made(app: App, name: str, given: object) -> tuple[Entry | None, list[str]]:
    """The entry that a dictionary describes, and all that is wrong with it; no entry if anything is."""
    if isinstance(given, Entry):
        return given, []
    if not isinstance(given, Mapping):
        return None, [f"it is {given!r}; an entry is a dictionary with task and schedule"]
    wrong = [_unknown(key) for key in given if key not in KEYS]
    wrong += [f"{key} is missing" for key in ("task", "schedule") if given.get(key) is None]
    task = _task(given.get("task"), wrong)
    schedule = _schedule(app, given, wrong)
    args, kwargs, options = given.get("args") or (), given.get("kwargs") or {}, given.get("options") or {}
    if isinstance(args, str | bytes) or not isinstance(args, Sequence):
        wrong.append(f"args is {args!r}; it is a tuple or list of the arguments, as in (16,)")
    for key, value in (("kwargs", kwargs), ("options", options)):
        if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value):
            wrong.append(f"{key} is {value!r}; it is a dictionary with names as keys")
    missed, enabled = given.get("missed", "once"), given.get("enabled", True)
    if missed not in MISSED:
        wrong.append(f"missed is {missed!r}; it is one of {', '.join(map(repr, MISSED))}")
    if not isinstance(enabled, bool):
        wrong.append(f"enabled is {enabled!r}; it is True or False")
    if not wrong:
        wrong += _unsendable(app, task, args, kwargs, options)
    if wrong or schedule is None:
        return None, wrong
    relative = bool(given.get("relative", False))
    return Entry(name, task, schedule, tuple(args), dict(kwargs), dict(options), relative, missed, enabled), []


def _unknown(key: object) -> str:
    near = get_close_matches(str(key), KEYS, 1, 0.6)
    return f"{key!r} is no key of an entry" + (
        f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(KEYS)}"
    )


def _task(given: object, wrong: list[str]) -> str:
    from multi.app.task import Task

    if isinstance(given, Task):
        return str(given.name)
    if isinstance(given, Mapping):
        kind = given.get("subtask_type") or "signature"
        wrong.append(f"task is a {kind}; it is one task's name: make a task of it that sends the {kind}")
    elif given is not None and (not isinstance(given, str) or not given):
        wrong.append(f"task is {given!r}; it is the name of a task, as in 'proj.tasks.add'")
    return given if isinstance(given, str) else ""


def _schedule(app: App, given: Mapping[str, Any], wrong: list[str]) -> BaseSchedule | None:
    if given.get("schedule") is None:
        return None
    try:
        found: BaseSchedule = maybe_schedule(given["schedule"], bool(given.get("relative", False)), app)
        if given.get("tz") is not None:
            found = found.within(given["tz"])
        return found
    except MultiError as error:
        wrong.append(str(error))
        return None


def _unsendable(app: App, task: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> list[str]:
    """What could never be sent: options that apply_async hasn't got, arguments that the serializer can't express."""
    from multi.app import options as known
    from multi.app.unsendable import explain
    from multi.codecs import codec

    wrong: list[str] = []
    try:
        known.check_names(options)
        known.check_values(options)
    except (TypeError, ValueError, MultiError) as error:
        wrong.append(f"options: {error}")
    own = getattr(app._tasks.get(task), "serializer", None)
    try:
        encoder = codec(options.get("serializer") or own or app.conf.task_serializer)
    except ConfigurationError as error:
        return [*wrong, str(error)]
    try:
        # what a lazy one gives, only its call tells
        plain = [None if isinstance(one, BeatLazyFunc) else one for one in args]
        named = {key: None if isinstance(one, BeatLazyFunc) else one for key, one in kwargs.items()}
        encoder.dumps((plain, named, {}))
    except EncodeError as error:
        wrong.append(str(explain(task, args, kwargs, {}, app._tasks, encoder, error)))
    return wrong
