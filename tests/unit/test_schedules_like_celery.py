"""The same answers as Celery's schedules, on thousands of random cases.

Where the clock is set, Celery's crontabs err, and cases that touch such a moment are left out, by rules and not by a list:

- *made up*: a run whose time isn't there that day comes at the first moment after the change, or not at all where another one
  takes its place; Celery has it later, by as much as the clock is set forward (02:30 becomes 03:30 rather than 03:00), and what
  is due between leaves it out. So such an answer lies in the hour after the change (or whatever the clock is set by);
- *repeated*: in an hour that comes twice, and from a moment in it, Celery goes by names of hours alone: what runs every five
  minutes pauses for an hour, or runs behind (celery #10107, and #9653 and #1604 before it).

What these rules leave out is tested against every minute of the clock, in test_crontab_changes.py.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from multi import App, crontab, schedule, solar

celery = pytest.importorskip("celery")
theirs: Any = pytest.importorskip("celery.schedules")

ZONES = [
    *(
        "UTC",
        "Europe/Zurich",
        "Europe/Dublin",
        "America/New_York",
        "America/Havana",
        "America/Sao_Paulo",
        "Asia/Kolkata",
    ),
    *("Asia/Shanghai", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia", "Africa/Cairo"),
]
FROM, UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2037, 1, 1, tzinfo=UTC)
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
SECOND, DAY, NEAR = timedelta(seconds=1), timedelta(days=1), timedelta(microseconds=2)


@cache
def our_app(zone: str) -> App:
    return App("ours", timezone=zone, set_as_current=False)


@cache
def their_app(zone: str) -> Any:
    return celery.Celery("theirs", timezone=zone, set_as_current=False)


@cache
def changes(zone: str) -> list[datetime]:
    """When the clock is set, to the hour."""
    place, found, moment = ZoneInfo(zone), [], FROM
    while moment < UNTIL:
        following = moment + DAY
        if moment.astimezone(place).utcoffset() != following.astimezone(place).utcoffset():
            hours = [moment + timedelta(hours=n) for n in range(25)]
            offsets = [one.astimezone(place).utcoffset() for one in hours]
            found.append(next(one for one, offset in zip(hours, offsets, strict=True) if offset != offsets[0]))
        moment = following
    return found


def some_moment(chance: random.Random, zone: str) -> datetime:
    """Some moment, of which each third lies near a change."""
    moment = FROM + chance.random() * (UNTIL - FROM)
    if changes(zone) and chance.random() < 0.33:
        moment = chance.choice(changes(zone)) + chance.uniform(-2, 1) * DAY
    return moment.replace(second=0, microsecond=0) if chance.random() < 0.5 else moment


def some_field(chance: random.Random, low: int, high: int, names: list[str] | None = None) -> Any:
    def value() -> str:
        number = chance.randint(low, high)
        return names[number - low] if names and chance.random() < 0.5 else str(number)

    kind = chance.randrange(20)
    if kind < 7:
        return "*"
    if kind < 10:
        return chance.randint(low, high)
    if kind < 12:
        return f"*/{chance.randint(1, high)}"
    if kind < 14:
        return f"{value()}-{value()}"
    if kind < 16:
        return f"{value()}-{value()}/{chance.randint(1, 5)}"
    if kind < 18:
        return ",".join(chance.choice([value(), f"{value()}-{value()}"]) for _ in range(chance.randint(1, 4)))
    return [chance.randint(low, high) for _ in range(chance.randint(1, 5))]


def is_made_up(moment: datetime, zone: tzinfo) -> bool:
    """Whether the clock is set forward at this very moment."""
    before, after = (moment - SECOND).astimezone(zone).utcoffset(), moment.astimezone(zone).utcoffset()
    assert before is not None and after is not None
    return before < after


def is_moved(moment: datetime, zone: tzinfo) -> bool:
    """Whether the clock was set forward before this moment, and by more than has passed since then."""
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    for minutes in (20, 30, 60, 120, 180, 1440):
        lift = timedelta(minutes=minutes)
        if (moment - lift).astimezone(zone).utcoffset() == offset - lift:
            return True
    return False


def is_repeated(moment: datetime, zone: tzinfo) -> bool:
    """Whether the clock shows the same a second time, before this moment or after it."""
    wall = moment.astimezone(zone)
    return wall.replace(fold=0).utcoffset() != wall.replace(fold=1).utcoffset()


def test_crontabs_answer_as_celerys_do() -> None:
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    compared = left_out = 0
    for _ in range(3000):
        name = chance.choice(ZONES)
        zone = ZoneInfo(name)
        fields = [some_field(chance, 0, 59), some_field(chance, 0, 23)]
        fields.append(some_field(chance, 0, 6, DAYS) if chance.random() < 0.5 else "*")
        fields.append(some_field(chance, 1, 31) if chance.random() < 0.4 else "*")
        fields.append(some_field(chance, 1, 12, MONTHS) if chance.random() < 0.4 else "*")
        last = some_moment(chance, name)
        now = last + chance.choice([chance.uniform(0, 120), chance.uniform(0, 86_400), chance.uniform(0, 5e6)]) * SECOND
        case = (seed, name, fields, last.isoformat(), now.isoformat())

        def present(now: datetime = now) -> datetime:
            return now

        try:
            their: Any = theirs.crontab(*fields, nowfun=present, app=their_app(name))
        except ValueError:
            with pytest.raises(ValueError, match="so it would never run"):
                crontab(*fields)
            continue
        our = crontab(*fields, nowfun=present, app=our_app(name))
        excluded = False
        for moment in (last.astimezone(zone), now):
            ours = our.next_after(moment)
            assert ours is not None and now + our.remaining_estimate(moment) == ours
            other = now + their.remaining_estimate(moment)
            if is_moved(other, zone) or any(is_repeated(one, zone) for one in (moment, ours, other)):
                excluded = True
                left_out += 1
                continue
            compared += 1
            assert abs(ours - other) <= NEAR, case
        if not excluded:
            (our_due, our_next), (their_due, their_next) = our.is_due(last), their.is_due(last)
            assert our_due == their_due and our_next == pytest.approx(their_next, abs=1e-3), case
    assert compared > 5000, "few cases touch a change"
    assert left_out < 500


@pytest.mark.parametrize(
    ("fields", "zone", "last", "expected"),
    [
        # repeated, as in celery #10107: an hour has passed, though the clock shows the same hour again
        (["0", "*"], "US/Pacific", "2026-11-01T08:00", "2026-11-01T09:00"),
        (["*/5", "*"], "Europe/Zurich", "2026-10-25T00:55", "2026-10-25T01:00"),
        # what comes once a day doesn't come twice on the day of the change (celery #1604) nor an hour late (#9653)
        (["0", "12"], "Europe/Amsterdam", "2013-10-27T11:00", "2013-10-28T11:00"),
        (["4", "16"], "America/New_York", "2025-03-08T21:04", "2025-03-09T20:04"),
        (["30", "2"], "Europe/Zurich", "2026-10-25T00:30", "2026-10-26T01:30"),
        # made up
        (["30", "2"], "Europe/Zurich", "2026-03-28T01:30", "2026-03-29T01:00"),
        (["50", "3"], "Pacific/Chatham", "2026-09-25T15:05", "2026-09-26T14:05"),
    ],
)
def test_what_celery_has_had_wrong_is_right(fields: list[str], zone: str, last: str, expected: str) -> None:
    schedule = crontab(*fields, app=our_app(zone))
    moment, run = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (last, expected))
    assert schedule.next_after(moment) == run
    schedule.nowfun = lambda: run.replace(tzinfo=None)  # a naive time is UTC, as with Celery
    assert schedule.is_due(moment.replace(tzinfo=None)).is_due
    schedule.nowfun = lambda: run - SECOND
    assert schedule.is_due(moment) == (False, 1)


def test_intervals_answer_as_celerys_do() -> None:
    """Also where the clock is set: of the rules above *made up* alone counts, for whole hours that aren't there."""
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    usual = [1, 10, 30, 60, 90, 300, 3600, 5400, 7200, 86_400, 90_000, 129_600, 172_800, 604_800]
    for _ in range(3000):
        name = chance.choice(ZONES)
        seconds = chance.choice([chance.choice(usual), chance.uniform(0.2, 200_000), chance.randint(1, 100_000)])
        # Celery rounds relative ones of less than a second down to the run before, so that they are always due
        every, relative = timedelta(seconds=seconds), seconds >= 1 and chance.random() < 0.8
        moment, zone = some_moment(chance, name), ZoneInfo(name)
        last, now = moment.astimezone(zone), (moment + chance.uniform(0, 2) * every).astimezone(zone)

        def present(now: datetime = now) -> datetime:
            return now

        our = schedule(every, relative, nowfun=present, app=our_app(name))
        their: Any = theirs.schedule(every, relative, nowfun=present, app=their_app(name))
        case = (seed, name, seconds, relative, last.isoformat(), now.isoformat())
        runs = [our.next_after(one) for one in (last, now)]
        if any(run is None or is_made_up(run, zone) for run in runs):
            continue
        assert abs(our.remaining_estimate(last) - their.remaining_estimate(last)) <= NEAR, case
        (our_due, our_next), (their_due, their_next) = our.is_due(last), their.is_due(last)
        assert our_due == their_due and our_next == pytest.approx(their_next, abs=1e-3), case


