"""The broker on a real RabbitMQ: what the contract suites don't ask."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import kombu
import pytest
from support.servers import RabbitMQ, program
from support.wait import until

from multi.brokers.amqp import AMQPBroker
from multi.brokers.amqp.topology import DEAD, DELAY
from multi.errors import BrokerLost, BrokerRefused, BrokerUnavailable, EncodeError
from multi.outcome import Publication
from multi.store import Store
from multi.testing.nodes import Node, nodes
from multi.testing.rig import Elsewhere, ended, in_child, message, name_of, names, send

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
def own() -> Iterator[RabbitMQ]:
    """A server that the test may do anything to."""
    server = RabbitMQ()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_broker(own: RabbitMQ) -> Iterator[AMQPBroker]:
    broker = AMQPBroker(own.url())
    yield broker
    broker.close()


def connect(broker: AMQPBroker) -> amqp.Connection:
    """Somebody else's connection to the same place."""
    address = broker.addresses[0]
    connection = amqp.Connection(f"{address.host}:{address.port}", virtual_host=address.vhost)
    connection.connect()
    return connection


def control(server: RabbitMQ, *words: str) -> str:
    """Run rabbitmqctl on the server."""
    environment = {**os.environ, **server.command()[1], "LC_ALL": "C.UTF-8"}
    command = [
        program("rabbitmqctl", "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmqctl"),
        "-n",
        environment["RABBITMQ_NODENAME"],
        *words,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    now = time.time()
    delays = {"c": 2.3, "a": 0.15, "d": 3.2, "b": 1.1}
    broker.publish([Publication(QUEUE, message(name), now + delay) for name, delay in delays.items()])
    lane = node(broker).lane()
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
    own.kill()
    own.start()
    letters = own_broker.dead(QUEUE)
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


# connections that break


def test_a_crash_of_the_server_loses_nothing_and_stores_nothing_twice(
    own: RabbitMQ, own_broker: AMQPBroker, node: MakeNode, tmp_path: Path
) -> None:
    storage = Elsewhere(tmp_path)
    send(own_broker, *[message(f"n{number}") for number in range(30)])
    worker = node(own_broker, [QUEUE, "next"], storage)
    lane = worker.lane()
    held = lane.take(10)
    own.kill()
    worker.until(lambda: worker.told("down"), "the watch notices")
    assert "trying again in" in worker.told("down")[0]
    late = [ended(one, stores=[Store(name_of(one), b"late")]) for one in held]
    with pytest.raises(BrokerLost):
        lane.settle(*late)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BrokerUnavailable, match="Connection refused"):
        send(own_broker, message("never sent"))
    own.start()
    worker.until(lambda: len(worker.told("up")) == 2, "the watch is connected again", 40)
    lane.settle(*late)  # void: the server has taken these claims back
    assert list(tmp_path.iterdir()) == []
    again = lane.take(30)
    assert sorted(names(again)) == sorted(f"n{number}" for number in range(30))
    assert {name_of(one) for one in again if one.redelivered} >= {name_of(one) for one in held}
    lane.settle(*[ended(one, stores=[Store(name_of(one), SUCCESS)]) for one in again])
    assert {file.read_bytes() for file in tmp_path.iterdir()} == {SUCCESS}
    assert len(list(tmp_path.iterdir())) == 30
    lane.expect_nothing()
    send(own_broker, message("sent on a new connection"))
    lane.one()


def test_connections_that_the_server_closes_are_made_anew(
    own: RabbitMQ, own_broker: AMQPBroker, node: MakeNode
) -> None:
    send(own_broker, message("first"))
    worker = node(own_broker)
    lane = worker.lane()
    first = lane.one()
    control(own, "close_all_connections", "maintenance")
    worker.until(lambda: worker.told("down"), "the watch notices")
    assert "maintenance" in worker.told("down")[0]
    send(own_broker, message("second"))  # the producer's own connection was closed as well
    worker.until(lambda: len(worker.told("up")) == 2, "the watch is connected again")
    lane.settle(ended(first))  # void
    assert sorted(names(lane.take(2))) == ["first", "second"]


def test_publications_that_the_server_didnt_confirm_keep_the_message(
    own: RabbitMQ, own_broker: AMQPBroker, node: MakeNode
) -> None:
    send(own_broker, message("first"))
    worker = node(own_broker, [QUEUE, "next"])
    lane = worker.lane()
    first = lane.one()
    own.freeze()
    question = lane.begin([ended(first, publications=[Publication("next", message("chained"))])], 0)
    own.kill()
    with pytest.raises(BrokerLost):
        worker.answer(question)
    own.start()
    worker.until(lambda: len(worker.told("up")) == 2, "the watch is connected again", 40)
    again = lane.one()
    assert names([again]) == ["first"]
    assert again.redelivered


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("guest:guest", "guest:s3cret"), ["ACCESS_REFUSED", "password of user 'guest'"]),
        (lambda url: url.replace("guest:guest", "nobody:s3cret"), ["ACCESS_REFUSED", "password of user 'nobody'"]),
        (lambda url: url.rpartition("/")[0] + "/nowhere", ["not found", "virtual host 'nowhere'"]),
    ],
    ids=["password", "user", "virtual host"],
)
def test_a_server_that_refuses_is_told_from_one_that_is_away(
    rabbitmq_url: str, node: MakeNode, change: Callable[[str], str], words: list[str]
) -> None:
    broker = AMQPBroker(change(rabbitmq_url))
    with pytest.raises(BrokerRefused) as refused:
        broker.check()
    with pytest.raises(BrokerRefused):
        send(broker, message())
    worker = Node(broker, [QUEUE], None, "refused", True)
    try:
        worker.ask("start")
        worker.until(lambda: worker.told("refused"), "the watch gives up")
        for text in (str(refused.value), worker.told("refused")[0]):
            assert all(word in text for word in words)
            assert "s3cret" not in text
    finally:
        worker.end()


