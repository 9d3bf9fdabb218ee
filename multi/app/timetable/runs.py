"""Which runs of an entry are due, in seconds since the epoch. Pure: it is told what time it is."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from multi.app.schedules import BaseSchedule, crontab
from multi.app.schedules.missed import due_between

#: Runs that are sent in one step, where every one that was missed is to be made up for.
BATCH = 100
#: A due time that is done with may lie so far ahead (s) of a clock: clocks of hosts differ, and are set by a little. Beyond, it
#: was set back: an interval begins anew, and other schedules wait, so that no time of day comes twice, but no longer than a day.
SKEW, DAY = 60.0, 86400.0


class Due(msgspec.Struct):
    """The due times to be sent for now, up to which one all are done with then, and when to look again (None: never).

    `skipped` tells whether due times went by that are not sent for.
    """

    runs: list[float]
    at: float
    next: float | None
    skipped: bool = False


def due(
    schedule: BaseSchedule, missed: str, at: float, now: float, *, deadline: float | None = None, late: float = 60.0
) -> Due:
    """What is due at `now` of a schedule whose due times up to `at` are done with.

    `deadline` is beat_cron_starting_deadline: of crontabs, as in Celery, and wherever all that was missed is made up for.
    """
    limit = deadline if missed == "all" or isinstance(schedule, crontab) else None
    found = due_between(schedule, moment(at), moment(now), missed, deadline=limit, late=late, most=BATCH)
    following = None if found.next is None else found.next.timestamp()
    return Due([run.timestamp() for run in found.runs], found.last.timestamp(), following, found.skipped)


def after(schedule: BaseSchedule, at: float, now: float) -> float | None:
    """When to look at an entry next: at the first due time after `at`, or, where a schedule has to be asked, at once."""
    if schedule.is_asked:
        return now
    found = schedule.next_after(moment(at))
    return None if found is None else found.timestamp()


def is_ahead(schedule: BaseSchedule, at: float, now: float) -> bool:
    """Whether the clock was set back by so much that the schedule is to begin anew."""
    return at - now > (SKEW if schedule.is_counted or schedule.is_asked else DAY)


def patience(schedule: BaseSchedule, at: float) -> float:
    """How long nobody must have sent for a schedule that is ahead of a clock before it begins anew. Another scheduler whose
    clock is ahead of ours would send within that time: then it isn't our clock that was set, and nothing is to be sent twice."""
    following = after(schedule, at, at)
    return SKEW + (min(following - at, DAY) if following is not None else 0.0)


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
