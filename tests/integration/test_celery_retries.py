"""Retries across engines: a task that one side's worker gives up for now, and the other's runs again."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import redis
from support.mixed import ENGINES, Fleet, ask
from support.wait import until

TIMEOUT = 15


@pytest.fixture(params=ENGINES)
def client(request: pytest.FixtureRequest, fleet: Fleet) -> Any:
    return fleet.clients[request.param]


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.mark.parametrize(
    "queues", [("ours", "ours"), ("ours", "theirs"), ("theirs", "ours"), ("theirs", "theirs")], ids="-".join
)
def test_a_retried_task_is_the_same_task_wherever_it_runs_again(
    fleet: Fleet, client: Any, queues: tuple[str, str], name: str
) -> None:
    first, second = queues
    sent = ask(client, "again", (name,), {"queue": second, "times": 2}, queue=first, expires=600)
    result = sent.get(timeout=TIMEOUT)
    runs = fleet.notes(name)
    engine = {"ours": "multi", "theirs": "celery"}
    assert result == {"retries": 2, "engine": engine[second]}
    assert [run["engine"] for run in runs] == [engine[first], engine[second], engine[second]]
    assert [run["retries"] for run in runs] == [0, 1, 2]
    assert {run["id"] for run in runs} == {sent.id}
    assert {run["root"] for run in runs} == {sent.id}
    # Celery's workers make a retry the child of its former run, multi's don't
    assert {run["parent"] for run in runs} <= ({None} if queues == ("ours", "ours") else {None, sent.id})
    assert {run["expires"] for run in runs} == {runs[0]["expires"]}
    assert runs[0]["expires"] is not None
    assert {json.dumps([run["args"], run["kwargs"]]) for run in runs} == {
        json.dumps([[name], {"queue": second, "times": 2}])
    }


@pytest.mark.parametrize("queue", ["ours", "theirs"])
def test_a_task_that_fails_for_good_fails_with_its_own_exception(client: Any, queue: str, name: str) -> None:
    sent = ask(
        client, "again", (name,), {"times": 100, "queue": {"ours": "theirs", "theirs": "ours"}[queue]}, queue=queue
    )
    error = sent.get(timeout=TIMEOUT, propagate=False)
    assert (type(error).__name__, error.args) == ("Trouble", ("not yet",))
    assert client.AsyncResult(sent.id).state == "FAILURE"


@pytest.mark.parametrize("queue", ["ours", "theirs"])
def test_while_it_waits_the_state_is_retry_for_both_sides(fleet: Fleet, client: Any, queue: str, name: str) -> None:
    sent = ask(client, "again", (name,), {"times": 100}, queue=queue)
    fleet.wait_notes(name, 2)
    for reader in fleet.clients.values():
        result = reader.AsyncResult(sent.id)
        if result.state == "RETRY":
            assert type(result.result).__name__ == "Trouble"
    assert type(sent.get(timeout=TIMEOUT, propagate=False)).__name__ == "Trouble"


@pytest.mark.parametrize(("given", "step"), [(None, 0), (0, 0), (3, 3), (9, 9)])
def test_a_retry_keeps_the_place_that_the_clients_priority_gave_it(
    own_fleet: Fleet, name: str, given: int | None, step: int
) -> None:
    """Celery's priorities on Redis count from 0, which is served first; a retry by our worker keeps to that."""
    client = own_fleet.clients["celery"]
    ask(client, "again", (name, "nobody"), queue="q", priority=given)
    with redis.Redis.from_url(own_fleet.broker) as server:
        own_fleet.worker("multi", "w", "q", "-c", "1", "-P", "solo").wait_ready()
        own_fleet.wait_notes(name)
        (key,) = until(lambda: server.keys("nobody*"), 10, what="the retry")
        assert key.decode() == ("nobody" if step == 0 else f"nobody\x06\x16{step}")
        envelope = json.loads(server.lindex(key, 0))
        assert envelope["properties"]["priority"] == step
