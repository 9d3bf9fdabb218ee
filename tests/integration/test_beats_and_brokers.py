"""Schedulers where the broker goes away, and where it can't keep the schedule itself."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.beats import (
    START,
    Accelerated,
    Clock,
    documents,
    due_times,
    kill,
    make_app,
    make_beat,
    run_until,
    sent,
)
from support.cut import Cut

from multi import App
from multi.app.timetable.document import Claim, read, write
from multi.app.timetable.shelves import shelf
from multi.beat.beat import FORGOTTEN
from multi.beat.messages import task_id
from multi.documents import Change


@pytest.fixture(params=["redis", "rabbitmq"])
def way(request: pytest.FixtureRequest) -> Iterator[Cut]:
    found = Cut(str(request.getfixturevalue(f"{request.param}_url")))
    yield found
    found.close()


@pytest.fixture
def claims(rabbitmq_url: str, redis_url: str) -> dict[str, Any]:
    """RabbitMQ, with the schedule in Redis."""
    return {"url": rabbitmq_url, "backend": redis_url}


@pytest.fixture
def make() -> Iterator[Callable[..., App]]:
    """`make_app`, with its apps closed after the test."""
    made: list[App] = []

    def one(*args: Any, **settings: Any) -> App:
        made.append(make_app(*args, **settings))
        return made[-1]

    yield one
    for app in made:
        app.close()


def lying(app: App, queue: str = "celery") -> list[Any]:
    """The messages that wait, with their headers."""
    return [seen.message for seen in app.broker.peek(queue, 1000)]


def test_a_broker_that_is_away_while_runs_are_due_loses_none_and_doubles_none(
    make: Callable[..., App], way: Cut, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its clock set, so that the time is short: each entry's runs of that time are all made up for, or the last one."""
    clock = Clock()
    schedule = {"all": {"schedule": 10.0, "missed": "all"}, "once": {"schedule": 10.0}}
    app = make(way.url, schedule, backend=f"sqlite:///{tmp_path}/r.db?create=all")
    beats = [make_beat(app, clock) for _ in range(2)]
    beats[0].start()
    begin = {name: document.at for name, document in documents(app).items()}
    run_until(beats, clock, START + 20)
    way.cut()
    while clock.at < START + 125:
        clock.at += max(1.0, min(beat.tick() for beat in beats))
    assert beats[0].away or beats[1].away
    assert "nothing can be sent" in caplog.text
    way.mend()
    end = START + 160
    run_until(beats, clock, end)
    found, wanted = sent(app), due_times(app, begin, end)
    assert {run: times for run, times in found.items() if run[0] == "all"} == {
        run: times for run, times in wanted.items() if run[0] == "all"
    }
    once = sorted(moment - START for name, moment in found.elements() if name == "once")
    # where it is RabbitMQ that is away, the first one was claimed when it was due
    assert [moment for moment in once if moment != 30] == [10, 20, 120, 130, 140, 150, 160]
    assert "answers again" in caplog.text


def test_after_a_minute_without_a_broker_each_run_is_sent_once(
    make: Callable[..., App], way: Cut, tmp_path: Path
) -> None:
    clock = Clock()
    app = make(way.url, {"ten": {"schedule": 10.0}}, backend=f"sqlite:///{tmp_path}/r.db?create=all")
    beat = make_beat(app, clock)
    run_until([beat], clock, START + 15)
    way.cut()
    while clock.at < START + 75:
        clock.at += max(1.0, beat.tick())
    way.mend()
    run_until([beat], clock, START + 100)
    assert sorted((moment - START, times) for (_, moment), times in sent(app).items()) == [
        (10.0 * number, 1) for number in range(1, 11)
    ]


def test_all_keys_in_redis_are_under_the_projects_prefix(make: Callable[..., App], redis_url: str) -> None:
    import redis

    clock = Clock()
    app = make(
        redis_url,
        {"ten": {"schedule": 10.0, "options": {"priority": 9, "countdown": 3600}}, "now": {"schedule": 10.0}},
        broker_transport_options={"global_keyprefix": "shop:"},
        delayed_delivery="broker",
    )
    run_until([make_beat(app, clock)], clock, START + 10)
    assert app.broker.counts(["celery"])[0].parked == 1
    assert len(sent(app)) == 1
    with redis.Redis.from_url(redis_url) as server:
        keys = sorted(server.keys())
    assert b"shop:multi:kept:beat:proj" in keys
    assert all(key.startswith(b"shop:") for key in keys), keys


