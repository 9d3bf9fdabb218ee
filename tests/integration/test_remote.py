"""Celery's workers are asked through their broker: over Redis and over RabbitMQ, by name and all together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mixed import Fleet
from support.wait import until

from multi.connections.redis import Address, Redis
from multi.errors import BrokerUnavailable, ConfigurationError
from multi.remote import call


@pytest.fixture(params=["redis_url", "rabbitmq_url"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, no_leftovers: None) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, request.getfixturevalue(request.param), "rpc://" if "rabbit" in request.param else None)
    yield fleet
    for worker in fleet.workers:
        worker.stop()


def test_a_worker_says_what_it_runs_and_takes_up_and_leaves_queues(fleet: Fleet) -> None:
    worker = fleet.worker("celery", "asked", "one,two", "-c", "1")
    worker.wait_ready()
    # all who are there; on a busy machine the answer may take its time
    (name,) = until(lambda: call(fleet.broker, "ping", timeout=1), 20, what="somebody answers")
    assert name.startswith("asked@")
    to = [name]
    assert call(fleet.broker, "ping", destination=to, timeout=10) == {name: {"ok": "pong"}}
    fleet.clients["celery"].send_task("fleet.slow", ("one", 3), queue="one")

    def running() -> bool:
        return bool(call(fleet.broker, "active", destination=to, timeout=10)[name])

    until(running, what="the task shows among the active ones")
    call(fleet.broker, "cancel_consumer", {"queue": "one"}, to, timeout=10)

    def queues() -> list[str]:
        return sorted(queue["name"] for queue in call(fleet.broker, "active_queues", None, to, timeout=10)[name])

    until(lambda: queues() == ["two"], what="the queue is left")
    call(fleet.broker, "add_consumer", {"queue": "one"}, to, timeout=10)
    until(lambda: queues() == ["one", "two"], what="the queue is taken up")


def test_nobody_answers_for_a_worker_that_is_away_and_nothing_stays_behind(redis_url: str) -> None:
    assert call(redis_url, "ping", destination=["gone@nowhere"], timeout=0.2) == {}
    connection = Redis(Address.from_url(redis_url))
    assert connection.call("KEYS", "*") == []
    connection.close()


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "amqp://u:secret@127.0.0.1:1//"])
def test_a_broker_that_is_away_is_named_without_its_password(url: str) -> None:
    with pytest.raises(BrokerUnavailable) as caught:
        call(url, "ping", timeout=0.2)
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_broker_without_remote_control_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'sqs'"):
        call("sqs://", "ping")