def test_the_sun_answers_as_celerys_does() -> None:
    """Left out is what a rule of ours makes better: an event that is more than a year away is no run of its own."""
    pytest.importorskip("ephem")
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    events = sorted(theirs.solar._all_events)
    for _ in range(120):
        event, lat, lon = chance.choice(events), round(chance.uniform(-89, 89), 3), round(chance.uniform(-180, 180), 3)
        last = some_moment(chance, "UTC")
        now = last + chance.uniform(0, 2) * DAY

        def present(now: datetime = now) -> datetime:
            return now

        our = solar(event, lat, lon, nowfun=present, app=our_app("UTC"))
        their: Any = theirs.solar(event, lat, lon, nowfun=present, app=their_app("UTC"))
        case = (seed, event, lat, lon, last.isoformat(), now.isoformat())
        if our.next_after(last) is None or our.next_after(now) is None:
            continue
        assert abs(our.remaining_estimate(last) - their.remaining_estimate(last)) < SECOND, case
        (our_due, our_next), (their_due, their_next) = our.is_due(last), their.is_due(last)
        assert our_due == their_due and our_next == pytest.approx(their_next, abs=1), case


@pytest.mark.parametrize("late", [5, 15, 3600])
def test_the_deadline_is_celerys(late: int) -> None:
    """Away from changes of the clock: what of crontabs differs there is above."""
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    ours = App("ours", beat_cron_starting_deadline=late, set_as_current=False)
    other = celery.Celery("theirs", beat_cron_starting_deadline=late, set_as_current=False)
    seen = set()
    for _ in range(150):
        fields = [some_field(chance, 0, 59), some_field(chance, 0, 23)]
        last = some_moment(chance, "UTC")
        now = last + chance.uniform(0, 3) * timedelta(hours=1)

        def present(now: datetime = now) -> datetime:
            return now

        our, their = crontab(*fields, nowfun=present, app=ours), theirs.crontab(*fields, nowfun=present, app=other)
        found, expected = our.is_due(last), their.is_due(last)
        assert found.is_due == expected.is_due and found.next == pytest.approx(expected.next, abs=1e-3), (seed, fields)
        seen.add(found.is_due)
    assert seen == {True, False} or late == 5, "a moment is seldom within 5 s of a run"
