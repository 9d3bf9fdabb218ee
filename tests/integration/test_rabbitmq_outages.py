"""RabbitMQ crashes, refuses, hangs, blocks and takes back: what the broker makes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.rabbitmq import Fragile, control
from support.servers import RabbitMQ
from support.wait import until

from multi.brokers.amqp import AMQPBroker
from multi.errors import BrokerLost, BrokerRefused, BrokerUnavailable
from multi.outcome import Publication
from multi.store import Store
from multi.testing.nodes import Node, nodes
from multi.testing.rig import Elsewhere, ended, message, name_of, names, send

MakeNode = Callable[..., Node]
QUEUE = "work"
SUCCESS = b'{"status": "SUCCESS"}'


@pytest.fixture
def node() -> Iterator[MakeNode]:
    with nodes(True) as make:
        yield make


@pytest.fixture
def own_url(own: RabbitMQ) -> str:
    return own.fresh()


@pytest.fixture
def own_broker(own_url: str) -> Iterator[AMQPBroker]:
    broker = AMQPBroker(own_url)
    yield broker
    broker.close()


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
    control(own, "close_all_connections", "--global", "maintenance")
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


def test_a_server_that_says_nothing_is_not_waited_for_without_end(own: RabbitMQ, own_url: str) -> None:
    own.freeze()
    broker = AMQPBroker(own_url, {"connection_timeout": 0.5})
    before = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"timed out after 0\.5 s"):
        broker.check()
    assert time.monotonic() - before < 5
    own.thaw()


def test_a_dead_connection_is_found_by_its_missing_heartbeats(own: RabbitMQ, own_url: str, node: MakeNode) -> None:
    broker = AMQPBroker(own_url, {"heartbeat": 1})
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


def test_a_blocked_server_is_told_to_the_sender(own: RabbitMQ, own_url: str) -> None:
    broker = AMQPBroker(own_url, {"confirm_timeout": 1})
    send(broker, message("before"))
    control(own, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with pytest.raises(BrokerUnavailable, match=r"timed out after 1 s.*blocks publishers: low on memory"):
            for _ in range(2):
                send(broker, message("blocked"))
    finally:
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
    server = Impatient(hosts=0)
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


def test_connections_may_be_secured(own: RabbitMQ, own_url: str, node: MakeNode) -> None:
    assert isinstance(own, Fragile)
    url = own.secured(own_url)
    with pytest.raises(BrokerUnavailable, match=r"TLS was refused: .*certificate"):
        AMQPBroker(url).check()
    broker = AMQPBroker(url, {"ssl": {"ca_certs": str(own.certificate)}})
    sent = [message(body=os.urandom(200_000)) for _ in range(20)]
    send(broker, *sent)
    lane = node(broker).lane()
    found = lane.take(20)
    assert sorted(one.message.body for one in found if one.message) == sorted(one.body for one in sent)
    lane.settle(*map(ended, found))
    broker.close()
