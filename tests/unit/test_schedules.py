"""Intervals, the sun, schedules of a project's own; how all of them are kept and told."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import multi
from multi import App, BaseSchedule, ParseException, crontab, maybe_schedule, schedstate, schedule, solar
from multi.app.schedules.missed import due_between
from multi.app.schedules.storing import decode, encode
from multi.errors import ConfigurationError, DecodeError, EncodeError, MissingExtra

app = App("schedules", set_as_current=False)
NOON = datetime(2026, 6, 3, 12, tzinfo=UTC)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 6, 3, hour, minute, second, tzinfo=UTC)


# intervals -----------------------------------------------------------------------------------------------------------


def test_an_interval_is_counted_from_the_run_before() -> None:
    assert schedule(90, app=app).next_after(NOON) == at(12, 1, 30)
    assert schedule(timedelta(hours=2), app=app).next_after(NOON) == at(14)
    assert schedule(10, app=app).next_after(datetime.max.replace(tzinfo=UTC)) is None
    now = at(12, 0, 30)
    assert schedule(20, nowfun=lambda: now, app=app).is_due(NOON) == (True, 20)
    assert schedule(40, nowfun=lambda: now, app=app).is_due(NOON) == (False, 10)
    assert schedule(40, nowfun=lambda: now, app=app).remaining_estimate(NOON) == timedelta(seconds=10)


def test_a_relative_interval_runs_on_the_clock() -> None:
    zurich = App("zurich", timezone="Europe/Zurich", set_as_current=False)
    assert schedule(7200, True, app=app).next_after(at(10, 20)) == at(12)
    assert schedule(7200, True, app=app).next_after(at(12)) == at(14)
    assert schedule(300, True, app=app).next_after(at(12, 0, 17)) == at(12, 5)
    daily = schedule(timedelta(days=1), True, app=zurich)
    assert daily.next_after(NOON) == at(22)  # midnight there
    assert daily.within("UTC").next_after(NOON) == datetime(2026, 6, 4, tzinfo=UTC)
    assert schedule(0.5, True, app=app).next_after(NOON) == NOON + timedelta(seconds=0.5)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *((0, "0 seconds"), (-1, "-1 seconds"), (None, "None is no interval"), ("5", "'5' is no interval")),
        *((True, "True is no interval"), (float("nan"), "nan seconds are no interval"), (1e300, "1e.300 seconds")),
    ],
)
def test_an_interval_that_is_none_is_an_error(given: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        schedule(given)


def test_an_interval_is_equal_to_its_time() -> None:
    assert schedule(60) == schedule(timedelta(minutes=1)) == timedelta(minutes=1)
    assert schedule(60) != schedule(61)
    assert schedule(60) != schedule(60, True) and schedule(60, True) != schedule(60, True).within("Asia/Tokyo")
    assert repr(schedule(90)) == "<freq: 1 minute 30 seconds>"
    again = pickle.loads(pickle.dumps(schedule(60, True)))
    assert again == schedule(60, True) and again.relative
    assert schedule(60).seconds == 60


# what an entry may say -----------------------------------------------------------------------------------------------


def test_numbers_timedeltas_and_lines_of_cron_stand_for_schedules() -> None:
    assert maybe_schedule(30, app=app) == schedule(30)
    relative = maybe_schedule(timedelta(hours=1), True, app=app)
    assert relative == schedule(3600, True)
    assert maybe_schedule("*/5 * * * *", app=app) == crontab("*/5")
    own = crontab()
    assert maybe_schedule(own, app=app) is own and own.app is app
    assert maybe_schedule(None) is None
    with pytest.raises(ParseException, match="has 2 fields"):
        maybe_schedule("every minute")
    with pytest.raises(ConfigurationError, match=r"\[\] is none; give seconds, a timedelta, crontab"):
        maybe_schedule([])  # type: ignore[call-overload]  # wrong on purpose


def test_celerys_schedules_are_told_from_ours() -> None:
    theirs = pytest.importorskip("celery.schedules")
    with pytest.raises(
        ConfigurationError, match="celery.schedules has schedules for Celery's beat; import them from multi"
    ):
        maybe_schedule(theirs.crontab())


# the sun -------------------------------------------------------------------------------------------------------------


def test_the_sun_sets_in_zurich() -> None:
    pytest.importorskip("ephem")
    sunset = solar("sunset", 47.37, 8.54, app=app)
    found = sunset.next_after(NOON)
    assert found is not None and at(19, 10) < found < at(19, 20)
    following = sunset.next_after(found)
    assert following is not None and timedelta(hours=23, minutes=55) < following - found < timedelta(
        hours=24, minutes=5
    )
    assert sunset == solar("sunset", 47.37, 8.54) != solar("sunrise", 47.37, 8.54)
    assert pickle.loads(pickle.dumps(sunset)) == sunset
    assert repr(sunset) == "<solar: sunset at latitude 47.37, longitude: 8.54>"
    assert len({sunset, solar("sunset", 47.37, 8.54)}) == 1


def test_a_sun_that_does_not_rise_is_waited_for() -> None:
    pytest.importorskip("ephem")
    sunrise = solar("sunrise", 78.2, 15.6, app=app)  # Spitsbergen, where it is up from april to august
    found = sunrise.next_after(NOON)
    assert found is not None and (found.month, found.day) > (8, 15)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sunst", 0, 0), "no event is called 'sunst'; there are dawn_astronomical, .*; did you mean 'sunset'"),
        (("sunset", 91, 0), "lat is 91; it is a number of degrees from -90 to 90"),
        (("sunset", 0, -180.5), "lon is -180.5; it is a number of degrees from -180 to 180"),
        (("sunset", "47", 0), "lat is '47'"),
    ],
)
def test_a_sun_that_cannot_be_is_an_error(arguments: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        solar(*arguments)


def test_the_sun_needs_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ephem", None)
    with pytest.raises(MissingExtra, match=r"pip install 'multi-workers\[solar\]'"):
        solar("sunset", 47, 8)


# one's own -----------------------------------------------------------------------------------------------------------


class Estimating(BaseSchedule):
    """Says how long it takes, as Celery's schedules do: at the next full ten minutes."""

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        last = last_run_at.astimezone(UTC)
        following = last.replace(minute=last.minute // 10 * 10, second=0, microsecond=0) + timedelta(minutes=10)
        return following - self.now()


class Asked(BaseSchedule):
    """Says whether it is due when it is asked."""

    def __init__(self) -> None:  # without that of its base, as many are
        self.wants = False

    def is_due(self, last_run_at: datetime) -> schedstate:
        return schedstate(self.wants, 7)


class Workdays(crontab):
    """Not on holidays."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        found = super().is_due(last_run_at)
        return schedstate(False, found.next) if self.now().day == 3 else found


class Holidays(Workdays):
    def __init__(self, days: list[int]) -> None:
        super().__init__("*/5", app=app)
        self.days = days


@dataclass(eq=False)
class Every(BaseSchedule):
    """Says which moment is next."""

    minutes: int

    def next_after(self, moment: datetime) -> datetime:
        return moment + timedelta(minutes=self.minutes)


class Fortnight(Asked):
    """Has arguments, and doesn't say how it is called."""

    def __init__(self, day: str) -> None:
        super().__init__()
        self.day = day


class Nothing(BaseSchedule):
    """Says nothing."""

    def __repr__(self) -> str:
        return "<Nothing>"


def test_a_schedule_of_ones_own_says_one_of_three() -> None:
    estimating = Estimating(app=app)
    assert not estimating.is_asked
    assert estimating.next_after(at(12, 3)) == at(12, 10)
    estimating.nowfun = lambda: at(12, 11)
    assert estimating.is_due(at(12, 3)) == (True, 540)
    every = Every(5)
    every.nowfun = lambda: at(12, 4)
    assert every.remaining_estimate(NOON) == timedelta(minutes=1)
    assert every.is_due(NOON) == (False, 60)
    with pytest.raises(NotImplementedError):
        Nothing().remaining_estimate(NOON)
    with pytest.raises(NotImplementedError, match="Nothing says neither next_after nor remaining_estimate nor is_due"):
        Nothing().next_after(NOON)


def test_one_that_says_whether_it_is_due_is_asked() -> None:
    assert Asked.is_asked and Workdays.is_asked and not Estimating.is_asked and not crontab.is_asked
    assert Asked().next_after(NOON) == NOON + timedelta(seconds=7)
    assert Workdays("*/5", app=app).next_after(NOON) == at(12, 5)

    class Exact(Workdays):
        def next_after(self, moment: datetime) -> datetime:
            return moment + timedelta(hours=1)

    assert not Exact.is_asked


def test_one_may_be_made_with_arguments_of_its_own() -> None:
    given = Holidays([3])
    assert due_between(given, NOON, at(12, 7)).next is not None
    assert given.within("Asia/Tokyo").days == [3]
    assert given == Holidays([3]) != Holidays([4]) and len({given, Holidays([3])}) == 1
    assert Workdays("*/5") != crontab("*/5")
    assert Every(5) == Every(5) != Every(6) and Every(5) != schedule(300)


def test_an_estimate_of_a_subclass_counts_more_than_what_its_base_knows() -> None:
    class Later(crontab):
        def remaining_estimate(self, last_run_at: datetime) -> timedelta:
            return super().remaining_estimate(last_run_at) + timedelta(minutes=1)

    later = Later("*/5", nowfun=lambda: NOON, app=app)
    assert later.is_due(NOON) == (False, 360)


# kept ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        crontab("*/5", "8-17", "mon-fri", tz="Europe/Zurich"),
        crontab([1, 2], range(3)),
        crontab(0, tz=timezone(timedelta(hours=2))),
        crontab(0, tz="UTC"),
        schedule(1.5, relative=True),
        schedule(timedelta(days=3)),
        schedule(86_400, True).within("Asia/Tokyo"),
        Every(5),
        Workdays("0", "7", tz="Europe/Zurich"),
        Holidays([3, 4]),
    ],
)
def test_what_is_kept_makes_the_same_schedule_again(given: BaseSchedule) -> None:
    import json

    kept = encode(given)
    assert kept == json.loads(json.dumps(kept)) and kept["v"] == 1
    again = decode(json.loads(json.dumps(kept)))
    assert type(again) is type(given) and encode(again) == kept
    again.app = given.app = app
    assert again.next_after(NOON) == given.next_after(NOON)


