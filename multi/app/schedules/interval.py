"""Every so many seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from multi.app.schedules import rounding
from multi.app.schedules.base import BaseSchedule, added, schedstate
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App

_NONE = timedelta(0)


class schedule(BaseSchedule):  # noqa: N801 - Celery's name
    """Every `run_every` (seconds or a timedelta), counted from the last run. With `relative` on whole minutes, hours or days of
    the clock, whichever the interval is at least as long as: every two hours of a clock runs at 10:00 and 12:00 whenever the
    scheduler was started."""

    is_counted: ClassVar[bool] = True

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: App | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        self.run_every = _interval(run_every)
        self.relative = relative

    @property
    def seconds(self) -> float:
        return max(self.run_every.total_seconds(), 0)

    def next_after(self, moment: datetime) -> datetime | None:
        moment = self.maybe_make_aware(moment).astimezone(UTC)
        if self.relative:
            found = rounding.next_boundary(moment, self.run_every, self.tz)
            if found is None or found > moment:
                return found
        return added(moment, self.run_every)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        found = self._after(last_run_at)
        return timedelta.max if found is None else found - self._instant()

    def is_due(self, last_run_at: datetime) -> schedstate:
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        # asked for again after a whole interval, or at the clock's next boundary
        wait = self.remaining_estimate(self._instant()).total_seconds() if self.relative else self.seconds
        return schedstate(True, wait)

    def arguments(self) -> dict[str, Any]:
        if type(self).__init__ is not schedule.__init__:
            return super().arguments()
        return {"run_every": self.run_every.total_seconds(), "relative": self.relative}

    @property
    def words(self) -> str:
        from multi.app.schedules.wording import interval

        return interval(self)

    @property
    def human_seconds(self) -> str:
        from multi.app.schedules.wording import span

        return span(self.seconds)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) if isinstance(other, schedule) else self.run_every == other

    def _same(self) -> Any:
        if type(self) is not schedule:
            return super()._same()
        return self.run_every, self.relative, str(self.own_tz), self.nowfun

    def __hash__(self) -> int:
        return hash(self.run_every)

    def __reduce__(self) -> Any:
        return type(self), (self.run_every, self.relative, self.nowfun)


def _interval(given: object) -> timedelta:
    if isinstance(given, int | float) and not isinstance(given, bool):
        try:
            given = timedelta(seconds=given)
        except (OverflowError, ValueError):
            raise ConfigurationError(f"run_every: {given!r} seconds are no interval") from None
    if not isinstance(given, timedelta):
        raise ConfigurationError(
            f"run_every: {given!r} is no interval; give seconds or a timedelta, as in schedule(timedelta(minutes=5))"
        )
    if given <= _NONE:
        raise ConfigurationError(f"run_every: {given.total_seconds():g} seconds: an interval is longer than nothing")
    return given
