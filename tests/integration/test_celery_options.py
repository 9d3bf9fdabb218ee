"""Settings that change what lies in Redis: prefixes, priority steps, separators, serializers, extended records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import celery
import pytest
import redis
from support.mixed import Fleet, ask, sign
from support.servers import Redis

import multi

TIMEOUT = 15

Maker = Callable[..., Fleet]


def everywhere(fleet: Fleet) -> list[tuple[str, Any, str]]:
    """Each client with each worker's queue."""
    return [(engine, client, queue) for engine, client in fleet.clients.items() for queue in ("theirs", "ours")]


def both_workers(fleet: Fleet, *words: str) -> None:
    theirs = fleet.worker("celery", "theirs", "theirs,both", "-c", "1", "-P", "solo", *words)
    ours = fleet.worker("multi", "ours", "ours,both", "-c", "1", "-P", "solo", *words)
    theirs.wait_ready()
    ours.wait_ready()


def test_prefix_separator_and_priority_steps_are_kept_to(make_fleet: Maker, redis_server: Redis) -> None:
    backend = redis_server.fresh()
    fleet = make_fleet(
        backend,
        broker_transport_options={"global_keyprefix": "shop:", "priority_steps": [0, 4, 8], "sep": "~"},
        result_backend_transport_options={"global_keyprefix": "shop-results"},
    )
    with redis.Redis.from_url(fleet.broker) as server, redis.Redis.from_url(backend) as results:
        ask(fleet.clients["celery"], "add", (1, 1), queue="later", priority=5)
        ask(fleet.clients["multi"], "add", (1, 1), queue="later", priority=3)  # 6 in Celery's count
        assert server.llen("shop:later~4") == 2
        both_workers(fleet)
        for _, client, queue in everywhere(fleet):
            sent = ask(client, "add", (2, 3), queue=queue, priority=9)
            assert sent.get(timeout=TIMEOUT) == 5
            assert results.exists(f"shop-results_celery-task-meta-{sent.id}")
            last = sign(client, "add", 10, queue="both")
            linked = ask(client, "add", (1, 1), queue=queue, link=last, countdown=0.1)
            assert linked.get(timeout=TIMEOUT) == 2
            (child,) = linked.children
            assert child.get(timeout=TIMEOUT) == 12
        keys = {key.decode() for key in server.keys("*")}
        assert {key for key in keys if not key.startswith("shop:")} == set()
        assert all(key.startswith(b"shop-results_celery-task-meta-") for key in results.keys("*"))


def test_the_names_of_unacked_may_be_others(make_fleet: Maker) -> None:
    options = {"unacked_key": "held", "unacked_index_key": "held_index", "unacked_mutex_key": "held_mutex"}
    fleet = make_fleet(broker_transport_options=options)
    fleet.worker("multi", "ours", "ours", "-c", "1").wait_ready()
    sent = ask(fleet.clients["celery"], "slow", ("slow", 0.5), queue="ours")
    fleet.wait_notes("slow")
    with redis.Redis.from_url(fleet.broker) as server:
        assert (server.hlen("held"), server.zcard("held_index"), server.exists("unacked", "unacked_index")) == (1, 1, 0)
        assert sent.get(timeout=TIMEOUT) == "multi"


def test_both_clients_use_the_same_list_for_what_is_as_urgent(make_fleet: Maker) -> None:
    """Celery counts from 0, which is served first, multi from 9, as on every other broker."""
    fleet = make_fleet()
    for priority in (9, 6, 3, 0):
        ask(fleet.clients["celery"], "note", (priority,), {"name": "order"}, queue="ours", priority=priority)
        ask(fleet.clients["multi"], "note", (priority,), {"name": "order"}, queue="ours", priority=9 - priority)
    for client in fleet.clients.values():
        ask(client, "note", ("none",), {"name": "order"}, queue="ours")
    with redis.Redis.from_url(fleet.broker) as server:
        assert [server.llen(f"ours\x06\x16{step}" if step else "ours") for step in (0, 3, 6, 9)] == [4, 2, 2, 2]
        told = {json.loads(text)["properties"]["priority"] for text in server.lrange("ours\x06\x163", 0, -1)}
        assert told == {3}
    fleet.worker("multi", "ours", "ours", "-c", "1", "-P", "solo").wait_ready()
    order = [note["args"][0] for note in fleet.wait_notes("order", 10)]
    assert order == [0, 0, "none", "none", 3, 3, 6, 6, 9, 9]