def test_where_rabbitmq_is_the_broker_the_schedule_is_in_the_result_backend(
    make: Callable[..., App], claims: dict[str, Any]
) -> None:
    clock = Clock()
    app = make(schedule={"ten": {"schedule": 10.0}, "seven": {"schedule": 7.0}}, **claims)
    beats = [make_beat(app, clock) for _ in range(3)]
    beats[0].start()
    place = shelf(app)
    assert (place.atomic, place.local, place.where) == (False, False, app.backend.url)  # type: ignore[union-attr]
    begin = {name: document.at for name, document in documents(app).items()}
    run_until(beats, clock, START + 60)
    assert sent(app) == due_times(app, begin, START + 60)
    assert all(document.claim is None for document in documents(app).values())


def test_what_a_dead_scheduler_has_claimed_and_not_sent_is_sent_within_ten_seconds_with_the_same_id(
    make: Callable[..., App], claims: dict[str, Any]
) -> None:
    clock = Clock()
    app = make(schedule={"hour": {"schedule": 3600.0}}, **claims)
    make_beat(app, clock).start()
    place = shelf(app)
    value = place.keeps.documents(place.name)[1]["hour"]
    document = read(value)
    assert document is not None
    due = document.at + 3600
    clock.at = due + 0.01
    dying = msgspec.structs.replace(document, at=due, count=1, by="dead", claim=Claim([due], "dead", clock.at))
    place.keeps.change(place.name, [Change("hour", value, write(dying))])
    others = [make_beat(app, clock) for _ in range(2)]
    run_until(others, clock, due + 5)
    assert not sent(app), "it may be slow, and not dead"
    assert FORGOTTEN + 2 < 10
    run_until(others, clock, due + 10)
    (message,) = lying(app)
    assert message.headers["id"] == task_id(place.name, "hour", due)
    assert message.headers["sent_again"] is True
    kept = documents(app)["hour"]
    assert (kept.claim, kept.count, kept.at) == (None, 1, due)


def test_kills_while_rabbitmq_is_the_broker_lose_nothing_and_repeat_only_with_the_same_id(
    claims: dict[str, Any],
) -> None:
    seed = int(os.environ.get("MULTI_SEED") or random.randrange(10**6))
    print(f"MULTI_SEED={seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    clock = Accelerated(60.0)

    def make() -> App:
        return make_app(schedule={f"e{n}": {"schedule": 2.0 + n / 3, "missed": "all"} for n in range(4)}, **claims)

    with make() as app:
        make_beat(app, clock).start()
        begin = {name: document.at for name, document in documents(app).items()}
    beats = [clock.fork(make) for _ in range(3)]
    try:
        for _ in range(40):
            time.sleep(chance.expovariate(1 / 0.03))
            number = chance.randrange(len(beats))
            assert kill(beats[number]) == -signal.SIGKILL, "it had ended by itself"
            beats[number] = clock.fork(make)
    finally:
        for pid in beats:
            kill(pid)
    end = clock()
    with make() as app:
        ends = Clock(end)
        last = make_beat(app, ends)
        run_until([last], ends, end)
        ends.at += 10  # what dead ones have claimed
        while last.tick() == 0:
            pass
        messages = lying(app)
        wanted = due_times(app, begin, end)
        found = {(each.headers["periodic_task_name"], each.headers["scheduled_for"]): each for each in messages}
        moments = {(name, moment) for name, moment in sent(app)}
        assert wanted.keys() <= moments
        doubled = len(messages) - len(found)
        again = sum("sent_again" in each.headers for each in messages)
        assert doubled <= again, "what is sent twice says so"


def test_without_any_store_that_is_shared_the_projects_own_file_has_the_schedule(
    make: Callable[..., App],
    rabbitmq_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from multi.beat.service import Service

    monkeypatch.setenv("MULTI_STATE_DIR", str(tmp_path))
    clock = Clock()
    app = make(rabbitmq_url, {"ten": {"schedule": 10.0}}, backend="rpc://")
    beat = make_beat(app, clock)
    place = shelf(app)
    assert place.local
    assert place.where.startswith(f"sqlite:///{tmp_path}")
    run_until([beat], clock, START + 30)
    assert len(sent(app)) == 3
    service = Service(beat, embedded=True)
    service.loop.later(0.0, service.stop)
    with caplog.at_level(logging.WARNING):
        service.run()
    assert "only schedulers on this machine know of one another" in caplog.text
