"""Runs whose time has passed: which of them are sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.schedules.base import BaseSchedule

MISSED = ("once", "skip", "all")
#: A run is missed when it is late by more: other schedulers need that long to take over.
LATE = 60.0
#: As many runs are sent at once for an entry with missed="all"; the rest follows in the next round.
MOST = 1000
_TICK = timedelta(microseconds=1)
_ONE = timedelta(minutes=1)


class Due(NamedTuple):
    """What is to be sent of an entry."""

    runs: tuple[datetime, ...]
    """The due times, in UTC, oldest first."""
    last: datetime
    """The entry's last due time once they are sent; what lies before it is settled."""
    next: datetime | None
    """When something is due again; not after the present if more is to be sent at once (see `MOST`)."""
    skipped: bool = False
    """Whether runs were left out."""


def due_between(
    schedule: BaseSchedule,
    last: datetime,
    now: datetime,
    missed: str = "once",
    *,
    deadline: float | None = None,
    late: float = LATE,
    most: int = MOST,
) -> Due:
    """What is due of a schedule at `now`, if its last due time was `last`; both aware.

    While none is late by more than `late` seconds, each run is sent: another scheduler has taken over, no more. Where the
    first one is later, `missed` decides: "once" sends the newest one alone, "skip" the newest if it isn't late itself, else
    none, "all" every one. What is late by more than `deadline` seconds (the setting `beat_cron_starting_deadline`, for
    crontabs) isn't sent in any case. A schedule that is asked rather than known beforehand (`is_asked`) is due when it says
    so, once.
    """
    if missed not in MISSED:
        raise ConfigurationError(f"missed: {missed!r} is none of {', '.join(map(repr, MISSED))}")
    last, now = last.astimezone(UTC), now.astimezone(UTC)
    if schedule.is_asked:
        is_due, seconds = _asked(schedule, last, now)
        return Due((now,) if is_due else (), now if is_due else last, now + timedelta(seconds=max(seconds, 0.001)))
    first = schedule.next_after(last)
    if first is None or first > now:
        return Due((), last, first)
    runs: tuple[datetime, ...]
    each = missed == "all" or (now - first).total_seconds() <= late
    if each:
        runs = _every(schedule, first, last, now, deadline, most)
        end = runs[-1] if len(runs) == most else schedule.newest_between(last, now) or first
    else:
        end = schedule.newest_between(last, now) or first
        lateness = (now - end).total_seconds()
        is_sent = (missed == "once" or lateness <= late) and (deadline is None or lateness <= deadline)
        runs = (end,) if is_sent else ()
    skipped = not runs or runs[0] != first
    return Due(runs, end, schedule.next_after(end), skipped or (not each and first != end))


def _every(
    schedule: BaseSchedule, first: datetime, last: datetime, now: datetime, deadline: float | None, most: int
) -> tuple[datetime, ...]:
    one: datetime | None = first
    if deadline is not None and (now - first).total_seconds() > deadline:
        since = now - timedelta(seconds=deadline) - _TICK
        newest = schedule.newest_between(last, since) if schedule.is_counted else None
        one = schedule.next_after(newest or since)
    found: list[datetime] = []
    while one is not None and one <= now and len(found) < most:
        found.append(one)
        one = schedule.next_after(one)
    return tuple(found)


def _asked(schedule: BaseSchedule, last: datetime, now: datetime) -> tuple[bool, float]:
    from copy import copy

    twin = copy(schedule)
    twin.nowfun = lambda: now
    is_due, seconds = twin.is_due(last)
    return bool(is_due), float(seconds)


def in_time(schedule: BaseSchedule, now: datetime, deadline: float | None) -> bool:
    """Whether there is a run in the last `deadline` seconds before `now`; always, without a deadline."""
    if deadline is None:
        return True
    found = schedule.next_after(now.astimezone(UTC) - timedelta(seconds=deadline) - _TICK)
    return found is not None and found <= now


def newest(schedule: BaseSchedule, last: datetime, now: datetime) -> datetime | None:
    """The latest run after `last` that is not after `now`, in UTC; found by looking back ever farther, so that it costs little
    however long nobody has looked."""
    last, now = last.astimezone(UTC), now.astimezone(UTC)
    first = schedule.next_after(last)
    if first is None or first > now:
        return None
    if schedule.is_counted:
        return _newest_counted(schedule, first, now)
    back = _ONE
    low = last
    while now - back > last:
        found = schedule.next_after(now - back)
        if found is not None and found <= now:
            low = now - back
            break
        back *= 2
    # `low` has a run after it that isn't after `now`: halve until the run that follows it is the last one
    best = schedule.next_after(low)
    assert best is not None
    high = now
    while high - best > _TICK:
        middle = best + (high - best) / 2
        found = schedule.next_after(middle)
        if found is not None and found <= now:
            best = found
        else:
            high = middle
            following = schedule.next_after(best)
            if following is None or following > now:
                break
    return best


def _newest_counted(schedule: BaseSchedule, first: datetime, now: datetime) -> datetime:
    """By steps from run to run; many at once as long as the interval is a fixed one."""
    from multi.app.schedules.interval import schedule as interval

    best = first
    if isinstance(schedule, interval) and type(schedule).next_after is interval.next_after:
        step = schedule.run_every
        ahead = (now - best) // step
        spare = 2 + timedelta(days=2) // step if schedule.relative else 0
        if ahead > spare:
            best += (ahead - spare) * step
    while True:
        found = schedule.next_after(best)
        if found is None or found > now:
            return best
        best = found
