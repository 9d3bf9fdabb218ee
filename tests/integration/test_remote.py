"""Celery's workers are asked through their broker: over Redis and over RabbitMQ, by name and all together."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.mixed import Fleet
from support.wait import until

from multi import control_key
from multi.brokers.sqlite import SQLiteBroker
from multi.connections.redis import Address, Redis
from multi.errors import BrokerUnavailable, ConfigurationError
from multi.message import Message
from multi.remote import call
from multi.talk import open_talk


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


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        SQLiteBroker(f"sqlite:///{tmp_path}/q.db", {"create": "all"}).check()
        return f"sqlite:///{tmp_path}/q.db"
    return "memory://asked" if request.param == "memory" else str(request.getfixturevalue(request.param))


@pytest.fixture
def answering(place: str) -> Iterator[list[dict[str, Any]]]:
    """Two who answer, as workers do; the requests that they have heard."""
    talk, ready, stopped = open_talk(place), threading.Event(), threading.Event()
    heard: list[dict[str, Any]] = []

    def answer() -> None:
        subscription = talk.subscribe("celery.pidbox")
        ready.set()
        while not stopped.is_set():
            message = subscription.get(0.05)
            if message is None:
                continue
            request = json.loads(message.body)
            heard.append({**request, "headers": message.headers, "body": message.body})
            to = request["reply_to"]
            for name in ("one@here", "two@here"):
                body = json.dumps({name: {"ok": "pong"}}).encode()
                for ticket in ("another", request["ticket"]):
                    reply = Message({"ticket": ticket}, body if ticket != "another" else b"{}")
                    talk.say(to["exchange"], reply, key=to["routing_key"], kind="direct")
        subscription.close()
        talk.close()

    thread = threading.Thread(target=answer)
    thread.start()
    assert ready.wait(30)
    yield heard
    stopped.set()
    thread.join()


@pytest.mark.parametrize("place", ["memory", "sqlite", "redis_url", "rabbitmq_url"], indirect=True)
def test_workers_are_asked_over_every_broker_by_its_url_alone(place: str, answering: list[dict[str, Any]]) -> None:
    pong = {"ok": "pong"}
    assert call(place, "ping", timeout=0.5) == {"one@here": pong, "two@here": pong}
    began = time.monotonic()
    key = b"0123456789abcdef"
    assert call(place, "ping", {"a": 1}, ["two@here"], timeout=20, key=key)["two@here"] == pong
    assert time.monotonic() - began < 10
    first, second = answering
    assert (first["method"], first["destination"]) == ("ping", None)
    assert (second["arguments"], second["destination"]) == ({"a": 1}, ["two@here"])
    assert control_key.Guard(key, started=0.0).check(second["headers"], second["body"]) == ""
    assert control_key.Guard(key, started=0.0).check(first["headers"], first["body"]) == "it is not signed"