def test_the_sun_is_kept() -> None:
    pytest.importorskip("ephem")
    sunset = solar("sunset", 47.37, 8.54)
    assert decode(encode(sunset)) == sunset


def test_what_only_its_own_code_can_make_is_not_kept() -> None:
    class Local(BaseSchedule):
        def __init__(self, minutes: int) -> None:
            super().__init__()
            self.hidden = minutes

    for given in (Local(5), crontab(nowfun=lambda: NOON), Every(object())):  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(EncodeError, match="can't be kept"):
            encode(given)


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ({"v": 2, "kind": "crontab", "with": {}}, "a schedule of version 2; this multi knows version 1"),
        ({}, "a schedule of version None"),
        ([], "a schedule of version None"),
        ({"v": 1, "kind": "crontab"}, "without kind and arguments"),
        (
            {"v": 1, "kind": "crontab", "with": {"minute": "61"}},
            "a schedule crontab that can't be: .*61 is out of range",
        ),
        ({"v": 1, "kind": "crontab", "with": {"second": 1}}, "a schedule crontab that can't be"),
        ({"v": 1, "kind": "crontab", "with": {}, "tz": "Nowhere"}, "no time zone is called 'Nowhere'"),
        ({"v": 1, "kind": "antigravity:fly", "with": {}}, "its module isn't loaded here"),
        ({"v": 1, "kind": "os:system", "with": {"command": "true"}}, "os:system is no schedule's class"),
        ({"v": 1, "kind": "os:nothing.of.this", "with": {}}, "is no schedule's class"),
    ],
)
def test_what_cannot_be_understood_is_an_error_and_imports_nothing(kept: Any, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        decode(kept)
    assert "antigravity" not in sys.modules


# told ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (schedule(1), "every second"),
        (schedule(300), "every 5 minutes"),
        (schedule(0.5), "every 0.5 seconds"),
        (schedule(86_400), "every day"),
        (schedule(90), "every 1 minute 30 seconds"),
        (schedule(7200, True), "every 2 hours, on the clock"),
        (crontab(), "every minute"),
        (crontab("*/5"), "every 5 minutes"),
        (crontab("*/5", "8-17"), "every 5 minutes in the hours 8-17"),
        (crontab(0), "every hour"),
        (crontab(15), "every hour at :15"),
        (crontab("15,45"), "at :15, :45 of every hour"),
        (crontab(0, "*/2"), "every 2 hours"),
        (crontab(5, "*/6"), "at 00:05, 06:05, 12:05, 18:05"),
        (crontab(5, "*/3"), "every 3 hours at :05"),
        (crontab("*/10", "*/6"), "every 10 minutes of every 6th hour"),
        (crontab(30, 7, "mon", tz="Europe/Zurich"), "at 07:30 on mon (Europe/Zurich)"),
        (crontab(0, "8,20"), "at 08:00, 20:00"),
        (crontab(0, 0, "mon-fri", "1-7", "jan,jul"), "at 00:00 on mon-fri among days 1-7 in jan, jul"),
        (crontab(0, 0, day_of_month="1,15"), "at 00:00 on day 1, 15"),
        (crontab(0, 0, "sun,sat"), "at 00:00 on sun, sat"),
        (crontab("0-10", 3), "at minutes 0-10 in the hours 3"),
        (Nothing(), "<Nothing>"),
        (Asked(), "Asked"),
        (Fortnight("mon"), "Fortnight(day='mon')"),
    ],
)
def test_a_schedule_is_told_as_people_say_it(given: BaseSchedule, words: str) -> None:
    assert given.words == words


def test_the_sun_is_told() -> None:
    pytest.importorskip("ephem")
    assert solar("dawn_civil", -33.9, 151.2).words == "at dawn civil (33.9°S 151.2°E)"


def test_everything_is_importable_from_multi() -> None:
    for name in ("crontab", "schedule", "solar", "BaseSchedule", "ParseException", "schedstate", "maybe_schedule"):
        assert name in multi.__all__ and getattr(multi, name).__module__.startswith("multi.app.schedules")
