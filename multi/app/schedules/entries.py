"""All entries of an app's schedule, looked at together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.app.schedules.entry import Entry, made, misfit, nameless
from multi.errors import ConfigurationError
from multi.log import get_logger

if TYPE_CHECKING:
    from multi.app.app import App

log = get_logger(__name__)
_SEVERAL = ("chain", "group", "chord")


class Added(NamedTuple):
    """What one call of `add_periodic_task` said."""

    name: str
    given: dict[str, Any]
    is_named: bool


class Read(NamedTuple):
    """The entries by name, and what is remarkable about them."""

    entries: dict[str, Entry]
    notes: list[str]


def entries_of(app: App) -> dict[str, Entry]:
    """The entries of `beat_schedule` and those that were added; logs what is remarkable. Raises `ConfigurationError` with all
    that is wrong."""
    found, notes = read(app)
    for note in notes:
        log.warning("%s", note)
    return found


def read(app: App) -> Read:
    """The entries, and what is remarkable about them. Raises `ConfigurationError` with all that is wrong."""
    settings = app.conf.beat_schedule
    app.finalize(auto=True)
    wrong: list[tuple[str, str]] = []
    given: dict[str, Any] = {}
    for name, one in settings.items():
        if trouble := nameless(name):
            wrong.append((repr(name), trouble))
        else:
            given[name] = one
    for name, one, is_named in app.added_entries:
        if name in given and not _same(given[name], one):
            remedy = (
                "give one of them another name"
                if is_named
                else "give each a name, as in add_periodic_task(…, name='…')"
            )
            wrong.append((repr(name), f"two entries are called so: {remedy}"))
        given.setdefault(name, one)
    entries: dict[str, Entry] = {}
    for name, one in given.items():
        entry, faults = made(app, name, one)
        wrong += [(repr(name), fault) for fault in faults]
        if entry is not None:
            entries[name] = entry
    if wrong:
        raise ConfigurationError(_together(wrong))
    return Read(entries, [*_unregistered(app, entries), *_misfits(app, entries)])


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, Mapping) and dict(one) == dict(other)


def _together(wrong: list[tuple[str, str]]) -> str:
    if len(wrong) == 1:
        return f"beat_schedule: {wrong[0][0]}: {wrong[0][1]}"
    return f"beat_schedule: {len(wrong)} things are wrong:" + "".join(f"\n  {name}: {text}" for name, text in wrong)


def _unregistered(app: App, entries: Mapping[str, Entry]) -> list[str]:
    """A line for each task that this app hasn't got."""
    unknown: dict[str, list[str]] = {}
    for entry in entries.values():
        if entry.task not in app._tasks:
            unknown.setdefault(entry.task, []).append(entry.name)
    notes = []
    for task, names in unknown.items():
        near = get_close_matches(task, app._tasks, 1, 0.75)
        hint = (
            f"did you mean {near[0]!r}?" if near else "it is sent all the same, should a worker of another app have it"
        )
        sends = "sends" if len(names) == 1 else "send"
        notes.append(f"{_which(names)} {sends} {task!r}, which is no task of this app; {hint}")
    return notes


def _misfits(app: App, entries: Mapping[str, Entry]) -> list[str]:
    """A line for each way in which entries can't be sent: they stop no others."""
    found: dict[str, list[str]] = {}
    for entry in entries.values():
        if why := misfit(app, entry):
            found.setdefault(why, []).append(entry.name)
    return [f"{_which(names)} can't be sent: {why}" for why, names in found.items()]


def _which(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the entry {names[0]!r}"
    return f"the entries {', '.join(map(repr, names[:3]))}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def from_signature(
    app: App,
    schedule: Any,
    sig: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    name: str | None,
    opts: Any,
) -> Added:
    """What `add_periodic_task` is told, as an entry: arguments and options of the signature, then those of the call."""
    from multi.app.canvas.signatures import Signature
    from multi.app.task import Task

    if not isinstance(sig, Signature | Task):
        raise TypeError(
            f"add_periodic_task: {sig!r} is no task; give a task or its signature, as in add.s(1, 2)"
            + (f" (one that is known by its name only: app.signature({sig!r}))" if isinstance(sig, str) else "")
        )
    of_entry = {key: opts.pop(key) for key in ("relative", "missed", "tz", "enabled") if key in opts}
    call = sig.clone(args, kwargs or {}) if isinstance(sig, Signature) else app.signature(sig.name, args, kwargs or {})
    given = {
        "task": call.task if call.get("subtask_type") not in _SEVERAL else call,
        "schedule": schedule,
        "args": tuple(call.args),
        "kwargs": dict(call.kwargs),
        "options": {**call.options, **opts},
        **of_entry,
    }
    return Added(name or repr(call), given, bool(name))
