"""What is sent of runs whose time has passed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from multi import App, BaseSchedule, crontab, schedstate, schedule
from multi.app.schedules.missed import due_between, in_time, newest
from multi.errors import ConfigurationError

app = App("missed", set_as_current=False)
NOON = datetime(2026, 6, 3, 12, tzinfo=UTC)
HOURLY = crontab(0, app=app)


def after(**spans: float) -> datetime:
    return NOON + timedelta(**spans)


def hours(*numbers: int) -> tuple[datetime, ...]:
    return tuple(NOON + timedelta(hours=number) for number in numbers)


def test_nothing_is_due_before_its_time() -> None:
    assert due_between(HOURLY, NOON, after(minutes=59)) == ((), NOON, after(hours=1), False)


@pytest.mark.parametrize("missed", ["once", "skip", "all"])
def test_what_is_due_now_is_sent_whatever_becomes_of_missed_runs(missed: str) -> None:
    for late in (0, 1, 59):
        found = due_between(HOURLY, NOON, after(hours=1, seconds=late), missed)
        assert found == (hours(1), after(hours=1), after(hours=2), False)


def test_runs_that_were_missed_are_sent_once_or_not_or_all() -> None:
    now = after(hours=3, minutes=30)
    assert due_between(HOURLY, NOON, now, "once") == (hours(3), after(hours=3), after(hours=4), True)
    assert due_between(HOURLY, NOON, now, "skip") == ((), after(hours=3), after(hours=4), True)
    assert due_between(HOURLY, NOON, now, "all") == (hours(1, 2, 3), after(hours=3), after(hours=4), False)
    # the newest one is in time, those before it were missed
    now = after(hours=3, seconds=2)
    assert due_between(HOURLY, NOON, now, "skip") == (hours(3), after(hours=3), after(hours=4), True)
    with pytest.raises(ConfigurationError, match="missed: 'none' is none of 'once', 'skip', 'all'"):
        due_between(HOURLY, NOON, now, "none")


def test_how_late_a_run_is_missed_can_be_said() -> None:
    now = after(hours=1, seconds=30)
    assert due_between(HOURLY, NOON, now, "skip", late=30).runs == hours(1)
    assert due_between(HOURLY, NOON, now, "skip", late=29).runs == ()


def test_beyond_the_deadline_nothing_is_sent() -> None:
    now = after(hours=3, minutes=30)
    assert due_between(HOURLY, NOON, now, "once", deadline=1800).runs == hours(3)
    assert due_between(HOURLY, NOON, now, "once", deadline=1799) == ((), after(hours=3), after(hours=4), True)
    assert due_between(HOURLY, NOON, now, "all", deadline=5400) == (hours(2, 3), after(hours=3), after(hours=4), True)
    assert due_between(HOURLY, NOON, now, "all", deadline=10) == ((), after(hours=3), after(hours=4), True)
    tens = schedule(600, app=app)
    assert due_between(tens, after(minutes=1), after(minutes=45), "all", deadline=1000).runs == (
        *(after(minutes=31), after(minutes=41)),
    )
    assert in_time(HOURLY, now, None) and in_time(HOURLY, now, 1800) and not in_time(HOURLY, now, 1799)


def test_all_of_very_many_come_in_parts() -> None:
    found = due_between(HOURLY, NOON, after(hours=10), "all", most=4)
    assert (found.runs, found.next, found.skipped) == (hours(1, 2, 3, 4), after(hours=5), False)
    found = due_between(HOURLY, found.last, after(hours=10), "all", most=40)
    assert found.runs == hours(5, 6, 7, 8, 9, 10) and found.next == after(hours=11)


@pytest.mark.parametrize("missed", ["once", "skip", "all"])
def test_while_another_scheduler_takes_over_nothing_is_missed(missed: str) -> None:
    two = schedule(2, app=app)
    found = due_between(two, NOON, after(seconds=9), missed)
    assert found == (tuple(after(seconds=each) for each in (2, 4, 6, 8)), after(seconds=8), after(seconds=10), False)
    found = due_between(two, NOON, after(seconds=9), missed, most=3)
    assert (len(found.runs), found.last, found.next) == (3, after(seconds=6), after(seconds=8))
    late = due_between(two, NOON, after(seconds=63), missed)
    assert len(late.runs) == (31 if missed == "all" else 1)


def test_intervals_keep_their_beat() -> None:
    seven = schedule(7, app=app)
    found = due_between(seven, NOON, after(seconds=100))
    assert (found.runs, found.next) == ((after(seconds=98),), after(seconds=105))
    # a clock that was set back: nothing is due until it has come so far again
    assert due_between(seven, NOON, after(hours=-1)) == ((), NOON, after(seconds=7), False)


@pytest.mark.parametrize(
    "given",
    [
        *(crontab("*/5"), crontab(30, 2), crontab("*", "0"), crontab(0, 0, "mon", 29, 2), crontab(tz="Europe/Zurich")),
        *(schedule(1), schedule(3600), schedule(86_400), schedule(60, True), schedule(86_400, True)),
    ],
    ids=repr,
)
def test_after_years_without_a_scheduler_the_newest_run_is_found_at_once(given: BaseSchedule) -> None:
    given.app = app
    calls = 0
    known = given.next_after

    def counted(moment: datetime) -> Any:
        nonlocal calls
        calls += 1
        return known(moment)

    given.next_after = counted  # type: ignore[method-assign]
    found = newest(given, NOON - timedelta(days=4000), NOON)
    spent = calls
    del given.next_after
    assert found is not None and NOON - timedelta(days=1500 * 4) < found <= NOON
    following = given.next_after(found)
    assert following is not None and following > NOON
    assert spent < 6000, "and not run by run"


def test_the_newest_run_is_the_last_of_all() -> None:
    """Against going from run to run."""
    import random

    seed = random.randrange(10**9)
    chance = random.Random(seed)
    for _ in range(60):
        minute, hour = chance.choice(["*", "*/7", "3,50", "0"]), chance.choice(["*", "*/5", "2", "9-17"])
        given = crontab(
            minute, hour, chance.choice(["*", "mon-fri", "sun"]), tz=chance.choice(["UTC", "Europe/Zurich"])
        )
        last = NOON + timedelta(days=chance.uniform(100, 160))  # the clock is set back there in these days
        now = last + timedelta(hours=chance.uniform(0, 80))
        every: list[datetime] = []
        moment = given.next_after(last)
        while moment is not None and moment <= now:
            every.append(moment)
            moment = given.next_after(moment)
        assert newest(given, last, now) == (every[-1] if every else None), (seed, given, last, now)
        assert due_between(given, last, now, "all", most=10_000).runs == tuple(every)


def test_a_schedule_that_is_asked_is_due_when_it_says_so() -> None:
    class Asked(BaseSchedule):
        def is_due(self, last_run_at: datetime) -> schedstate:
            late = (self.now() - last_run_at).total_seconds()
            return schedstate(late > 60, 30)

    given = Asked(app=app)
    assert due_between(given, NOON, after(seconds=50)) == ((), NOON, after(seconds=80), False)
    assert due_between(given, NOON, after(seconds=70)) == (
        (after(seconds=70),),
        after(seconds=70),
        after(seconds=100),
        False,
    )
