"""Crontabs where the clock is set: compared, over many zones, with every minute looked at one by one."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from multi import crontab

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: A change of each kind: a zone, and the day (UTC) by whose noon it has happened.
CHANGES = [
    ("Europe/Zurich", date(2024, 3, 31)),
    ("Europe/Zurich", date(2024, 10, 27)),
    ("America/New_York", date(2024, 3, 10)),
    ("America/New_York", date(2024, 11, 3)),
    ("Europe/Dublin", date(2024, 3, 31)),  # whose winter time is the one that counts as set
    ("Australia/Lord_Howe", date(2024, 4, 6)),  # half an hour
    ("Australia/Lord_Howe", date(2024, 10, 5)),
    ("America/Sao_Paulo", date(2018, 11, 4)),  # at midnight, which isn't there
    ("America/Sao_Paulo", date(2019, 2, 17)),  # to the evening before
    ("America/Havana", date(2024, 11, 3)),  # from one o'clock to midnight
    ("Antarctica/Troll", date(2024, 3, 31)),  # two hours
    ("Antarctica/Troll", date(2024, 10, 27)),
    ("Pacific/Apia", date(2011, 12, 30)),  # without the whole of 30 December
    ("Pacific/Kwajalein", date(1993, 8, 21)),  # without the 21st
    ("Asia/Pyongyang", date(2015, 8, 14)),  # half an hour back, for good
    ("Asia/Pyongyang", date(2018, 5, 4)),
    ("America/Caracas", date(2007, 12, 9)),
    ("Africa/Casablanca", date(2019, 5, 5)),  # for ramadan
    ("Asia/Amman", date(2021, 10, 29)),
    ("America/Toronto", date(1919, 3, 31)),  # from half past eleven in the evening
    ("Pacific/Chatham", date(2024, 4, 6)),  # at a quarter to four
    ("Pacific/Chatham", date(2024, 9, 28)),
    ("America/Santiago", date(2024, 9, 8)),
    ("Europe/Moscow", date(2011, 3, 27)),
    ("Asia/Singapore", date(1981, 12, 31)),
]
ZONES = sorted({name for name, _ in CHANGES})


def every(schedule: crontab, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    moment = schedule.next_after(start)
    while moment is not None and moment < end:
        found.append(moment)
        moment = schedule.next_after(moment)
    assert all(one < other for one, other in pairwise(found))
    return found


@cache
def minutes(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Each minute with what the clock shows; none of these zones has seconds in its offset by then."""
    place = ZoneInfo(zone)
    count = int((end - start) / MINUTE)
    moments = [start + number * MINUTE for number in range(count)]
    return [(moment, moment.astimezone(place).replace(tzinfo=None)) for moment in moments]


def fits(schedule: crontab, wall: datetime) -> bool:
    return (
        wall.minute in schedule.minute
        and wall.hour in schedule.hour
        and wall.isoweekday() % 7 in schedule.day_of_week
        and wall.day in schedule.day_of_month
        and wall.month in schedule.month_of_year
    )


def in_hour(schedule: crontab, wall: datetime) -> bool:
    return any(fits(schedule, wall.replace(minute=minute)) for minute in range(60))