def test_a_celery_worker_serves_what_our_client_finds_urgent_first(make_fleet: Maker) -> None:
    fleet = make_fleet()
    for priority in (0, 3, 6, 9):
        ask(fleet.clients["multi"], "note", (priority,), {"name": "order"}, queue="theirs", priority=priority)
    fleet.worker("celery", "theirs", "theirs", "-c", "1", "-P", "solo", "--prefetch-multiplier=1").wait_ready()
    assert [note["args"][0] for note in fleet.wait_notes("order", 4)] == [9, 6, 3, 0]


def test_extended_records_hold_the_same_and_are_read_by_both(make_fleet: Maker) -> None:
    fleet = make_fleet(result_extended=True)
    both_workers(fleet)
    host = os.uname().nodename
    for _, client, queue in everywhere(fleet):
        sent = ask(client, "same", ([1],), {}, queue=queue)
        failed = ask(client, "value_error", ("no",), queue=queue)
        assert sent.get(timeout=TIMEOUT) == [1]
        assert isinstance(failed.get(timeout=TIMEOUT, propagate=False), ValueError)
        for reader in fleet.clients.values():
            for task_id, name, args in ((sent.id, "fleet.same", [[1]]), (failed.id, "fleet.value_error", ["no"])):
                result = reader.AsyncResult(task_id)
                assert (result.name, list(result.args), result.kwargs) == (name, args, {})
                assert (result.worker, result.retries, result.queue) == (f"{queue}@{host}", 0, queue)


@pytest.mark.parametrize("serializer", ["pickle", "msgpack", "yaml"])
def test_other_serializers_where_they_are_accepted(make_fleet: Maker, serializer: str) -> None:
    if serializer != "pickle":
        pytest.importorskip({"msgpack": "msgpack", "yaml": "yaml"}[serializer])
    fleet = make_fleet(
        accept_content=["json", serializer],
        task_serializer=serializer,
        result_serializer=serializer,
        task_compression="zlib",
    )
    both_workers(fleet)
    values: list[Any] = [None, "☃", 1.5, [1, [2]], {"a": {"b": 1}}]
    if serializer == "pickle":
        values += [{1, 2}, (1, (2,)), datetime(2024, 1, 1, tzinfo=UTC), b"\x00\xff", {1: "one"}, frozenset("a")]
    for _, client, queue in everywhere(fleet):
        # Celery's signatures are nothing that YAML can express
        more = {} if serializer == "yaml" else {"link": sign(client, "same", queue="both")}
        sent = [ask(client, "same", (value,), queue=queue, **more) for value in values]
        failed = ask(client, "value_error", ("no", 1), queue=queue)
        for reader in fleet.clients.values():
            assert [reader.AsyncResult(one.id).get(timeout=TIMEOUT) for one in sent] == values
            error = reader.AsyncResult(failed.id).get(timeout=TIMEOUT, propagate=False)
            assert (type(error), error.args) == (ValueError, ("no", 1))
        assert ask(client, "same", ("json",), queue=queue, serializer="json").get(timeout=TIMEOUT) == "json"


def test_an_untrusted_pickle_is_refused_by_a_reader_of_results(make_fleet: Maker) -> None:
    """A record in a format that isn't accepted is an error for the reader, not something to unpack."""
    fleet = make_fleet()
    fleet.worker("celery", "theirs", "theirs", "-c", "1", "-P", "solo", result_serializer="pickle").wait_ready()
    client = fleet.clients["multi"]
    sent = ask(client, "add", (1, 2), queue="theirs")
    with pytest.raises(multi.exceptions.DecodeError, match="not JSON"):
        sent.get(timeout=TIMEOUT)


def test_celerys_tools_see_our_queues(make_fleet: Maker) -> None:
    """Bindings are where kombu looks for them, so that its own declarations and lookups work beside ours."""
    fleet = make_fleet()
    fleet.worker("multi", "ours", "ours", "-c", "1", "-P", "solo").wait_ready()
    app: celery.Celery = fleet.clients["celery"]
    with redis.Redis.from_url(fleet.broker) as server:
        assert server.smembers("_kombu.binding.ours") == {b"ours\x06\x16\x06\x16ours"}
        assert server.smembers("_kombu.binding_permanent.ours") == {b"ours\x06\x16\x06\x16ours"}
    with app.connection_for_write() as connection:
        producer = connection.Producer()
        # the long way: to the exchange, whose bindings are looked up
        body: list[Any] = [[2, 2], {}, None]
        producer.publish(
            body,
            exchange="ours",
            routing_key="ours",
            headers={"task": "fleet.add", "id": "by-exchange"},
            serializer="json",
        )
    assert app.AsyncResult("by-exchange").get(timeout=TIMEOUT) == 4
