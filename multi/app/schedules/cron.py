"""At times of the clock, as cron has them."""

from __future__ import annotations

from calendar import isleap
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from multi.app.schedules import zones
from multi.app.schedules.base import BaseSchedule, schedstate
from multi.app.schedules.fields import FIELDS, ParseException, Spec

if TYPE_CHECKING:
    from multi.app.app import App

_LENGTHS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


class crontab(BaseSchedule):  # noqa: N801 - Celery's name
    """At the minutes that fit all five fields: `crontab(minute="*/15", hour="8-17", day_of_week="mon-fri")`.

    A field is a number, a text as cron has it, or several numbers. The clock is that of `tz`, else of the app. Where the clock
    is set, nothing is left out and nothing is done twice:

    - forward: a run whose time isn't there that day comes at the first moment after the change, once, unless another one comes
      by the time that it would have had without the change (an hourly one, or one every five minutes);
    - back: a run whose time is there twice comes the first time; where the hour before and the hour after are in the schedule
      as well, it goes by hours that pass rather than by names of hours, and comes both times.
    """

    def __init__(
        self,
        minute: Spec | None = "*",
        hour: Spec | None = "*",
        day_of_week: Spec | None = "*",
        day_of_month: Spec | None = "*",
        month_of_year: Spec | None = "*",
        *,
        tz: str | tzinfo | None = None,
        nowfun: Callable[[], datetime] | None = None,
        app: App | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        given = ["*" if one is None else one for one in (minute, hour, day_of_week, day_of_month, month_of_year)]
        given = [one if isinstance(one, int | str) else _kept(one) for one in given]
        #: what each field was given as, in the order of the arguments
        self.given = tuple(given)
        self.own_tz = None if tz is None else zones.known(tz)
        found: list[frozenset[int]] = []
        wrong: list[str] = []
        for field, spec in zip(FIELDS, given, strict=True):
            try:
                found.append(field.expand(spec))
            except ParseException as error:
                if isinstance(error, TypeError):
                    raise
                wrong.append(str(error))
        if wrong:
            raise ParseException("crontab: " + "\n         ".join(wrong))
        self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year = found
        self._days = tuple(sorted(self.day_of_month))
        self._months = tuple(sorted(self.month_of_year))
        if all(self._days[0] > _LENGTHS[month] for month in self._months):
            raise ParseException(
                f"crontab: day_of_month {self._text(3)} is in none of the months {self._text(4)}, so it would never run"
            )
        self._next_minute = _following(self.minute, 60)
        self._next_hour = _following(self.hour, 24)

    @classmethod
    def from_string(cls, crontab: str, **more: Any) -> crontab:
        """One of cron's lines: minute, hour, day of month, month, day of week."""
        words = crontab.split()
        if len(words) != 5:
            raise ParseException(
                f"crontab: {crontab!r} has {len(words)} fields; there are five: minute, hour, day of month, month, day of week"
            )
        minute, hour, day_of_month, month_of_year, day_of_week = words
        return cls(minute, hour, day_of_week, day_of_month, month_of_year, **more)

    # the next run ----------------------------------------------------------------------------------------------------

    def next_after(self, moment: datetime) -> datetime | None:
        """The first run after `moment`, in UTC; None beyond the year 9999."""
        zone = self.tz
        try:
            here = self.maybe_make_aware(moment).astimezone(zone)
            wall = here.replace(tzinfo=None, fold=0)
            found = self._match(wall)
            if zone is UTC:
                return None if found is None else found.replace(tzinfo=UTC)
            change = zones.change_at(zone, wall)
            if change is not None and change.shift < _ZERO:
                second = self._second_time(change, wall if here.fold else change.start, bool(here.fold))
                if here.fold or found is None or found >= change.end:
                    if second is not None:
                        return (second - zones.offset(zone, second.replace(fold=1))).replace(tzinfo=UTC)
                    found = self._match(max(change.end, wall), inclusive=change.end > wall)
            return None if found is None else self._moment(found, zone)
        except OverflowError:
            return None

    def _moment(self, found: datetime, zone: tzinfo) -> datetime | None:
        """When it is `found` on the clock, for the first time."""
        change = zones.change_at(zone, found)
        if change is not None and change.shift > _ZERO:
            following = self._match(change.end, inclusive=True)
            if following is None or following > found + change.shift:
                return change.moment
            return self._moment(following, zone)
        return (found - zones.offset(zone, found)).replace(tzinfo=UTC)

    def _second_time(self, change: zones.Change, wall: datetime, passed: bool) -> datetime | None:
        """The first run after `wall` (from there on, unless `passed`) of those in a repeated time that come again."""
        found = self._match(wall, inclusive=not passed)
        if found is None or found >= change.end:
            return None
        before = _whole_hour(change.start) - _MINUTE
        after = _whole_hour(change.end + _HOUR - timedelta(microseconds=1))
        return found if self._has_hour(before) and self._has_hour(after) else None

    def _match(self, wall: datetime, inclusive: bool = False) -> datetime | None:
        """The first time of the clock after `wall`, or from it on, that fits all fields."""
        hour = wall.hour
        if self._has_day(wall):
            if hour in self.hour:
                minute = wall.minute
                if not (inclusive and not wall.second and not wall.microsecond):
                    minute += 1
                minute = self._next_minute[minute]
                if minute >= 0:
                    return wall.replace(minute=minute, second=0, microsecond=0)
            hour = self._next_hour[hour + 1]
            if hour >= 0:
                return wall.replace(hour=hour, minute=self._next_minute[0], second=0, microsecond=0)
        day = self._next_day(wall.year, wall.month, wall.day)
        if day is None:
            return None
        year, month, date_ = day
        hour, minute = self._next_hour[0], self._next_minute[0]
        return wall.replace(year, month, date_, hour, minute, second=0, microsecond=0)

    def _has_day(self, wall: datetime) -> bool:
        return (
            wall.day in self.day_of_month
            and wall.month in self.month_of_year
            and wall.isoweekday() % 7 in self.day_of_week
        )

    def _has_hour(self, wall: datetime) -> bool:
        return wall.hour in self.hour and self._has_day(wall)

    def _next_day(self, year: int, month: int, after: int) -> tuple[int, int, int] | None:
        for this in range(year, 10_000):
            for one in self._months:
                if this == year and one < month:
                    continue
                first = date(this, one, 1).isoweekday() - 1
                length = _LENGTHS[one] if one != 2 or isleap(this) else 28
                least = after if this == year and one == month else 0
                for day in self._days:
                    if day > length:
                        break
                    if day > least and (first + day) % 7 in self.day_of_week:
                        return this, one, day
        return None

    # as Celery has it ------------------------------------------------------------------------------------------------

    def remaining_delta(
        self, last_run_at: datetime, tz: str | tzinfo | None = None, ffwd: object = None
    ) -> tuple[datetime, timedelta, datetime]:
        """The last run, how long from it to the next one, and now. All three go by time that passes (UTC), so that they can be
        added and subtracted across changes of the clock."""
        schedule = self if tz is None else self.within(tz)
        last = self.maybe_make_aware(last_run_at).astimezone(UTC)
        found = schedule._after(last)
        return last, timedelta.max if found is None else found - last, self._instant()

    def is_due(self, last_run_at: datetime) -> schedstate:
        """As every schedule's; with the setting `beat_cron_starting_deadline`, a run that is late by more seconds is not due."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        from multi.app.schedules.missed import in_time

        now = self._instant()
        is_due = left == 0 or in_time(self, now, self.app.conf.beat_cron_starting_deadline)
        return schedstate(is_due, max(self.remaining_estimate(now).total_seconds(), 0.0))

    def arguments(self) -> dict[str, Any]:
        if type(self).__init__ is not crontab.__init__:
            return super().arguments()
        return {field.name: self._text(place) for place, field in enumerate(FIELDS)}

    # the rest --------------------------------------------------------------------------------------------------------

    def _text(self, place: int) -> str:
        given = self.given[place]
        return (
            given if isinstance(given, str) else ",".join(map(str, given)) if isinstance(given, tuple) else str(given)
        )

    @property
    def line(self) -> str:
        """As a line of cron."""
        minute, hour, day_of_week, day_of_month, month_of_year = (
            self._text(place).replace(" ", "") for place in range(5)
        )
        return f"{minute} {hour} {day_of_month} {month_of_year} {day_of_week}"

    @property
    def words(self) -> str:
        from multi.app.schedules.wording import of_crontab

        return of_crontab(self)

    def __repr__(self) -> str:
        minute, hour, day_of_week, day_of_month, month_of_year = self.given
        zone = f" {self.own_tz}" if self.own_tz is not None else ""
        return f"<crontab: {minute} {hour} {day_of_month} {month_of_year} {day_of_week} (m/h/dM/MY/d){zone}>"

    def _same(self) -> Any:
        return (*self._means(), self.nowfun) if type(self) is crontab else super()._same()

    def _means(self) -> tuple[Any, ...]:
        return self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year, str(self.own_tz)

    def __hash__(self) -> int:
        return hash(self._means())

    __eq__ = BaseSchedule.__eq__

    def __reduce__(self) -> Any:
        state = {"tz": self.own_tz, "nowfun": self.nowfun, "app": self._app}
        return type(self), self.given, {key: value for key, value in state.items() if value is not None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        BaseSchedule.__init__(self, nowfun=state.get("nowfun"), app=state.get("app"))
        self.own_tz = state.get("tz")


_ZERO = timedelta(0)


def _kept(several: Any) -> Any:
    """Numbers as they can be shown and written again."""
    try:
        return tuple(sorted(several))
    except TypeError:
        return several  # the field says what is wrong with it


def _following(values: frozenset[int], size: int) -> tuple[int, ...]:
    """For each number up to `size` the first of `values` from there on; -1 where there is none."""
    table = [-1] * (size + 1)
    for place in range(size - 1, -1, -1):
        table[place] = place if place in values else table[place + 1]
    return tuple(table)


def _whole_hour(wall: datetime) -> datetime:
    return wall.replace(minute=0, second=0, microsecond=0)