def looked_up(schedule: crontab, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The runs, by looking at every minute and at what the rules say of changes."""
    found: set[datetime] = set()
    before: datetime | None = None
    seen: dict[datetime, datetime] = {}
    for moment, wall in minutes(zone, start - 3 * HOUR, end):
        wall = wall.replace(fold=0)
        expected = before + MINUTE if before is not None else wall
        if wall > expected:  # set forward: `expected` and the minutes after it aren't there
            lost = [expected + n * MINUTE for n in range(int((wall - expected) / MINUTE))]
            first = next((one for one in lost if fits(schedule, one)), None)
            if first is not None:
                until = first + (wall - expected)
                covered = [wall + n * MINUTE for n in range(int((until - wall) / MINUTE) + 1)]
                if not any(fits(schedule, one) for one in covered):
                    found.add(moment)
        elif wall < expected:  # set back: from `wall` up to `expected` everything comes again
            goes_on = in_hour(schedule, wall.replace(minute=0) - HOUR) and in_hour(
                schedule, (expected + HOUR - MINUTE).replace(minute=0)
            )
            if goes_on:
                again = [wall + n * MINUTE for n in range(int((expected - wall) / MINUTE))]
                found.update(moment + (one - wall) for one in again if fits(schedule, one))
        if wall not in seen:
            seen[wall] = moment
            if fits(schedule, wall):
                found.add(moment)
        before = wall
    return sorted(moment for moment in found if start < moment < end)


def some_field(chance: random.Random, low: int, high: int) -> str:
    def value() -> int:
        return chance.randint(low, high)

    kind = chance.random()
    if kind < 0.4:
        return "*"
    if kind < 0.6:
        return str(value())
    if kind < 0.75:
        return f"*/{chance.choice((2, 3, 5, 10, 15, 20))}"
    if kind < 0.9:
        return f"{value()}-{value()}/{chance.randint(1, 4)}"
    return f"{value()},{value()},{value()}"


@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_next_after_agrees_with_every_minute_looked_at(zone: str, day: date) -> None:
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    place = ZoneInfo(zone)
    start, end = noon - 1.5 * DAY, noon + 1.5 * DAY
    assert start.astimezone(place).utcoffset() != end.astimezone(place).utcoffset(), "there is a change"
    fields = [
        ["*", "*", "*", "*", "*"],
        ["0", "*", "*", "*", "*"],
        ["*/5", "*", "*", "*", "*"],
        ["45", "*", "*", "*", "*"],
        ["30", "2", "*", "*", "*"],
        ["0", "0", "*", "*", "*"],
        ["0", "*/2", "*", "*", "*"],
    ]
    for _ in range(8):
        week = some_field(chance, 0, 6) if chance.random() < 0.3 else "*"
        days = some_field(chance, 1, 28) if chance.random() < 0.2 else "*"
        fields.append([some_field(chance, 0, 59), some_field(chance, 0, 23), week, days, "*"])
    for one in fields:
        schedule = crontab(*one, tz=place)
        assert every(schedule, start, end) == looked_up(schedule, zone, start, end), (seed, one)


@pytest.mark.parametrize("zone", ["Europe/Zurich", "America/New_York", "America/Havana", "Antarctica/Troll", "UTC"])
@pytest.mark.parametrize(("minute", "step"), [("*/5", 5 * MINUTE), ("0", HOUR), ("17", HOUR), ("*", MINUTE)])
def test_what_runs_all_day_runs_each_interval_that_passes_the_year_round(
    zone: str, minute: str, step: timedelta
) -> None:
    """Looked at in the weeks around each change, and nowhere is there a gap or a double."""
    place = ZoneInfo(zone)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    days = [start + n * DAY for n in range(366)]
    changes = [
        one for one, other in pairwise(days) if one.astimezone(place).utcoffset() != other.astimezone(place).utcoffset()
    ]
    for day in changes or [start]:
        found = every(crontab(minute, tz=zone), day - DAY / 2, day + 2 * DAY)
        assert {other - one for one, other in pairwise(found)} == {step}


@pytest.mark.parametrize("zone", ZONES)
def test_what_runs_once_a_day_runs_once_on_each_day_there_is(zone: str) -> None:
    place = ZoneInfo(zone)
    for hour, minute in [(2, 30), (0, 0), (1, 15), (13, 5)]:
        schedule = crontab(minute, hour, tz=zone)
        for _, change in (one for one in CHANGES if one[0] == zone):
            noon = datetime(change.year, change.month, change.day, 12, tzinfo=UTC)
            there = [(noon + n * HOUR).astimezone(place).date() for n in range(-240, 240)]
            days = [one.astimezone(place).date() for one in every(schedule, noon - 240 * HOUR, noon + 240 * HOUR)]
            assert days[1:-1] == sorted(set(there))[sorted(set(there)).index(days[1]) :][: len(days) - 2]
            assert len(days) >= 18


def local(schedule: crontab, since: str, count: int) -> list[str]:
    moment: datetime | None = datetime.fromisoformat(since).replace(tzinfo=UTC)
    found: list[str] = []
    for _ in range(count):
        assert moment is not None
        moment = schedule.next_after(moment)
        assert moment is not None
        found.append(moment.astimezone(schedule.tz).strftime("%d %H:%M %z"))
    return found


def test_a_time_that_is_not_there_comes_at_the_first_moment_after_it() -> None:
    zurich = "Europe/Zurich"
    nightly = crontab(30, 2, tz=zurich)
    assert local(nightly, "2026-03-28", 3) == ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]
    # several of them are one, and those that the hour after has as well aren't missing
    assert local(crontab("*/20", 2, tz=zurich), "2026-03-28T12:00", 2) == ["29 03:00 +0200", "30 02:00 +0200"]
    assert local(crontab(30, "1-4", tz=zurich), "2026-03-29", 3) == [
        "29 01:30 +0100",
        "29 03:30 +0200",
        "29 04:30 +0200",
    ]
    assert local(crontab(15, 2, tz="Australia/Lord_Howe"), "2026-10-03", 2) == ["04 02:30 +1100", "05 02:15 +1100"]
    assert local(crontab(0, 6, day_of_month=30, tz="Pacific/Apia"), "2011-12-01", 2) == [
        "31 00:00 +1400",
        "30 06:00 +1400",
    ]


def test_a_time_that_is_there_twice_comes_the_first_time() -> None:
    zurich = "Europe/Zurich"
    assert local(crontab(30, 2, tz=zurich), "2026-10-24T12:00", 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    assert local(crontab(0, "*/2", tz=zurich), "2026-10-24T22:30", 2) == ["25 02:00 +0200", "25 04:00 +0100"]
    assert local(crontab(0, "1-3", tz=zurich), "2026-10-24T22:30", 4) == [
        *("25 01:00 +0200", "25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"),
    ]


def test_from_a_moment_in_the_repeated_hour_the_next_one_is_found() -> None:
    nightly, hourly = crontab(30, 2, tz="Europe/Zurich"), crontab(30, tz="Europe/Zurich")
    first, second = datetime(2026, 10, 25, 0, 40, tzinfo=UTC), datetime(2026, 10, 25, 1, 20, tzinfo=UTC)
    assert first.astimezone(nightly.tz).hour == second.astimezone(nightly.tz).hour == 2
    assert nightly.next_after(first) == nightly.next_after(second) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert hourly.next_after(first) == hourly.next_after(second) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert hourly.next_after(datetime(2026, 10, 25, 1, 30, tzinfo=UTC)) == datetime(2026, 10, 25, 2, 30, tzinfo=UTC)


def test_zones_of_long_ago_have_odd_seconds() -> None:
    amsterdam = crontab(0, 0, tz="Europe/Amsterdam")
    found = amsterdam.next_after(datetime(1900, 1, 1, 12, tzinfo=UTC))
    assert found is not None
    assert found.astimezone(amsterdam.tz).strftime("%d %H:%M:%S") == "02 00:00:00"