def test_a_server_that_isnt_there_is_named_with_the_cause() -> None:
    with pytest.raises(
        BrokerUnavailable, match=r"127\.0\.0\.1:1 .*Connection refused; is RabbitMQ running there"
    ) as away:
        AMQPBroker("amqp://guest:s3cret@127.0.0.1:1//").check()
    assert not isinstance(away.value, BrokerRefused)
    assert "s3cret" not in str(away.value)


def test_a_server_that_says_nothing_is_not_waited_for_without_end(own: RabbitMQ) -> None:
    own.freeze()
    broker = AMQPBroker(own.url(), {"connection_timeout": 0.5})
    before = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"timed out after 0\.5 s"):
        broker.check()
    assert time.monotonic() - before < 5
    own.thaw()


def test_a_dead_connection_is_found_by_its_missing_heartbeats(own: RabbitMQ, node: MakeNode) -> None:
    broker = AMQPBroker(own.url(), {"heartbeat": 1})
    worker = node(broker)
    own.freeze()
    worker.until(lambda: worker.told("down"), "the watch gives the connection up")
    assert "no sign of life" in worker.told("down")[0]
    own.thaw()
    worker.until(lambda: len(worker.told("up")) == 2, "the watch is connected again", 40)
    broker.close()


def test_the_next_address_is_tried_when_one_is_away(rabbitmq_url: str, node: MakeNode) -> None:
    broker = AMQPBroker(f"amqp://guest:guest@127.0.0.1:1//;{rabbitmq_url}")
    broker.check()
    send(broker, message("found"))
    assert names([node(broker).lane().one()]) == ["found"]
    broker.close()


def test_a_blocked_server_is_told_to_the_sender(own: RabbitMQ) -> None:
    broker = AMQPBroker(own.url(), {"confirm_timeout": 1})
    send(broker, message("before"))
    control(own, "set_vm_memory_high_watermark", "absolute", "1MB")
    with pytest.raises(BrokerUnavailable, match=r"timed out after 1 s.*blocks publishers: low on memory"):
        for _ in range(2):
            send(broker, message("blocked"))
    control(own, "set_vm_memory_high_watermark", "0.4")
    until(lambda: _sends(broker), 20)
    broker.close()


def _sends(broker: AMQPBroker) -> bool:
    try:
        send(broker, message("after"))
    except BrokerUnavailable:
        return False
    return True


class Impatient(RabbitMQ):
    """Takes messages back that aren't acknowledged within a second, and looks for them ten times a second."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        with (self.folder / "rabbitmq.conf").open("a") as file:
            file.write("consumer_timeout = 1000\n")
        advanced = self.folder / "advanced.config"
        advanced.write_text("[{rabbit, [{channel_tick_interval, 100}]}].\n")
        return command, {**environment, "RABBITMQ_ADVANCED_CONFIG_FILE": str(advanced)}


def test_the_servers_consumer_timeout_costs_only_the_child_that_was_too_slow(node: MakeNode) -> None:
    server = Impatient()
    server.start()
    broker = AMQPBroker(server.url(), {"consumer_timeout": 1})
    try:
        assert broker.abilities.ceiling == 1
        send(broker, message("long"))
        worker = node(broker)
        slow, quick = worker.lane(), worker.lane()
        long = slow.one()
        begun = time.monotonic()
        send(broker, message("long", body=b"other"))
        other = quick.one()
        while name_of(other) == "long" and time.monotonic() - begun < 10 and not other.redelivered:
            quick.settle(ended(other))  # in time, and still its own claim
            other = quick.one()
        assert other.redelivered
        slow.settle(ended(long))  # too late: nobody's claim any more
        quick.settle(ended(other, "requeue", started=False))
        assert quick.one().message == long.message
        assert worker.told("down") == []
    finally:
        broker.close()
        server.stop()


# TLS


class Secure(RabbitMQ):
    """Listens with TLS."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        if not key.exists():
            subprocess.run(
                [
                    *(program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                    *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
                    *("-addext", "subjectAltName=DNS:localhost"),
                ],
                check=True,
                capture_output=True,
            )
        conf = self.folder / "rabbitmq.conf"
        lines = conf.read_text().splitlines()[1:]
        lines += ["listeners.tcp = none", f"listeners.ssl.1 = 127.0.0.1:{self.port}"]
        lines += [f"ssl_options.{name}file = {certificate}" for name in ("cacert", "cert")]
        lines += [f"ssl_options.keyfile = {key}", "ssl_options.verify = verify_none"]
        conf.write_text("\n".join(lines) + "\n")
        return command, environment

    def answers(self) -> bool:
        return subprocess.run(
            [program("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{self.port}", "-brief"],
            input=b"",
            capture_output=True,
            check=False,
        ).returncode == 0  # fmt: skip


def test_connections_may_be_secured(node: MakeNode) -> None:
    server = Secure()
    server.start()
    url = f"amqps://guest:guest@localhost:{server.port}//"
    try:
        with pytest.raises(BrokerUnavailable, match=r"TLS was refused: .*certificate"):
            AMQPBroker(url).check()
        broker = AMQPBroker(url, {"ssl": {"ca_certs": str(server.folder / "certificate.pem")}})
        sent = [message(body=os.urandom(200_000)) for _ in range(20)]
        send(broker, *sent)
        lane = node(broker).lane()
        found = lane.take(20)
        assert sorted(one.message.body for one in found if one.message) == sorted(one.body for one in sent)
        lane.settle(*map(ended, found))
        broker.close()
    finally:
        server.stop()
