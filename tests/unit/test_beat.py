"""The scheduler by a clock that the test sets: what is sent when, and what becomes of it when things go wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from support.beats import START, TASK, Clock, documents, due_times, make_app, make_beat, run_until, sent

from multi import App, crontab, schedule
from multi.beat.beat import BEHIND
from multi.connections.memory import forget

URL = "memory://beats"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    forget(URL)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def app_with(**schedule: Any) -> App:
    return make_app(URL, schedule)


def test_each_entry_is_sent_when_it_is_due_with_what_it_says(clock: Clock) -> None:
    app = app_with(
        ten={"schedule": 10.0, "args": (1, 2), "kwargs": {"k": "ü"}, "options": {"queue": "other", "priority": 3}},
        minute={"schedule": crontab()},
    )
    run_until([make_beat(app, clock)], clock, START + 60)
    assert [moment - START for _, moment in sorted(sent(app, "other"))] == [10, 20, 30, 40, 50, 60]
    assert sorted(sent(app)) == [("minute", START + 40)], "22:13:20 it is at first"
    message = app.broker.peek("other", 1)[0].message
    assert message is not None
    assert (message.headers["task"], message.properties["priority"]) == (TASK, 3)
    assert message.body.startswith(b'[[1,2],{"k":"\xc3\xbc"}')
    document = documents(app)["ten"]
    assert (document.count, document.at, document.ran) == (6, START + 60, START + 60)


def test_the_id_of_a_run_is_the_same_whoever_sends_it(clock: Clock) -> None:
    found = []
    for _ in range(2):
        app = app_with(ten={"schedule": 10.0})
        clock.at = START
        run_until([make_beat(app, clock)], clock, START + 10)
        found += [seen.message.headers["id"] for seen in app.broker.peek("celery", 9) if seen.message]
        app.close()
        forget(URL)
    assert found[0] == found[1]
    assert len(found) == 2


def test_schedulers_that_run_together_send_each_run_once_and_one_of_them_rests(clock: Clock) -> None:
    app = app_with(**{f"e{n}": {"schedule": 1.0 + n / 10} for n in range(20)})
    beats = [make_beat(app, clock) for _ in range(3)]
    beats[0].start()
    begin = {name: document.at for name, document in documents(app).items()}
    run_until(beats, clock, START + 30)
    assert sent(app) == due_times(app, begin, START + 30)
    assert sorted(beat.sent for beat in beats)[1] == 0, "the others have let the first one be first"


def test_when_the_one_that_sends_is_gone_the_next_run_is_late_by_half_a_second_at_most(clock: Clock) -> None:
    app = app_with(two={"schedule": 2.0, "missed": "all"})
    beats = [make_beat(app, clock) for _ in range(2)]
    run_until(beats, clock, START + 10)
    _, other = sorted(beats, key=lambda beat: -beat.sent)
    assert other.sent == 0
    run_until([other], clock, START + 12 + 2 * BEHIND)
    assert other.sent == 1
    run_until([other], clock, START + 14)
    assert other.sent == 2, "and from then on in time"


@pytest.mark.parametrize(
    ("missed", "away", "runs"),
    [
        ("once", 3605, [3600]),
        ("skip", 3605, [3600]),
        ("all", 55, [10, 20, 30, 40, 50]),
    ],
)
def test_what_is_done_about_runs_that_nobody_was_there_for(
    clock: Clock, missed: str, away: float, runs: list[float]
) -> None:
    app = app_with(ten={"schedule": 10.0, "missed": missed})
    make_beat(app, clock).start()
    clock.at = START + away
    beat = make_beat(app, clock)
    run_until([beat], clock, clock.at)
    assert [moment - START for _, moment in sorted(sent(app))] == runs
    run_until([beat], clock, clock.at + 10)
    assert len(sent(app)) == len(runs) + 1, "and then it goes on as ever"


def test_a_run_that_is_to_be_skipped_when_it_is_missed_is_sent_if_it_is_late_by_little(clock: Clock) -> None:
    app = app_with(hourly={"schedule": crontab(minute=0), "missed": "skip"})
    make_beat(app, clock).start()
    clock.at = START + 3600 - 800 + 30
    run_until([make_beat(app, clock)], clock, clock.at)
    assert len(sent(app)) == 1
    clock.at += 3600 + 60
    run_until([make_beat(app, clock)], clock, clock.at)
    assert len(sent(app)) == 1, "beat_missed_after is a minute"


def test_many_runs_that_are_all_made_up_for_go_out_in_portions(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    app = app_with(one={"schedule": 1.0, "missed": "all"})
    make_beat(app, clock).start()
    clock.at = START + 1234
    with caplog.at_level(logging.INFO):
        run_until([make_beat(app, clock)], clock, clock.at + 1)
    assert len(sent(app)) == documents(app)["one"].count == 1235
    told = [text for text in caplog.messages if " one" in text]
    assert (
        told[0] == "Scheduler: runs of one were missed from 2023-11-14 22:13:21 UTC on; missed='all': each one is sent"
    )
    assert told[1] == "Scheduler: Sending due task one (proj.tick) 100 times"
    assert "Scheduler: the runs of one that were missed are sent" in told
    assert len(told) == 16, "a line for each portion"


def test_a_crontab_that_is_too_late_isnt_sent_any_more(clock: Clock) -> None:
    app = make_app(URL, {"hourly": {"schedule": crontab(minute=0)}}, beat_cron_starting_deadline=300)
    make_beat(app, clock).start()
    clock.at = START + 2 * 3600  # 00:13:20
    make_beat(app, clock).tick()
    assert not sent(app)
    clock.at = START + 3 * 3600 - 750  # 01:00:50
    make_beat(app, clock).tick()
    assert len(sent(app)) == 1


def test_an_entry_that_cant_be_sent_stops_no_other(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    app = app_with(good={"schedule": 5.0})

    @app.task(name="proj.two")
    def two(x: int, y: int) -> int:
        return x + y

    app.conf.beat_schedule = {
        **app.conf.beat_schedule,
        "bad": {"task": "proj.two", "schedule": 5.0, "args": (1,)},
        "nowhere": {"task": TASK, "schedule": 5.0, "options": {"exchange": "nobody", "routing_key": "k"}},
    }
    with caplog.at_level(logging.ERROR):
        run_until([make_beat(app, clock)], clock, START + 10)
    assert {name for name, _ in sent(app)} == {"good"}
    assert len(sent(app)) == 2
    assert "bad (proj.two) can't be sent: two() missing 1 required positional argument: 'y'" in caplog.text
    assert "Traceback" not in caplog.text, "it is the user's mistake"
    kept = documents(app)
    assert kept["bad"].trouble.startswith("TypeError: two() missing")
    assert kept["nowhere"].trouble.startswith("Unroutable: no queue takes")
    assert (kept["bad"].count, kept["good"].count, kept["bad"].at) == (0, 2, START + 10)


def test_a_clock_that_jumps_ahead_counts_as_a_time_without_schedulers(clock: Clock) -> None:
    app = app_with(ten={"schedule": 10.0}, hourly={"schedule": crontab(minute=0)})
    beat = make_beat(app, clock)
    run_until([beat], clock, START + 30)
    clock.at += 86400
    run_until([beat], clock, clock.at + 10)
    runs = [moment - START for name, moment in sorted(sent(app)) if name == "ten"]
    assert runs == [10, 20, 30, 86430, 86440]
    assert sum(name == "hourly" for name, _ in sent(app)) == 1


def test_a_clock_that_is_set_back_sends_no_time_of_day_twice_and_lets_no_interval_wait(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(ten={"schedule": 10.0}, minutes={"schedule": crontab()})
    beat = make_beat(app, clock)
    run_until([beat], clock, START + 3600)
    before = sent(app)
    clock.at = START + 1800
    run_until([beat], clock, START + 1800 + 100)
    new = sent(app) - before
    assert [moment - START for name, moment in sorted(new) if name == "ten"] == [1880, 1890, 1900]
    assert not [moment for name, moment in new if name == "minutes"]
    assert "what was sent until 2023-11-14 23:13:00 UTC isn't sent twice: minutes rest until then" in caplog.text
    run_until([beat], clock, START + 3660)
    assert all(times == 1 for (name, _), times in sent(app).items() if name == "minutes")
    assert sum(name == "minutes" for name, _ in sent(app)) == 61


def test_schedulers_whose_clocks_are_far_apart_send_nothing_twice() -> None:
    early, late = Clock(START + 300), Clock(START)
    app = app_with(ten={"schedule": 10.0}, minutes={"schedule": crontab()})
    beats = [make_beat(app, early), make_beat(app, late)]
    beats[0].start()
    begin = {name: document.at for name, document in documents(app).items()}
    for _ in range(6000):
        early.at += 0.1
        late.at += 0.1
        for beat in beats:
            beat.tick()
    assert sent(app) == due_times(app, begin, early.at)
    assert beats[1].sent == 0


def test_a_clock_that_was_years_ahead_doesnt_stop_the_schedule_for_years(clock: Clock) -> None:
    app = app_with(hourly={"schedule": crontab(minute=0)})
    clock.at = START + 10 * 365 * 86400
    run_until([make_beat(app, clock)], clock, clock.at + 3600)
    assert len(sent(app)) == 1
    clock.at = START
    run_until([make_beat(app, clock)], clock, START + 3 * 3600)
    assert len(sent(app)) == 3


def test_what_changes_at_run_time_is_seen_within_a_second(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_with(two={"schedule": 2.0}, three={"schedule": 3.0})
    monkeypatch.setattr("multi.clock.now", lambda: datetime.fromtimestamp(clock.at, UTC))
    beat = make_beat(app, clock)
    run_until([beat], clock, START + 6)
    app.schedule.pause("two")
    app.schedule.set("new", TASK, 1.5, args=[7])
    app.schedule.remove("three")
    run_until([beat], clock, START + 12)
    found = sorted((name, moment - START) for name, moment in sent(app) if moment > START + 6)
    assert found == [("new", 7.5), ("new", 9.0), ("new", 10.5), ("new", 12.0)]
    app.schedule.resume("two")
    app.schedule.set("new", schedule=crontab())
    run_until([beat], clock, START + 17)
    found = sorted((name, moment - START) for name, moment in sent(app) if moment > START + 12)
    assert found == [("two", 14.0), ("two", 16.0)]


def test_paused_and_added_entries_outlive_schedulers_and_those_of_the_code_follow_it(clock: Clock) -> None:
    app = app_with(stays={"schedule": 2.0}, goes={"schedule": 2.0}, changes={"schedule": 5.0})
    run_until([make_beat(app, clock)], clock, START + 4)
    app.schedule.set("added", TASK, 3.0)
    app.schedule.pause("stays")
    app.conf.beat_schedule = {
        "stays": {"task": TASK, "schedule": 2.0, "args": (1,)},
        "changes": {"task": TASK, "schedule": 3600.0},
        "comes": {"task": TASK, "schedule": 2.0},
    }
    clock.at = START + 6
    make_beat(app, clock).start()
    kept = documents(app)
    assert sorted(kept) == ["added", "changes", "comes", "stays"]
    assert kept["stays"].paused
    assert (kept["stays"].count, kept["stays"].at) == (2, START + 4), "what it is sent with doesn't change when"
    assert kept["changes"].at == START + 6, "another schedule begins anew"
    assert kept["comes"].at == START + 6
    assert kept["added"].origin == "added"


def test_an_entry_that_says_enabled_false_waits_until_it_is_resumed(clock: Clock) -> None:
    app = app_with(off={"schedule": 2.0, "enabled": False})
    run_until([make_beat(app, clock)], clock, START + 6)
    assert not sent(app)
    assert app.schedule.get("off").paused
    app.schedule.resume("off")
    beat = make_beat(app, clock)
    beat.start()
    assert not documents(app)["off"].paused, "the code says the same as before"


def test_an_entry_that_another_scheduler_takes_away_is_told(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    mine, other = app_with(mine={"schedule": 2.0}), app_with(other={"schedule": 2.0})
    beat = make_beat(mine, clock)
    beat.tick()
    make_beat(other, clock).tick()
    clock.at += 1.5
    beat.tick()
    assert "mine was removed by another scheduler" in caplog.text
    assert "beat_schedule_name" in caplog.text


def test_two_schedules_of_one_broker_have_names_of_their_own(clock: Clock) -> None:
    one = make_app(URL, {"a": {"schedule": 2.0}}, beat_schedule_name="one")
    two = make_app(URL, {"b": {"schedule": 2.0}}, beat_schedule_name="two")
    run_until([make_beat(one, clock), make_beat(two, clock)], clock, START + 4)
    assert {name for name, _ in sent(one)} == {"a", "b"}
    assert (sorted(documents(one)), sorted(documents(two))) == (["a"], ["b"])


def test_it_is_told_which_entries_go_on_from_the_file_of_celerys_beat(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    former = dict.fromkeys(("ten", "hourly", "gone"), (START - 3600, 7))
    app = app_with(ten={"schedule": 10.0}, hourly={"schedule": crontab(minute=0)}, new={"schedule": 10.0})
    with caplog.at_level(logging.INFO):
        run_until([make_beat(app, clock, former=former)], clock, START)
        run_until([make_beat(app, clock, former=former)], clock, START)
    assert [text.partition("beat: ")[2] for text in caplog.messages if "last runs" in text] == ["ten, hourly"]


def test_a_store_that_was_emptied_is_filled_again_from_the_code(clock: Clock) -> None:
    app = app_with(two={"schedule": 2.0})
    beat = make_beat(app, clock)
    run_until([beat], clock, START + 2)
    forget(URL)
    app.close()
    beat._sending._broker = app.broker  # type: ignore[attr-defined]  # a server that has lost all it had, to the same client
    beat.shelf.keeps = app.broker
    run_until([beat], clock, START + 8)
    assert len(sent(app)) >= 2


def test_a_schedule_of_a_projects_own_is_asked_and_sent_once_by_all(clock: Clock) -> None:
    class Thirds(schedule):
        """Due at every third second of the clock; says so when it is asked."""

        def is_due(self, last_run_at: datetime) -> Any:
            now = self.now()
            return (int(now.timestamp()) % 3 == 0 and now.timestamp() - last_run_at.timestamp() >= 1, 0.5)

    app = app_with(odd={"schedule": Thirds(1.0)})
    beats = [make_beat(app, clock) for _ in range(2)]
    run_until(beats, clock, START + 30)
    assert documents(app)["odd"].count == len(sent(app)) in (10, 11)


def test_a_unique_task_that_waits_already_isnt_sent_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    app = app_with()

    @app.task(name="proj.one", unique_for=3600)
    def one() -> None:
        """There is to be one of it."""

    app.conf.beat_schedule = {"one": {"task": "proj.one", "schedule": 5.0}}
    with caplog.at_level(logging.INFO):
        run_until([make_beat(app, clock)], clock, START + 20)
    assert len(sent(app)) == 1
    assert "one is not sent: proj.one waits or runs already" in caplog.text
    assert documents(app)["one"].at == START + 20


def test_listeners_hear_of_what_is_sent(clock: Clock) -> None:
    from multi import signals

    heard: list[str] = []

    def before(sender: str, **more: Any) -> None:
        heard.append(f"before {sender}")

    def after(sender: str, **more: Any) -> None:
        heard.append(f"after {sender}")

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        app = app_with(ten={"schedule": 10.0})
        run_until([make_beat(app, clock)], clock, START + 10)
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert heard == [f"before {TASK}", f"after {TASK}"]


def test_a_worker_drops_what_is_sent_again_where_the_store_tells_that_it_was_done() -> None:
    from multi.testing import LocalWorker

    runs: list[str] = []
    app = make_app(URL, {}, runs, backend=URL)
    with LocalWorker(app):
        app.send_task(TASK, task_id="one").get(timeout=30)
        app.send_task(TASK, task_id="one", headers={"sent_again": True})
        app.send_task(TASK, task_id="two", headers={"sent_again": True}).get(timeout=30)
    assert runs == ["one", "two"]


def test_a_schedule_that_raises_stops_no_other(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(schedule):
        def next_after(self, moment: datetime) -> datetime:
            raise LookupError("no calendar")

    app = app_with(broken={"schedule": Broken(1.0)}, good={"schedule": 5.0})
    run_until([make_beat(app, clock)], clock, START + 130)
    assert len(sent(app)) == 26
    assert caplog.text.count("the schedule of broken doesn't say when it runs: LookupError: no calendar") in (2, 3)


def test_an_argument_may_be_worked_out_when_it_is_sent(clock: Clock) -> None:
    from multi import BeatLazyFunc

    calls: list[int] = []

    def count(by: int, name: str = "") -> str:
        calls.append(by)
        return f"{name}{len(calls)}"

    app = app_with(
        lazy={"schedule": 10.0, "args": (BeatLazyFunc(count, 1),), "kwargs": {"k": BeatLazyFunc(count, 2, name="n")}}
    )
    run_until([make_beat(app, clock)], clock, START + 20)
    bodies = [json.loads(seen.message.body) for seen in app.broker.peek("celery", 9) if seen.message is not None]
    assert [body[:2] for body in bodies] == [[["1"], {"k": "n2"}], [["3"], {"k": "n4"}]]
    assert calls == [1, 2, 1, 2]
