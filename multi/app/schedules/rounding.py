"""Intervals on whole minutes, hours or days of the clock (`relative`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from multi.app.schedules import zones

_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def next_boundary(moment: datetime, interval: timedelta, zone: tzinfo) -> datetime | None:
    """The last boundary of the clock of `zone` that is not after `moment` plus `interval`, nor before `moment`, in UTC; where
    there is none between them, the first one after. None beyond the end of the calendar.

    The boundaries are whole days, hours, minutes or seconds: the longest of which the interval has one. Days are those of the
    calendar: one day after noon is the midnight that follows, be the day 23 or 25 hours long.
    """
    try:
        if interval >= _DAY:
            wall = moment.astimezone(zone).replace(tzinfo=None, fold=0) + interval
            midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
            return next((one for one in _moments(midnight, zone) if one > moment), moment + interval)
        end = moment + interval
        unit = _HOUR if interval >= _HOUR else _MINUTE if interval >= _MINUTE else timedelta(seconds=1)
        rounded = _floor(end.astimezone(zone).replace(tzinfo=None, fold=0), unit)
        before = [one for one in _moments(rounded, zone) if one <= end]
        if before and before[-1] > moment:
            return before[-1]
        if unit < _MINUTE:
            return None if not before else moment + interval
        after = [*_moments(rounded, zone), *_moments(rounded + unit, zone)]
        return min((one for one in after if one > moment), default=end)
    except OverflowError:
        return None


def _floor(wall: datetime, unit: timedelta) -> datetime:
    wall = wall.replace(microsecond=0)
    if unit >= _MINUTE:
        wall = wall.replace(second=0)
    return wall.replace(minute=0) if unit >= _HOUR else wall


def _moments(wall: datetime, zone: tzinfo) -> list[datetime]:
    """When it is `wall` on the clock: once or twice, in order; where it is skipped, the first moment after the change."""
    change = zones.change_at(zone, wall)
    if change is not None and change.shift > timedelta(0):
        return [change.moment]
    folds = (0,) if change is None else (0, 1)
    return [(wall - zones.offset(zone, wall.replace(fold=fold))).replace(tzinfo=UTC) for fold in folds]
