"""The schedule in the project's code, and what is kept of it: the code's entries come in, change and go with it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from multi.app.schedules.entry import Entry
from multi.app.timetable.document import ADDED, CODE, Document, define, read, write
from multi.documents import Change


class Merge(msgspec.Struct):
    """The changes to be made, and the names of entries that are new, other than before, and gone; `former` are those of the
    new ones whose last runs Celery's file has told."""

    changes: list[Change] = []
    new: list[str] = []
    other: list[str] = []
    gone: list[str] = []
    former: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.changes)


def merge(
    entries: Mapping[str, Entry],
    kept: Mapping[str, bytes],
    now: float,
    by: str,
    former: Mapping[str, tuple[float, int]] | None = None,
) -> Merge:
    """What is to be done so that what is kept agrees with the code's `entries`.

    A new entry, and one whose schedule is another now, runs first when its time has come after `now`; what else of an entry
    changes leaves its runs as they are. What was added at run time stays, unless the code has taken up its name. `former` are
    last run and count by name that Celery's file tells, for new entries.
    """
    found = Merge([], [], [], [], [])
    for name, entry in entries.items():
        what = define(entry)
        value = kept.get(name)
        old = read(value) if value is not None else None
        if value is not None and old is None:
            continue  # another version's: it knows better
        if old is None:
            at, count = (former or {}).get(name, (0.0, 0))
            if 0 < at <= now:
                found.former.append(name)
            document = Document(what, at if 0 < at <= now else now, by, ran=min(at, now), count=count)
            document.paused = not what.enabled
            found.changes.append(Change(name, None, write(document)))
            found.new.append(name)
        elif old.what != what or old.origin != CODE:
            document = msgspec.structs.replace(old, what=what, origin=CODE, by=by, trouble="")
            if old.what.schedule != what.schedule:
                document.at = now
            if old.what.enabled != what.enabled:
                document.paused = not what.enabled
            found.changes.append(Change(name, value, write(document)))
            found.other.append(name)
    for name, value in kept.items():
        old = read(value) if name not in entries else None
        if old is not None and old.origin != ADDED:
            found.changes.append(Change(name, value, None))
            found.gone.append(name)
    return found
