"""Queues, exchanges and what is sent to all, between Celery's programs and multi's, on Redis and on RabbitMQ."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.mixed import ENGINES, Fleet, ask
from support.servers import RabbitMQ, Redis

import multi

common: Any = importlib.import_module("kombu.common")
nodenames: Any = importlib.import_module("celery.utils.nodenames")

#: Name, exchange, its type, routing key; both workers have all of them, but consume each from their own.
QUEUES = [
    ["mine_celery", "media", "topic", "media.*"],
    ["mine_multi", "media", "topic", "media.*"],
    ["post_celery", "post", "direct", "to_celery"],
    ["post_multi", "post", "direct", "to_multi"],
    ["reload", "", "broadcast", ""],
]


def declare(client: Any, engine: str) -> None:
    """Let a client know what the workers declare."""
    module: Any = multi if engine == "multi" else importlib.import_module("kombu")
    broadcast = multi.Broadcast if engine == "multi" else common.Broadcast
    client.conf.task_queues = [
        broadcast(name) if kind == "broadcast" else module.Queue(name, module.Exchange(exchange, kind), key)
        for name, exchange, kind, key in QUEUES
    ]
    if engine == "celery":
        # on Redis its producers take an exchange that their connection hasn't declared for a direct one
        with client.producer_or_acquire() as producer:
            for queue in client.conf.task_queues:
                queue.exchange(producer.channel).declare()


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def routed(
    request: pytest.FixtureRequest, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """A worker of each, with the queues above, one of its own name, and one that is everybody's."""
    broker = redis_server.fresh()
    if request.param == "rabbitmq":
        rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq_server")
        broker = rabbitmq.fresh()
    fleet = Fleet(
        tmp_path_factory.mktemp("routed"),
        broker,
        redis_server.fresh(),
        fleet_queues=QUEUES,
        worker_direct=True,
        task_ignore_result=True,
    )
    try:
        for engine in ENGINES:
            declare(fleet.clients[engine], engine)
            fleet.worker(engine, engine, f"mine_{engine},post_{engine},reload", "-c", "1")
        for worker in fleet.workers:
            worker.wait_ready()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def engines(fleet: Fleet, name: str, count: int) -> list[str]:
    """Which engines have run the task that leaves this note."""
    return sorted(note["engine"] for note in fleet.wait_notes(name, count))


@pytest.mark.parametrize("client", ENGINES)
def test_a_topic_reaches_the_queues_of_both(routed: Fleet, client: str, name: str) -> None:
    ask(routed.clients[client], "quiet", (name,), exchange="media", routing_key="media.film", exchange_type="topic")
    assert engines(routed, name, 2) == ["celery", "multi"]
    ask(routed.clients[client], "quiet", (name,), queue="mine_celery", exchange="media", routing_key="media.again")
    assert engines(routed, name, 4) == ["celery", "celery", "multi", "multi"]


@pytest.mark.parametrize("client", ENGINES)
def test_a_direct_exchange_reaches_the_one_that_is_meant(routed: Fleet, client: str, name: str) -> None:
    for engine in ENGINES:
        ask(routed.clients[client], "quiet", (name,), exchange="post", routing_key=f"to_{engine}")
    assert engines(routed, name, 2) == ["celery", "multi"]


@pytest.mark.parametrize("client", ENGINES)
def test_what_is_sent_to_all_reaches_every_worker_once(routed: Fleet, client: str, name: str) -> None:
    after = uuid.uuid4().hex
    ask(routed.clients[client], "quiet", (name,), queue="reload")
    ask(routed.clients[client], "quiet", (after,), queue="reload")
    # each worker runs one at a time, in order: what came twice would have come by now
    engines(routed, after, 2)
    assert engines(routed, name, 2) == ["celery", "multi"]


@pytest.mark.parametrize("client", ENGINES)
def test_a_single_worker_is_reached_by_its_name(routed: Fleet, client: str, name: str) -> None:
    host = routed.wait_line("multi@", "ready").partition("multi@")[2].split()[0]
    direct = multi.worker_direct if client == "multi" else nodenames.worker_direct
    for engine in ENGINES:
        ask(routed.clients[client], "quiet", (f"{name}-{engine}",), queue=direct(f"{engine}@{host}"))
    for engine in ENGINES:
        assert engines(routed, f"{name}-{engine}", 1) == [engine]
