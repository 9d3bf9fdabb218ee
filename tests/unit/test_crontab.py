"""Crontabs: what may be written in their fields, and when they run on ordinary days."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from multi import App, ParseException, crontab, crontab_parser
from multi.errors import ConfigurationError

app = App("crontabs", set_as_current=False)
MIDNIGHT = datetime(2026, 6, 3, tzinfo=UTC)  # a wednesday


def runs(schedule: crontab, count: int = 4, since: datetime = MIDNIGHT) -> list[str]:
    found: list[str] = []
    moment: datetime | None = since
    for _ in range(count):
        assert moment is not None
        moment = schedule.next_after(moment)
        assert moment is not None and moment.tzinfo is UTC
        found.append(moment.astimezone(schedule.tz).strftime("%a %d %b %H:%M"))
    return found


@pytest.mark.parametrize(
    ("field", "given", "means"),
    [
        ("minute", 7, {7}),
        ("minute", "7", {7}),
        ("minute", "*/15", {0, 15, 30, 45}),
        ("minute", "*/100", {0}),
        ("minute", "1,13,30-45/5", {1, 13, 30, 35, 40, 45}),
        ("minute", " 1, 2 ", {1, 2}),
        ("minute", [5, 50], {5, 50}),
        ("minute", range(0, 60, 20), {0, 20, 40}),
        ("minute", {3}, {3}),
        ("hour", "22-4", {22, 23, 0, 1, 2, 3, 4}),
        ("hour", "22-4/2", {22, 0, 2, 4}),
        ("hour", None, set(range(24))),
        ("day_of_week", "mon-fri", {1, 2, 3, 4, 5}),
        ("day_of_week", "fri-mon", {5, 6, 0, 1}),
        ("day_of_week", "Sunday,TUES", {0, 2}),
        ("day_of_month", "*/10", {1, 11, 21, 31}),
        ("month_of_year", "jan-mar,12", {1, 2, 3, 12}),
        ("month_of_year", "sept", {9}),
        ("month_of_year", "*/3", {1, 4, 7, 10}),
    ],
)
def test_a_field_means_numbers(field: str, given: object, means: set[int]) -> None:
    assert getattr(crontab(**{field: given}), field) == means  # type: ignore[arg-type]  # None, sets and ranges are taken


@pytest.mark.parametrize(
    ("field", "given", "told"),
    [
        ("minute", 60, "minute: 60 is out of range; allowed are 0-59"),
        ("minute", "5-70", "70 is out of range"),
        ("minute", -1, "-1 is out of range"),
        ("minute", "-1", "minute: '' in '-1' is no value"),
        ("minute", "", "minute: is empty; '*' is every value"),
        ("minute", "1,,2", "'1,,2' has an empty part"),
        ("minute", "*/0", "the step of '*/0' is '0'; it is a number from 1 on"),
        ("minute", "*/", "the step of '*/' is ''"),
        ("minute", "*/-5", "the step of '*/-5' is '-5'"),
        ("minute", "5/15", "a step needs a range: 5-59/15"),
        ("minute", "*5", "'*5' isn't understood; write *, 5, 1-5, */15 or 1-30/2"),
        ("minute", "1-5/2/3", "the step of '1-5/2/3' is '2/3'"),
        ("minute", "mon", "minute: 'mon' is no value; allowed are 0-59"),
        ("minute", "1_0", "'1_0' is no value"),
        ("minute", "٣", "is no value"),
        ("hour", 24, "hour: 24 is out of range; allowed are 0-23"),
        ("day_of_week", "7", "day_of_week: 7 is out of range; allowed are 0-6, sun-sat, sunday is 0"),
        ("day_of_week", "wendesday", "did you mean 'wednesday'"),
        ("day_of_week", "mo", "'mo' is no value; allowed are 0-6, sun-sat, sunday is 0; did you mean 'mon'"),
        ("day_of_month", 0, "day_of_month: 0 is out of range; allowed are 1-31"),
        ("month_of_year", "13", "month_of_year: 13 is out of range; allowed are 1-12, jan-dec"),
        ("minute", [], "minute: no values"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_what_is_allowed(field: str, given: object, told: str) -> None:
    with pytest.raises(ParseException) as raised:
        crontab(**{field: given})  # type: ignore[arg-type]  # wrong on purpose
    assert told in str(raised.value)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("given", [True, 1.5, ["mon"], [1.5], object(), [True]])
def test_what_is_no_number_is_a_type_error_too(given: object) -> None:
    with pytest.raises(TypeError, match="minute: .* is a .*; give a number, a text as"):
        crontab(minute=given)  # type: ignore[arg-type]  # wrong on purpose


def test_all_wrong_fields_are_told_at_once() -> None:
    with pytest.raises(ParseException) as raised:
        crontab(minute=61, hour="x", day_of_week="mnoday")
    assert all(part in str(raised.value) for part in ("minute: 61", "hour: 'x'", "did you mean 'monday'"))


@pytest.mark.parametrize(("day", "month"), [(31, 2), (30, 2), (31, "4,6,9,11"), ("30-31", "feb")])
def test_a_date_that_never_comes_is_an_error(day: object, month: object) -> None:
    with pytest.raises(ParseException, match="is in none of the months .*, so it would never run"):
        crontab(0, 0, day_of_month=day, month_of_year=month)  # type: ignore[arg-type]


def test_cron_lines_are_read_in_the_order_of_cron() -> None:
    assert crontab.from_string("30 7 1-7 jan mon") == crontab(30, 7, "mon", "1-7", 1)
    assert crontab.from_string("  */5\t*  * * * ") == crontab("*/5")
    with pytest.raises(ParseException, match=r"has 4 fields; there are five: minute, hour, day of month"):
        crontab.from_string("* * * *")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (crontab(app=app), ["Wed 03 Jun 00:01", "Wed 03 Jun 00:02", "Wed 03 Jun 00:03", "Wed 03 Jun 00:04"]),
        (crontab(0, "*/8", app=app), ["Wed 03 Jun 08:00", "Wed 03 Jun 16:00", "Thu 04 Jun 00:00", "Thu 04 Jun 08:00"]),
        (
            crontab(30, 7, "mon-fri", app=app),
            ["Wed 03 Jun 07:30", "Thu 04 Jun 07:30", "Fri 05 Jun 07:30", "Mon 08 Jun 07:30"],
        ),
        # day of month and day of week both have to fit: the first mondays
        (
            crontab(0, 0, "mon", "1-7", app=app),
            ["Mon 06 Jul 00:00", "Mon 03 Aug 00:00", "Mon 07 Sep 00:00", "Mon 05 Oct 00:00"],
        ),
        (
            crontab(0, 0, day_of_month=31, app=app),
            ["Fri 31 Jul 00:00", "Mon 31 Aug 00:00", "Sat 31 Oct 00:00", "Thu 31 Dec 00:00"],
        ),
        (
            crontab(15, 12, month_of_year="dec", day_of_month="30-31", app=app),
            ["Wed 30 Dec 12:15", "Thu 31 Dec 12:15", "Thu 30 Dec 12:15", "Fri 31 Dec 12:15"],
        ),
    ],
)
def test_runs_follow_each_other(schedule: crontab, expected: list[str]) -> None:
    assert runs(schedule) == expected


def test_far_days_are_found() -> None:
    leap = crontab(0, 0, "mon", 29, 2, app=app)
    assert leap.next_after(MIDNIGHT) == datetime(2044, 2, 29, tzinfo=UTC)
    assert leap.next_after(datetime(2072, 3, 1, tzinfo=UTC)) == datetime(2112, 2, 29, tzinfo=UTC)  # not 2100
    assert crontab(app=app).next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert crontab(tz="Europe/Zurich").next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert leap.next_after(datetime(9999, 1, 1, tzinfo=UTC)) is None
    assert leap.remaining_estimate(datetime(9999, 1, 1, tzinfo=UTC)) > timedelta(days=30_000)


def test_the_clock_is_that_of_the_crontab_else_of_the_app() -> None:
    zurich = App("z", timezone="Europe/Zurich", set_as_current=False)
    expected = datetime(2026, 6, 3, 5, 30, tzinfo=UTC)
    assert crontab(30, 7, app=zurich).next_after(MIDNIGHT) == expected
    assert crontab(30, 7, tz="Europe/Zurich", app=app).next_after(MIDNIGHT) == expected
    assert crontab(30, 7, tz=ZoneInfo("Europe/Zurich"), app=app).next_after(MIDNIGHT) == expected
    assert crontab(30, 7, tz=timezone(timedelta(hours=2)), app=app).next_after(MIDNIGHT) == expected
    assert crontab(30, 7, app=zurich).within("UTC").next_after(MIDNIGHT) == datetime(2026, 6, 3, 7, 30, tzinfo=UTC)
    # a naive moment is UTC, as with Celery; a moment of any zone means the instant
    assert crontab(30, 7, app=zurich).next_after(datetime(2026, 6, 3)) == expected  # noqa: DTZ001
    assert crontab(30, 7, app=zurich).next_after(MIDNIGHT.astimezone(ZoneInfo("Asia/Tokyo"))) == expected
    with pytest.raises(ConfigurationError, match="no time zone is called 'Europe/Zurch'; did you mean 'Europe/Zurich'"):
        crontab(tz="Europe/Zurch")
    with pytest.raises(ConfigurationError, match="did you mean 'Europe/Zurich'"):
        crontab(tz="zurich")
    with pytest.raises(ConfigurationError, match="7 is no time zone"):
        crontab(tz=7)  # type: ignore[arg-type]  # wrong on purpose


def test_zones_of_other_libraries_are_known_by_their_names() -> None:
    dateutil, pytz = pytest.importorskip("dateutil.tz"), pytest.importorskip("pytz")
    for zone in (dateutil.gettz("Europe/Zurich"), pytz.timezone("Europe/Zurich")):
        assert crontab(tz=zone) == crontab(tz="Europe/Zurich")
    assert crontab(0, 12, tz=dateutil.tzoffset(None, 7200)).next_after(MIDNIGHT) == datetime(2026, 6, 3, 10, tzinfo=UTC)
    assert crontab(tz=dateutil.tzutc()).tz == crontab(tz=pytz.UTC).tz == UTC


def test_without_utc_the_machine_has_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    from multi.app.schedules import zones

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    zones.local.cache_clear()
    own = App("own", enable_utc=False, set_as_current=False)
    try:
        assert str(own.timezone) == "Asia/Kolkata"
        assert crontab(30, 7, app=own).next_after(MIDNIGHT) == datetime(2026, 6, 3, 2, tzinfo=UTC)
        assert crontab(app=own).to_local(MIDNIGHT).isoformat() == "2026-06-03T05:30:00+05:30"
    finally:
        zones.local.cache_clear()
    named = App("named", enable_utc=False, timezone="Europe/Zurich", set_as_current=False)
    assert str(named.timezone) == "Europe/Zurich"


def test_equal_crontabs_are_equal_however_they_are_written() -> None:
    assert crontab("0,30") == crontab([30, 0]) == crontab("*/30")
    assert crontab(0) != crontab(1)
    assert crontab(0, tz="Europe/Zurich") != crontab(0)
    assert crontab(0) != "0 * * * *"
    assert len({crontab("0,30"), crontab("*/30"), crontab(1)}) == 2


def test_crontabs_can_be_pickled_and_shown() -> None:
    for one in (crontab("*/5", [1, 2], "mon"), crontab(0, 0, tz="Europe/Zurich")):
        again = pickle.loads(pickle.dumps(one))
        assert again == one and again.next_after(MIDNIGHT) == one.next_after(MIDNIGHT)
    assert repr(crontab("*/5", 7, "mon")) == "<crontab: */5 7 * * mon (m/h/dM/MY/d)>"
    assert crontab([1, 2], 7, "mon").line == "1,2 7 * * mon"


def test_the_parser_of_a_field_is_there_by_itself() -> None:
    assert crontab_parser(60).parse("*/15") == {0, 15, 30, 45}
    assert crontab_parser(31, 1).parse("1-7") == set(range(1, 8))
    assert crontab_parser(7).parse("sat-mon") == {6, 0, 1}
    with pytest.raises(crontab_parser.ParseException):
        crontab_parser(7).parse("8")


def test_what_remains_is_counted_from_now() -> None:
    now = datetime(2026, 6, 3, 10, 0, 20, tzinfo=UTC)
    schedule = crontab("*/5", nowfun=lambda: now, app=app)
    last = datetime(2026, 6, 3, 9, 55, tzinfo=UTC)
    assert schedule.remaining_estimate(last) == timedelta(seconds=-20)
    assert schedule.is_due(last) == (True, 280)
    assert schedule.is_due(now) == (False, 280)
    start, delta, present = schedule.remaining_delta(last)
    assert start + delta - present == timedelta(seconds=-20)
    assert schedule.remaining_delta(last, tz="Asia/Kolkata")[1] == timedelta(minutes=5)


def test_a_run_that_is_late_beyond_the_deadline_is_not_due() -> None:
    now = datetime(2026, 6, 3, 10, 0, 20, tzinfo=UTC)
    strict = App("strict", beat_cron_starting_deadline=15, set_as_current=False)
    mild = App("mild", beat_cron_starting_deadline=20, set_as_current=False)
    last = datetime(2026, 6, 3, 8, tzinfo=UTC)
    assert crontab("*/5", nowfun=lambda: now, app=strict).is_due(last) == (False, 280)
    assert crontab("*/5", nowfun=lambda: now, app=mild).is_due(last) == (True, 280)
