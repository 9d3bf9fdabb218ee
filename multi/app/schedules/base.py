"""What every schedule has; the base of a project's own."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from multi import clock
from multi.app.schedules import zones

if TYPE_CHECKING:
    from multi.app.app import App

#: How far away a run is that never comes, for those who ask for a number.
NEVER = timedelta(days=36_500)
#: Arguments that are told anew rather than kept, and `*args` and `**kwargs` (as `inspect` numbers them).
_TOLD, _REST = ("nowfun", "app", "tz"), (2, 4)


class schedstate(NamedTuple):  # noqa: N801 - Celery's name
    """Whether a run is due, and in how many seconds to ask again."""

    is_due: bool
    next: float


class BaseSchedule:
    """A schedule. One of your own says `next_after`, or `remaining_estimate`, or `is_due`; the others follow from it.

    `next_after(moment)`: the first run after a moment. `remaining_estimate(last_run_at)`: how long from now until the run that
    follows the last one. `is_due(last_run_at)`: whether to run now, and in how many seconds to ask again. A class that says
    `is_due` is asked at those times (`is_asked`); the runs of all others are known beforehand.
    """

    #: whether runs aren't known beforehand, so that `is_due` has to be asked
    is_asked: ClassVar[bool] = False
    #: whether a run is counted from the one before it, so that the same moments don't follow from every beginning
    is_counted: ClassVar[bool] = False
    #: the `next_after` that estimates are made of, if there is one
    _known: ClassVar[Callable[[Any, datetime], datetime | None] | None] = None

    # a class of a project's own may well leave `__init__` of this one out
    nowfun: Callable[[], datetime] | None = None
    #: the zone of its own, if it has one
    own_tz: tzinfo | None = None
    _app: App | None = None
    _tz: tzinfo | None = None

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        own = cls.__dict__
        if "next_after" in own:
            cls._known = own["next_after"]
            cls.is_asked = own.get("is_asked", False)
        elif "remaining_estimate" in own or "is_due" in own:
            cls.is_asked = "is_due" in own
            if "remaining_estimate" in own:  # what a base says of `next_after` isn't the whole truth any more
                cls.next_after = BaseSchedule.next_after  # type: ignore[method-assign]
                cls.is_counted = True

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: App | None = None) -> None:
        self.nowfun = nowfun
        self._app = app
        self._tz = None

    # what it is told -------------------------------------------------------------------------------------------------

    @property
    def app(self) -> App:
        """The app whose time zone counts: the one given, else the current one."""
        if self._app is not None:
            return self._app
        from multi.app import current

        return current.get()

    @app.setter
    def app(self, app: App | None) -> None:
        self._app = app
        self._tz = None

    @property
    def tz(self) -> tzinfo:
        """The time zone whose clock counts: its own, else the app's, which is looked up once."""
        if self.own_tz is not None:
            return self.own_tz
        if self._tz is None:
            self._tz = zones.known(self.app.timezone)
        return self._tz

    @tz.setter
    def tz(self, zone: str | tzinfo) -> None:
        self.own_tz = zones.known(zone)

    def within(self, tz: str | tzinfo) -> Self:
        """The same schedule by the clock of another zone."""
        twin = copy(self)
        twin.own_tz = zones.known(tz)
        return twin

    @property
    def utc_enabled(self) -> bool:
        return bool(self.app.conf.enable_utc)

    def now(self) -> datetime:
        return self.nowfun() if self.nowfun is not None else clock.now()

    def maybe_make_aware(self, moment: datetime, naive_as_utc: bool = True) -> datetime:
        """A naive time as one of the schedule's zone; it is UTC, unless `naive_as_utc` is False."""
        if moment.tzinfo is not None:
            return moment
        return moment.replace(tzinfo=UTC).astimezone(self.tz) if naive_as_utc else moment.replace(tzinfo=self.tz)

    def to_local(self, moment: datetime) -> datetime:
        return moment if self.utc_enabled else moment.astimezone(zones.local())

    # what it tells ---------------------------------------------------------------------------------------------------

    def next_after(self, moment: datetime) -> datetime | None:
        """The first run after `moment`, in UTC; None if there is none any more."""
        kind = type(self)
        twin = copy(self)
        moment = self.maybe_make_aware(moment).astimezone(UTC)
        twin.nowfun = lambda: moment
        if kind.remaining_estimate is not BaseSchedule.remaining_estimate:
            wait = twin.remaining_estimate(moment)
        elif kind.is_due is not BaseSchedule.is_due:
            wait = timedelta(seconds=twin.is_due(moment).next)
        else:
            raise NotImplementedError(f"{kind.__name__} says neither next_after nor remaining_estimate nor is_due")
        return added(moment, max(wait, timedelta(microseconds=1)))

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long from now until the run that follows that of `last_run_at`; negative if its time has passed."""
        found = self._after(self.maybe_make_aware(last_run_at))
        return NEVER if found is None else found - self._instant()

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether a run is due that follows that of `last_run_at`, and in how many seconds to ask again."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        return schedstate(True, max(self.remaining_estimate(self._instant()).total_seconds(), 0.0))

    def newest_between(self, last: datetime, now: datetime) -> datetime | None:
        """The latest run after `last` that is not after `now`, in UTC; None if there is none."""
        from multi.app.schedules.missed import newest

        return newest(self, last, now)

    @property
    def words(self) -> str:
        """The schedule, as people say it; of a class that doesn't tell, how it is made."""
        if type(self).__repr__ is not object.__repr__:
            return repr(self)
        name = type(self).__name__
        try:
            given = self.arguments()
        except (AttributeError, TypeError, ValueError):
            return name
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" if given else name

    def arguments(self) -> dict[str, Any]:
        """What its class was made with, so that the schedule can be kept and made again: the attributes that have the names of
        the arguments. Raises `AttributeError`."""
        import inspect

        names = list(inspect.signature(type(self)).parameters.values())
        return {one.name: getattr(self, one.name) for one in names if one.kind not in _REST and one.name not in _TOLD}

    # the rest --------------------------------------------------------------------------------------------------------

    def _after(self, moment: datetime) -> datetime | None:
        """The run after `moment` that estimates are made of."""
        known = type(self)._known
        if known is None:
            raise NotImplementedError(f"{type(self).__name__}.remaining_estimate")
        return known(self, moment)

    def _instant(self) -> datetime:
        """The present, in UTC."""
        return self.maybe_make_aware(self.now()).astimezone(UTC)

    def __copy__(self) -> Self:
        """As it is: a class of a project's own may be made with other arguments than its base."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseSchedule):
            return NotImplemented
        return type(self) is type(other) and self._same() == other._same()

    def __hash__(self) -> int:
        return hash(type(self))

    def _same(self) -> Any:
        """What is the same of equal schedules of one class."""
        return {key: value for key, value in vars(self).items() if key not in ("_app", "_tz")}


def added(moment: datetime, wait: timedelta) -> datetime | None:
    """None beyond the end of the calendar."""
    try:
        return moment + wait
    except OverflowError:
        return None
