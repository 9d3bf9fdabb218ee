"""By the sun."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.app.schedules.base import BaseSchedule
from multi.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from multi.app.app import App


class _Event(NamedTuple):
    method: str
    horizon: str  # how high the sun stands, in degrees (and minutes)
    by_center: bool  # of its disk rather than its rim


#: The refraction of the air at the horizon is in its angle, so the air itself is left out.
_EVENTS = {
    "dawn_astronomical": _Event("next_rising", "-18", True),
    "dawn_nautical": _Event("next_rising", "-12", True),
    "dawn_civil": _Event("next_rising", "-6", True),
    "sunrise": _Event("next_rising", "-0:34", False),
    "solar_noon": _Event("next_transit", "0", False),
    "sunset": _Event("next_setting", "-0:34", False),
    "dusk_civil": _Event("next_setting", "-6", True),
    "dusk_nautical": _Event("next_setting", "-12", True),
    "dusk_astronomical": _Event("next_setting", "-18", True),
}
#: Somewhere above the polar circles an event may be half a year away; farther than a year none is.
_FARTHEST = timedelta(days=366)


class solar(BaseSchedule):  # noqa: N801 - Celery's name
    """At an event of the sun's day, seen from a place: `solar("sunset", 47.37, 8.54)`, degrees north and east.

    The events: dawn_astronomical, dawn_nautical, dawn_civil, sunrise, solar_noon, sunset, dusk_civil, dusk_nautical,
    dusk_astronomical. Needs `pip install 'multi-workers[solar]'`.
    """

    def __init__(
        self,
        event: str,
        lat: float,
        lon: float,
        *,
        nowfun: Callable[[], datetime] | None = None,
        app: App | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        if event not in _EVENTS:
            from difflib import get_close_matches

            near = get_close_matches(str(event), _EVENTS, 1, 0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"solar: no event is called {event!r}; there are {', '.join(_EVENTS)}{hint}")
        for name, value, most in (("lat", lat, 90), ("lon", lon, 180)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
                raise ConfigurationError(
                    f"solar: {name} is {value!r}; it is a number of degrees from -{most} to {most}"
                )
        try:
            import ephem
        except ImportError:
            raise MissingExtra("ephem", "multi-workers[solar]", "schedules by the sun") from None
        self.event = event
        self.lat = lat
        self.lon = lon
        self._ephem = ephem

    def next_after(self, moment: datetime) -> datetime | None:
        """The first event after `moment`, in UTC, to the second; None if there is none within a year."""
        moment = self.maybe_make_aware(moment).astimezone(UTC)
        ephem, event = self._ephem, _EVENTS[self.event]
        place = ephem.Observer()
        place.lat, place.lon = str(self.lat), str(self.lon)
        place.elev, place.pressure, place.horizon = 0, 0, event.horizon
        sun = ephem.Sun()
        more = {"use_center": True} if event.by_center else {}
        start = ephem.Date(moment)
        end = ephem.Date(moment + _FARTHEST)
        while start < end:
            try:
                found = getattr(place, event.method)(sun, start=start, **more)
            except ephem.CircumpolarError:
                # not on this day; the next one begins when the sun is lowest
                start = ephem.Date(place.next_antitransit(sun, start=start) + ephem.second)
                continue
            time: datetime = found.datetime().replace(tzinfo=UTC)
            if time > moment + timedelta(seconds=1):
                return time
            start = ephem.Date(found + ephem.minute)  # the one of `moment` itself, found again
        return None

    @property
    def words(self) -> str:
        from multi.app.schedules.wording import of_solar

        return of_solar(self)

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def _same(self) -> Any:
        return (self.event, self.lat, self.lon, self.nowfun) if type(self) is solar else super()._same()

    __eq__ = BaseSchedule.__eq__

    def __hash__(self) -> int:
        return hash((self.event, self.lat, self.lon))

    def __reduce__(self) -> Any:
        return type(self), (self.event, self.lat, self.lon)
