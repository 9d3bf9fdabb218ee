"""The schedule at run time: `app.schedule`. All schedulers of the project see a change within a second."""

from __future__ import annotations

import heapq
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec

from multi import clock
from multi.app.schedules.entry import Entry, made, misfit, nameless
from multi.app.schedules.lazy import evaluated
from multi.app.timetable.document import ADDED, CODE, Document, define, read, restore, write
from multi.app.timetable.runs import is_ahead, moment
from multi.app.timetable.shelves import Shelf, shelf
from multi.documents import Change
from multi.errors import ConfigurationError, EntryNotFound, MultiError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.result import AsyncResult

#: An entry of the code that no scheduler has taken up yet.
NEW = "new"


class Shown(msgspec.Struct):
    """An entry, for people and programs. `origin` is "code", "added" (at run time), or "new": of the code, and not taken up by
    a scheduler yet. Times are in UTC. `trouble` is why it wasn't sent when it was due last."""

    name: str
    task: str
    schedule: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    missed: str
    origin: str
    paused: bool
    count: int
    last: datetime | None
    last_id: str
    next: datetime | None
    trouble: str


#: A moment, in UTC, and the entry that is due then.
Runs = list[tuple[datetime, str]]


class Timetable:
    """See the module. Every change is one step; several who change an entry at once do so one after the other."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._by = f"{socket.gethostname()}:{os.getpid()}:{token_hex(3)}"
        self._writes = 0
        self._place: Shelf | None = None

    # -- looking -------------------------------------------------------------------------------------------------------

    def list(self) -> list[Shown]:
        """All entries, by name."""
        own = self._own()
        kept = self._kept()
        found = [self._shown(name, document, own) for name, document in kept.items()]
        for name, entry in own.items():
            if name not in kept:
                found.append(self._shown(name, Document(define(entry), self._now(), "", NEW), own))
        return sorted(found, key=lambda each: each.name)

    def get(self, name: str) -> Shown:
        """One entry. Raises `EntryNotFound`."""
        own = self._own()
        document = self._kept([name]).get(name)
        if document is None and name in own:
            document = Document(define(own[name]), self._now(), "", NEW)
        if document is None:
            raise self._missing(name)
        return self._shown(name, document, own)

    def next(self, name: str | None = None, count: int = 10, *, since: datetime | None = None) -> Runs:
        """The next runs of one entry, or of all together: when, in UTC, and which. Paused ones have none."""
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the first argument is an entry's name, not {name!r}; the next 2 of all are next(count=2)")
        own = self._own()
        kept = self._kept(None if name is None else [name])
        if name is not None and name not in kept and name not in own:
            raise self._missing(name)
        now = since or clock.now()
        heap: list[tuple[datetime, str, Entry]] = []
        for each in {*kept, *(own if name is None else {name} & own.keys())}:
            document = kept.get(each)
            entry = own[each] if document is None else restore(each, document.what, own, self._app)
            if entry is None or (entry.enabled is False if document is None else document.paused):
                continue
            at = (
                now
                if document is None or is_ahead(entry.schedule, document.at, now.timestamp())
                else moment(document.at)
            )
            following = _after(entry, max(at, now) if not entry.schedule.is_counted else at, now)
            if following is not None:
                heapq.heappush(heap, (following, each, entry))
        found: Runs = []
        while heap and len(found) < count:
            due, each, entry = heapq.heappop(heap)
            found.append((due, each))
            following = None if entry.schedule.is_asked else entry.schedule.next_after(due)
            if following is not None:
                heapq.heappush(heap, (following, each, entry))
        return found

    # -- changing ------------------------------------------------------------------------------------------------------

    def set(self, name: str, task: Any = None, schedule: Any = None, **given: Any) -> Shown:
        """Add an entry, or change one: what isn't given stays. `given` is what an entry of `beat_schedule` may say: args,
        kwargs, options, relative, missed, tz, enabled.

        One of the code's goes back to what the code says when a scheduler is started. Raises `ConfigurationError` with all that
        is wrong.
        """
        given = {
            key: value for key, value in {"task": task, "schedule": schedule, **given}.items() if value is not None
        }
        if trouble := nameless(name):
            raise ConfigurationError(f"{name!r}: {trouble}")
        own = self._own()

        def change(document: Document | None) -> Document:
            known: dict[str, Any] = {}
            if document is not None:
                old = restore(name, document.what, own, self._app)
                if old is not None:
                    known = {
                        key: getattr(old, key) for key in ("task", "schedule", "args", "kwargs", "options", "missed")
                    }
                known["enabled"] = not document.paused
            if "schedule" in given:
                known.pop("relative", None)
            entry, wrong = made(self._app, name, {**known, **given})
            if entry is None:
                raise ConfigurationError(f"the entry {name!r}: {'; '.join(wrong)}")
            if why := misfit(self._app, entry):
                raise ConfigurationError(f"the entry {name!r}: its task can't be called so: {why}")
            what = define(entry)
            if what.schedule is None or not what.body:
                raise ConfigurationError(
                    f"the entry {name!r}: its schedule or arguments can't be written down for other processes: use seconds, "
                    "crontab or solar, and arguments that JSON can express; or have it in the code's beat_schedule"
                )
            now = self._now()
            if document is None:
                return Document(what, now, "", ADDED, paused=not entry.enabled)
            at = document.at if document.what.schedule == what.schedule else now
            if document.paused and entry.enabled:
                at = now
            return msgspec.structs.replace(document, what=what, at=at, paused=not entry.enabled, trouble="")

        document = self._change(name, change, make=True)
        assert document is not None
        return self._shown(name, document, own)

    def remove(self, *names: str) -> None:
        """Take entries away; one of the code's comes back when a scheduler is started. Raises `EntryNotFound`."""
        for name in names:
            self._change(name, lambda document: None)

    def pause(self, *names: str) -> None:
        """Have entries not sent until they are resumed, also by schedulers that are started meanwhile."""
        for name in names:
            self._change(name, lambda document: msgspec.structs.replace(document, paused=True))

    def resume(self, *names: str) -> None:
        """Have entries sent again, from now on: what would have been due meanwhile isn't made up for."""
        for name in names:
            self._change(name, self._resumed)

    def _resumed(self, document: Document) -> Document:
        if not document.paused:
            return document
        return msgspec.structs.replace(document, paused=False, at=max(self._now(), document.at))

    def run(self, name: str) -> AsyncResult:
        """Send an entry's task now, beside its schedule. Raises `EntryNotFound`."""
        own = self._own()
        document = self._kept([name]).get(name)
        entry = own.get(name) if document is None else restore(name, document.what, own, self._app)
        if entry is None:
            if document is None:
                raise self._missing(name)
            raise ConfigurationError(
                f"the entry {name!r} can only be sent by code that has it: its arguments aren't kept"
            )
        options = dict(entry.options)
        options["headers"] = {**(options.get("headers") or {}), "periodic_task_name": name}
        args, kwargs = (
            [evaluated(one) for one in entry.args],
            {key: evaluated(one) for key, one in entry.kwargs.items()},
        )
        task = self._app.tasks.get(entry.task)
        sent: AsyncResult
        if task is not None:
            sent = task.apply_async(args, kwargs, **options)
        else:
            sent = self._app.send_task(entry.task, args, kwargs, **options)
        return sent

    # -- the rest ------------------------------------------------------------------------------------------------------

    @property
    def place(self) -> Shelf:
        """Where the schedule is kept."""
        if self._place is None:
            self._place = shelf(self._app)
        return self._place

    def _own(self) -> dict[str, Entry]:
        """The code's entries, as far as they can be read: what is wrong with them is told by who runs them."""
        from multi.app.schedules.entries import read as read_entries

        try:
            return read_entries(self._app).entries
        except MultiError:
            return {}

    def _kept(self, names: Iterable[str] | None = None) -> dict[str, Document]:
        place = self.place
        found = {name: read(value) for name, value in place.keeps.documents(place.name, names)[1].items()}
        return {name: document for name, document in found.items() if document is not None}

    def _change(self, name: str, change: Callable[[Any], Document | None], *, make: bool = False) -> Document | None:
        """Change the document of an entry, whatever others do to it meanwhile; with `make` there need be none."""
        place = self.place
        while True:
            value = place.keeps.documents(place.name, [name])[1].get(name)
            document = read(value) if value is not None else None
            if value is not None and document is None:
                raise ConfigurationError(f"the entry {name!r} was written by another version of multi: use that one")
            if document is None:
                document = self._of_code(name)
                if document is None and not make:
                    raise self._missing(name)
            changed = change(document)
            if changed is not None:
                self._writes += 1
                changed = msgspec.structs.replace(changed, by=f"{self._by}:{self._writes}")
            new = None if changed is None else write(changed)
            if place.keeps.change(place.name, [Change(name, value, new)], tell=True)[0].done:
                return changed

    def _of_code(self, name: str) -> Document | None:
        """An entry of the code that no scheduler has taken up yet, as one would."""
        entry = self._own().get(name)
        return None if entry is None else Document(define(entry), self._now(), "", CODE, paused=not entry.enabled)

    def _missing(self, name: str) -> EntryNotFound:
        import difflib

        near = difflib.get_close_matches(str(name), {*self._kept(), *self._own()}, 1, 0.6)
        hint = f"; did you mean {near[0]!r}?" if near else "; `multi schedule list` shows those that there are"
        return EntryNotFound(f"there is no entry {name!r} in the schedule{hint}")

    def _now(self) -> float:
        return clock.now().timestamp()

    def _shown(self, name: str, document: Document, own: Mapping[str, Entry]) -> Shown:
        entry = restore(name, document.what, own, self._app)
        following = None
        if entry is not None and not document.paused:
            now = clock.now()
            at = now if is_ahead(entry.schedule, document.at, now.timestamp()) else moment(document.at)
            following = None if entry.schedule.is_asked else entry.schedule.next_after(at)
        return Shown(
            name=name,
            task=document.what.task,
            schedule=entry.schedule.words if entry is not None else "(known to other code only)",
            args=entry.args if entry is not None else (),
            kwargs=entry.kwargs if entry is not None else {},
            options=entry.options if entry is not None else {},
            missed=document.what.missed,
            origin=document.origin,
            paused=document.paused,
            count=document.count,
            last=datetime.fromtimestamp(document.ran, UTC) if document.ran else None,
            last_id=document.id,
            next=following,
            trouble=document.trouble,
        )


def _after(entry: Entry, at: datetime, now: datetime) -> datetime | None:
    """The first run after `now` of a schedule whose last one was at `at`."""
    schedule = entry.schedule
    if schedule.is_asked:
        return None
    if schedule.is_counted and at < now:
        at = schedule.newest_between(at, now) or at
    return schedule.next_after(at)
