"""Tasks for later between Celery and multi: parked by our worker, run once, at the right time, by whoever is there."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import redis
from support.mixed import ENGINES, Fleet, ask, sign
from support.wait import until

TIMEOUT = 20
#: Our worker looks once a second whether something is due.
LATE = 1.6


@pytest.fixture(params=ENGINES)
def client(request: pytest.FixtureRequest, fleet: Fleet) -> Any:
    return fleet.clients[request.param]


def parked(url: str) -> int:
    with redis.Redis.from_url(url) as server:
        return int(server.zcard("multi:delayed"))


def test_tasks_for_later_run_once_and_when_they_are_due(fleet: Fleet) -> None:
    """Both clients, both workers, and every way to say when; all of them wait at the same time."""
    of_others = parked(fleet.broker)
    now = datetime.now(UTC)
    due = now + timedelta(seconds=2)
    ways: dict[str, dict[str, Any]] = {
        "countdown": {"countdown": 2},
        "aware": {"eta": due},
        "elsewhere": {"eta": due.astimezone(timezone(timedelta(hours=-7)))},
        "naive": {"eta": due.replace(tzinfo=None)},
        "past": {"eta": now - timedelta(hours=1)},
    }
    names = {}
    for engine, client in fleet.clients.items():
        for queue in ("ours", "theirs", "both"):
            for way, options in ways.items():
                name = names[engine, queue, way] = uuid.uuid4().hex
                ask(client, "note", (), {"name": name}, queue=queue, **options)
    for (engine, queue, way), name in names.items():
        (note,) = fleet.wait_notes(name, timeout=TIMEOUT)
        late = note["time"] - (now if way == "past" else due).timestamp()
        assert -0.001 <= late < LATE, (engine, queue, way, late)
    # none of them runs a second time: what is sent now comes after whatever were still on its way
    for queue in ("ours", "theirs", "both"):
        assert ask(fleet.clients["multi"], "add", (1, 1), queue=queue).get(timeout=TIMEOUT) == 2
    assert {key: len(fleet.notes(name)) for key, name in names.items()} == dict.fromkeys(names, 1)
    assert parked(fleet.broker) <= of_others


def test_a_parked_task_keeps_its_links_its_family_and_its_headers(fleet: Fleet, client: Any) -> None:
    name = uuid.uuid4().hex
    link = sign(client, "note", "linked", queue="ours", name=name)
    sent = ask(
        client,
        "who",
        queue="ours",
        countdown=1,
        link=link,
        headers={"tenant": "blue"},
        shadow="nick",
        compression="zlib",
    )
    seen = sent.get(timeout=TIMEOUT)
    assert (seen["headers"]["tenant"], seen["shadow"], seen["root"], seen["redelivered"]) == (
        "blue",
        "nick",
        sent.id,
        False,
    )
    assert datetime.fromisoformat(seen["eta"]).tzinfo is not None
    (note,) = fleet.wait_notes(name)
    assert note["args"] == [seen, "linked"]


def test_a_task_that_expires_while_it_is_parked_is_revoked(fleet: Fleet, client: Any) -> None:
    name = uuid.uuid4().hex
    sent = ask(client, "note", (), {"name": name}, queue="ours", countdown=1.5, expires=0.5)
    result = sent.get(timeout=TIMEOUT, propagate=False)
    assert type(result).__name__ == "TaskRevokedError"
    assert client.AsyncResult(sent.id).state == "REVOKED"
    assert fleet.notes(name) == []


def test_the_second_task_of_a_chain_may_have_to_wait(fleet: Fleet, client: Any) -> None:
    name = uuid.uuid4().hex
    later = sign(client, "note", queue="ours", name=name).set(countdown=1)
    start = time.time()
    ask(client, "add", (1, 1), queue="theirs", link=later)
    (note,) = fleet.wait_notes(name)
    assert note["args"] == [2]
    assert 1 <= note["time"] - start < 1 + LATE + 1


def test_a_celery_worker_runs_what_our_last_worker_had_parked(own_fleet: Fleet) -> None:
    first = own_fleet.worker("multi", "first", "q", "-c", "1", "-P", "solo").wait_ready()
    second = own_fleet.worker("multi", "second", "q", "-c", "1", "-P", "solo").wait_ready()
    due = datetime.now(UTC) + timedelta(seconds=5)
    for engine, client in own_fleet.clients.items():
        ask(client, "note", (engine,), {"name": "later"}, queue="q", eta=due)
    until(lambda: parked(own_fleet.broker) == 2, 10, what="both tasks to be parked")
    assert first.stop() == 0
    assert parked(own_fleet.broker) == 2
    with redis.Redis.from_url(own_fleet.broker) as server:
        assert server.llen("q") == 0
        assert second.stop() == 0
        assert server.llen("q") == 2
    assert parked(own_fleet.broker) == 0
    assert "parked messages went back to their queues" in second.said()
    own_fleet.worker("celery", "heir", "q", "-c", "1", "-P", "solo").wait_ready()
    notes = own_fleet.wait_notes("later", 2)
    assert sorted(note["args"] for note in notes) == [["celery"], ["multi"]]
    assert {note["engine"] for note in notes} == {"celery"}
    assert min(note["time"] for note in notes) >= due.timestamp()


def test_what_a_killed_worker_had_parked_is_run_by_the_next_one(own_fleet: Fleet) -> None:
    first = own_fleet.worker("multi", "first", "q", "-c", "1", worker_lease=2).wait_ready()
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    ask(own_fleet.clients["celery"], "note", (), {"name": "later"}, queue="q", eta=due)
    until(lambda: parked(own_fleet.broker) == 1, 10, what="the task to be parked")
    first.kill()
    own_fleet.worker("multi", "second", "q", "-c", "1", worker_lease=2).wait_ready()
    (note,) = own_fleet.wait_notes("later")
    assert note["time"] >= due.timestamp()
