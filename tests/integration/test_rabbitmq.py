"""The broker on a real RabbitMQ: what the contract suites don't ask."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from support.rabbitmq import connect, control
from support.servers import QUORUM, RabbitMQ
from support.wait import until

from multi.brokers.amqp import AMQPBroker
from multi.brokers.amqp.topology import DEAD, DELAY
from multi.errors import BrokerUnavailable, EncodeError, UnsupportedOption
from multi.outcome import Publication
from multi.testing.nodes import Node, nodes
from multi.testing.rig import ended, in_child, message, name_of, names, send
from multi.topology import Exchange, Queue, Topology

MakeNode = Callable[..., Node]
QUEUE = "work"
SUCCESS = b'{"status": "SUCCESS"}'


@pytest.fixture
def broker(rabbitmq_url: str) -> Iterator[AMQPBroker]:
    broker = AMQPBroker(rabbitmq_url)
    yield broker
    broker.close()


@pytest.fixture
def node() -> Iterator[MakeNode]:
    with nodes(True) as make:
        yield make


@pytest.fixture
def own_broker(own: RabbitMQ) -> Iterator[AMQPBroker]:
    broker = AMQPBroker(own.fresh())
    yield broker
    broker.close()


# queues


def test_a_queue_is_declared_as_celery_declares_it(broker: AMQPBroker, rabbitmq_url: str) -> None:
    send(broker, message("ours"))
    library: Any = kombu
    with library.Connection(rabbitmq_url) as connection:
        queue = library.Queue(QUEUE, library.Exchange(QUEUE, type="direct"), routing_key=QUEUE)
        channel = connection.default_channel
        queue(channel).declare()  # raises if anything is declared otherwise
        producer = library.Producer(channel)
        producer.publish({"by": "exchange"}, exchange=QUEUE, routing_key=QUEUE, serializer="json")
        until(lambda: broker.depth(QUEUE) == 2)


@pytest.mark.parametrize(
    "arguments",
    [{"x-max-priority": 5}, {"x-queue-type": "quorum"}, {"x-message-ttl": 3_600_000}],
    ids=["priorities", "quorum", "time to live"],
)
def test_a_queue_that_exists_is_used_as_it_is(broker: AMQPBroker, node: MakeNode, arguments: dict[str, Any]) -> None:
    with connect(broker) as connection:
        connection.channel().queue_declare(QUEUE, durable=True, auto_delete=False, arguments=arguments)
    send(broker, *[message() for _ in range(20)])
    first, second = (node(broker).lane() for _ in range(2))
    held = first.take(5)
    rest = second.take(15)
    first.settle(*map(ended, held))
    second.settle(*[ended(one, "requeue", started=False) for one in rest[:5]], *map(ended, rest[5:]))
    again = first.take(5)
    assert {one.tag for one in again}.isdisjoint(one.tag for one in held)
    first.settle(*map(ended, again))
    assert broker.depth(QUEUE) == 0


def test_a_child_may_take_more_from_a_quorum_queue_while_it_holds_some(broker: AMQPBroker, node: MakeNode) -> None:
    with connect(broker) as connection:
        arguments = {"x-queue-type": "quorum"}
        connection.channel().queue_declare(QUEUE, durable=True, auto_delete=False, arguments=arguments)
    send(broker, *[message() for _ in range(30)])
    lane = node(broker).lane()
    held = [*lane.take(1), *lane.take(4), *lane.take(2)]
    assert {one.redelivered for one in held} == {False}
    lane.settle(*map(ended, held[:6]))
    assert {one.redelivered for one in lane.take(10)} == {False}
    until(lambda: broker.depth(QUEUE) == 13, what="nothing was fetched that nobody asked for")


def test_a_queue_that_was_deleted_is_declared_again(broker: AMQPBroker, node: MakeNode) -> None:
    send(broker, message("lost with its queue"))
    lane = node(broker).lane()
    lane.settle(ended(lane.one()))
    lane.expect_nothing()
    with connect(broker) as connection:
        connection.channel().queue_delete(QUEUE)
    send(broker, message("new"))
    assert names([lane.one()]) == ["new"]


# what travels


def test_all_that_a_message_has_arrives(broker: AMQPBroker, node: MakeNode) -> None:
    sent = message("whole", body=os.urandom(700_000), reply_to="me", priority=3, expiration="60000", message_id="m")
    sent.headers.update(eta=None, nested={"a": [1, 2.5, True, None, {"b": "ü"}]}, large=2**60, negative=-5, empty={})
    send(broker, sent)
    found = node(broker).lane().one().message
    assert found is not None
    assert found == sent


def test_a_header_that_cant_travel_sends_nothing_of_the_batch(broker: AMQPBroker) -> None:
    bad = message("bad")
    bad.headers["object"] = object()
    with pytest.raises(EncodeError, match="can't travel over AMQP"):
        broker.publish([Publication(QUEUE, message("good")), Publication(QUEUE, bad)])
    assert broker.depth(QUEUE) == 0


def test_a_forked_process_publishes_on_a_connection_of_its_own(broker: AMQPBroker) -> None:
    send(broker, message("before"))

    def inside() -> None:
        send(broker, message("inside"), message("inside"))
        broker.close()

    in_child(inside)
    send(broker, message("after"))
    assert broker.depth(QUEUE) == 4


# fairness


def test_a_busy_child_has_nothing_waiting_behind_its_task(broker: AMQPBroker, node: MakeNode) -> None:
    worker = node(broker)
    busy, idle = worker.lane(), worker.lane()
    send(broker, message("long"), *[message("short") for _ in range(20)])
    long = busy.one()
    assert broker.depth(QUEUE) == 20
    for _ in range(4):
        idle.settle(*map(ended, idle.take(5)))
    assert broker.depth(QUEUE) == 0
    busy.settle(ended(long))


def test_what_a_child_wanted_and_didnt_come_for_goes_to_others(broker: AMQPBroker, node: MakeNode) -> None:
    greedy = node(broker).lane()
    assert greedy.exchange([], 50) == []
    send(broker, *[message() for _ in range(200)])
    until(lambda: broker.depth(QUEUE) == 150, what="at most as many as were asked for are given out")
    assert len(node(broker).lane().take(150)) == 150


# time


def test_messages_are_due_in_their_own_order(broker: AMQPBroker, node: MakeNode) -> None:
    lane = node(broker).lane()
    now = time.time()
    delays = {"c": 2.3, "a": 0.15, "d": 3.2, "b": 1.1}
    broker.publish([Publication(QUEUE, message(name), now + delay) for name, delay in delays.items()])
    for name, delay in sorted(delays.items()):
        delivery = lane.one()
        assert names([delivery]) == [name]
        assert now + delay <= time.time() < now + delay + 1.0
        assert delivery.message is not None
        assert [header for header in delivery.message.headers if header.startswith("x-")] == []
        lane.settle(ended(delivery))


def test_a_message_can_be_parked_again_and_again(broker: AMQPBroker, node: MakeNode) -> None:
    send(broker, message("patient"))
    lane = node(broker).lane()
    for _ in range(4):  # a server drops what goes around without end, if it can tell
        lane.settle(ended(lane.one(), "park", due=time.time() + 0.2, started=False))
    assert names([lane.one()]) == ["patient"]


def test_parking_outlives_a_crash_of_the_server(own: RabbitMQ, own_broker: AMQPBroker) -> None:
    # The server itself forgets queues that were declared in its last second; so they are there first.
    for delay in (7.0, 1.0):
        own_broker.publish([Publication("first", message(), time.time() + delay)])
    until(lambda: own_broker.depth("first") == 1)
    own_broker.publish([Publication(QUEUE, message(), time.time() + 3 + number / 10) for number in range(20)])
    own.kill()
    own.start()
    until(lambda: own_broker.depth(QUEUE) == 20, 20, what="all that was parked is there")


def test_a_server_without_quorum_queues_parks_in_classic_ones(rabbitmq_url: str, node: MakeNode) -> None:
    broker = AMQPBroker(rabbitmq_url, {"delay_queue_type": "classic"})
    due = time.time() + 1
    broker.publish([Publication(QUEUE, message("later"), due)])
    assert names([node(broker).lane().one()]) == ["later"]
    assert time.time() >= due
    with connect(broker) as connection:
        arguments = {"x-message-ttl": 100, "x-dead-letter-exchange": "multi.due"}
        connection.channel().queue_declare(f"{DELAY}0", durable=True, auto_delete=False, arguments=arguments)
    broker.close()


# dead letters


def test_dead_letters_are_kept_until_they_are_replayed(own: RabbitMQ, own_broker: AMQPBroker, node: MakeNode) -> None:
    sent = [message(name) for name in "abc"]
    send(own_broker, *sent)
    worker = node(own_broker)
    lane = worker.lane()
    lane.settle(*[ended(one, "bury", reason=f"no {name_of(one)}", detail="why") for one in lane.take(3)])
    worker.stop()
    until(
        lambda: own.remembers(own_broker.addresses[0].vhost, f"{DEAD}{QUEUE}"),
        what="the server has written down that the queue exists",
    )
    own.kill()
    own.start()
    letters = until(lambda: own_broker.dead(QUEUE), what="the letters")  # it may still be reading what it had
    assert [(each.reason, each.detail, each.starts) for each in letters] == [(f"no {name}", "why", 1) for name in "abc"]
    assert [each.message for each in letters] == sent
    assert own_broker.dead(QUEUE) == letters
    assert own_broker.replay(QUEUE, [letters[1].id]) == 1
    assert [each.task_id for each in own_broker.dead(QUEUE)] == [letters[0].task_id, letters[2].task_id]
    assert own_broker.replay(QUEUE) == 2
    again = node(own_broker).lane().take(3)
    assert sorted(names(again)) == ["a", "b", "c"]
    assert {one.starts for one in again} == {0}
    with connect(own_broker) as connection:
        assert connection.channel().queue_declare(DEAD + QUEUE, passive=True).message_count == 0


def test_queues_are_declared_as_the_project_says(rabbitmq_server: RabbitMQ, rabbitmq_url: str) -> None:
    broker = AMQPBroker(rabbitmq_url)
    media = Exchange("media", "topic", auto_delete=True)
    broker.topology = Topology(
        [
            Queue("quorum", media, "media.#", queue_arguments={"x-queue-type": "quorum"}),
            Queue("short", Exchange("short"), "short", max_length=3, message_ttl=60),
        ],
        max_priority=5,
    )
    one = message(priority=3)
    broker.publish([Publication("media.any", one, exchange="media")])
    broker.publish([Publication("short", one), Publication("new", one)])
    broker.close()
    vhost = broker.addresses[0].vhost
    told = control(rabbitmq_server, "-q", "list_queues", "-p", vhost, "--no-table-headers", "name", "arguments")
    arguments = dict(line.split("\t") for line in told.splitlines())
    assert '"quorum"' in arguments["quorum"] and "x-max-priority" not in arguments["quorum"]
    assert (
        "x-max-length" in arguments["short"]
        and "60000" in arguments["short"]
        and "x-max-priority" in arguments["short"]
    )
    assert "x-max-priority" in arguments["new"]


def test_a_queue_of_somebody_elses_connection_alone_is_passed_over(broker: AMQPBroker) -> None:
    with connect(broker) as connection:
        connection.channel().queue_declare("theirs", exclusive=True)
        assert (broker.depth("theirs"), broker.peek("theirs", 10)) == (0, [])
        assert broker.hand_over("theirs", lambda messages: pytest.fail("it has none for us")) == 0
        with pytest.raises(BrokerUnavailable, match="LOCKED"):
            broker.publish([Publication("theirs", message())])


# dead letters where queues are quorum queues


def test_dead_letters_lie_in_a_classic_queue_whatever_the_servers_default_is(
    rabbitmq_server: RabbitMQ, node: MakeNode
) -> None:
    broker = AMQPBroker(rabbitmq_server.url(QUORUM))
    send(broker, message("a"))
    lane = node(broker).lane()
    lane.settle(ended(lane.one(), "bury", reason="test"))
    (found,) = until(lambda: broker.dead(QUEUE), 30, what="a dead letter")
    for _ in range(25):  # a quorum queue gives a message out twenty times
        assert [each.id for each in broker.dead(QUEUE)] == [found.id]
    with connect(broker) as connection:
        for name, kind in ((DEAD + QUEUE, "classic"), (QUEUE, "quorum")):
            connection.channel().queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": kind})
    assert broker.purge_dead(QUEUE, [found.id]) == 1
    broker.close()


def test_dead_letters_in_a_quorum_queue_are_not_worn_out_by_looks(broker: AMQPBroker, node: MakeNode) -> None:
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2}
    with connect(broker) as connection:
        connection.channel().queue_declare(DEAD + QUEUE, durable=True, auto_delete=False, arguments=arguments)
    send(broker, message("a"))
    worker = node(broker)
    lane = worker.lane()
    lane.settle(ended(lane.one(), "bury", reason="test"))
    until(lambda: broker.counts([QUEUE])[0].dead == 1, 30, what="a dead letter")
    for look in (
        lambda: broker.dead(QUEUE),
        lambda: broker.replay(QUEUE, ["x"]),
        lambda: broker.purge_dead(QUEUE, ["x"]),
    ):
        with pytest.raises(UnsupportedOption, match=f"multi queues handback --dead -Q {QUEUE} sends all of them again"):
            look()
    assert broker.hand_back([QUEUE], dead=True).dead == 1
    assert lane.one().starts == 0
