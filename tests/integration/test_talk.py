"""What is said over a real server: in kombu's own words, over connections that break, and to listeners that are slow."""

from __future__ import annotations

import importlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.relay import Relay, relay
from support.servers import Redis as RedisServer
from support.servers import started
from support.wait import until

from multi.brokers.amqp import AMQPBroker
from multi.brokers.base import Broker
from multi.brokers.redis import RedisBroker
from multi.connections.redis import Address, Redis
from multi.errors import BrokerLost, BrokerUnavailable
from multi.message import Message
from multi.talk import Subscription, Talk, open_talk
from multi.testing.revoking import Ears

kombu: Any = importlib.import_module("kombu")  # has types for a part of what it has

KINDS = {"fanout": "", "topic": "task.multi", "direct": "me"}


def said(value: object, **headers: object) -> Message:
    return Message(dict(headers), json.dumps(value).encode(), properties={"delivery_mode": 1})


def heard(subscription: Subscription, patience: float = 15.0) -> Any:
    message = subscription.get(patience)
    assert message is not None, f"nothing was heard for {patience:g} s"
    return json.loads(message.body)


@pytest.fixture
def ours() -> Iterator[Callable[..., Talk]]:
    """`ours(url, options)`; all that is opened is closed after the test."""
    made: list[Talk] = []

    def talk(url: str, options: dict[str, Any] | None = None) -> Talk:
        made.append(open_talk(url, options))
        return made[-1]

    yield talk
    for each in made:
        each.close()


# as kombu


class Kombu:
    """Celery's exchanges and queues of remote control and events, as its programs declare them, over one connection."""

    def __init__(self, url: str, options: dict[str, Any], name: str) -> None:
        redis = url.startswith("redis")
        self.connection = kombu.Connection(url, transport_options=options)
        channel = self.connection.default_channel
        transient = {"durable": False, "delivery_mode": "transient"}
        self.pidbox = kombu.Exchange(f"{name}.pidbox", type="fanout", **transient)
        self.replies = kombu.Exchange(f"reply.{name}.pidbox", type="direct", **transient)
        self.events = kombu.Exchange(f"{name}ev", type="fanout" if redis else "topic")
        own = {"durable": False, "exclusive": True, "auto_delete": True}
        queues = [
            kombu.Queue(f"w1.{name}.pidbox", self.pidbox, **own),
            kombu.Queue(f"oid.reply.{name}.pidbox", self.replies, routing_key="theirs", expires=10.0, **own),
            kombu.Queue(f"celeryev.{name}", self.events, routing_key="#", message_ttl=5.0, expires=60.0, **own),
        ]
        self.got: list[tuple[str, Any, Any]] = []
        consumer = kombu.Consumer(channel, queues, no_ack=True, callbacks=[self._take], accept=["json"])
        consumer.consume()
        self.turn()  # on Redis the subscription is sent with the first turn
        self._producer = kombu.Producer(channel, auto_declare=False)

    def _take(self, body: Any, message: Any) -> None:
        self.got.append((message.delivery_info["routing_key"], body, message.headers.get("clock")))

    def turn(self) -> None:
        try:
            self.connection.drain_events(timeout=0.1)
        except TimeoutError:
            pass

    def say(self, exchange: Any, key: str, body: Any) -> None:
        self._producer.publish(body, exchange=exchange, routing_key=key, declare=[exchange], headers={"clock": 7})

    def has(self, count: int) -> bool:
        self.turn()
        return len(self.got) >= count


PREFIXED = {"global_keyprefix": "shop:", "sep": "|", "fanout_prefix": "/all{db}.", "fanout_patterns": False}
PLAIN: dict[str, Any] = {"fanout_prefix": False}


@pytest.mark.parametrize("theirs_first", [True, False], ids=["kombu first", "we first"])
@pytest.mark.parametrize(
    ("server", "options"),
    [("redis_url", {}), ("redis_url", PREFIXED), ("redis_url", PLAIN), ("rabbitmq_url", {})],
    ids=["redis", "redis with options", "redis without prefix", "rabbitmq"],
)
def test_kombu_hears_what_we_say_and_we_hear_what_it_says(
    request: pytest.FixtureRequest,
    ours: Callable[..., Talk],
    server: str,
    options: dict[str, Any],
    theirs_first: bool,
) -> None:
    url, name = request.getfixturevalue(server), uuid.uuid4().hex[:8]
    talk = ours(url, options)
    theirs = Kombu(url, options, name) if theirs_first else None
    subscriptions = [
        talk.subscribe(f"{name}.pidbox"),
        talk.subscribe(f"reply.{name}.pidbox", keys=["ours"], kind="direct", expires=10.0),
        talk.subscribe(f"{name}ev", keys=["#"], kind="topic", ttl=5.0),
        talk.subscribe(f"{name}ev", keys=["worker.#"], kind="topic", ttl=5.0),
    ]
    theirs = theirs or Kombu(url, options, name)
    talk.say(f"{name}.pidbox", said({"method": "ping"}, clock=1))
    talk.say(f"reply.{name}.pidbox", said({"ok": "pong"}, clock=2), key="theirs", kind="direct")
    talk.say(f"{name}ev", said([{"type": "task-sent"}], clock=3), key="task.multi", kind="topic")
    until(lambda: theirs.has(3), what="kombu has heard everything")
    assert sorted(theirs.got) == [
        ("", {"method": "ping"}, 1),
        ("task.multi", [{"type": "task-sent"}], 3),
        ("theirs", {"ok": "pong"}, 2),
    ]
    theirs.say(theirs.pidbox, "", {"method": "stats"})
    theirs.say(theirs.replies, "ours", {"w1": 1})
    theirs.say(theirs.events, "worker.heartbeat", {"type": "worker-heartbeat"})
    pidbox, replies, events, workers = subscriptions
    assert [heard(pidbox), heard(pidbox)] == [{"method": "ping"}, {"method": "stats"}]
    assert heard(replies) == {"w1": 1}
    assert [heard(events), heard(events)] == [[{"type": "task-sent"}], {"type": "worker-heartbeat"}]
    found = workers.get(15)
    assert found is not None
    assert (json.loads(found.body), found.headers["clock"]) == ({"type": "worker-heartbeat"}, 7)
    assert (found.content_type, found.content_encoding) == ("application/json", "utf-8")
    for each in subscriptions:
        assert each.get(0) is None
        each.close()
    theirs.connection.release()


def test_nothing_of_ours_is_left_on_redis(redis_url: str, ours: Callable[..., Talk]) -> None:
    talk = ours(redis_url)
    subscriptions = [talk.subscribe("some", keys=["me"], kind=kind) for kind in KINDS]
    for kind in KINDS:
        talk.say("some", said(1), key="me", kind=kind)
    for each in subscriptions:
        each.close()
    for kind in KINDS:
        talk.say("some", said(1), key="me", kind=kind)
    redis = Redis(Address.from_url(redis_url))
    assert redis.call("KEYS", "*") == []
    redis.close()


def test_an_exchange_that_somebody_has_declared_otherwise_is_used_as_it_is(
    rabbitmq_url: str, ours: Callable[..., Talk]
) -> None:
    with kombu.Connection(rabbitmq_url) as connection:
        kombu.Exchange("odd", type="fanout", durable=True, auto_delete=False)(connection.default_channel).declare()
    talk = ours(rabbitmq_url)
    subscription = talk.subscribe("odd")
    talk.say("odd", said("heard"))
    assert heard(subscription) == "heard"
    subscription.close()


def test_the_queue_of_a_listener_is_its_connections_own_and_bounded(
    rabbitmq_url: str, ours: Callable[..., Talk]
) -> None:
    """Exclusive: RabbitMQ 4.3 refuses transient queues that others may use."""
    subscription = ours(rabbitmq_url).subscribe("some", queue="mine", ttl=5.0, expires=60.0)
    arguments = {"x-expires": 60_000, "x-message-ttl": 5_000, "x-max-length": 10_000}
    with kombu.Connection(rabbitmq_url) as connection:
        flags = {"durable": False, "exclusive": True, "auto_delete": True, "queue_arguments": arguments}
        with pytest.raises(Exception, match="405|RESOURCE_LOCKED"):
            kombu.Queue("mine", **flags)(connection.default_channel).queue_declare()
    subscription.close()
    with kombu.Connection(rabbitmq_url) as connection:  # it is gone at once: another one may have its name
        kombu.Queue("mine", durable=False, exclusive=True)(connection.default_channel).queue_declare()


# connections that break


@pytest.fixture(params=["redis_url", "rabbitmq_url"], ids=["redis", "rabbitmq"])
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def cable(server_url: str) -> Iterator[Relay]:
    host, port = server_url.rpartition("/")[0].rpartition("@")[2].removeprefix("redis://").split(":")
    with relay(host, int(port)) as made:
        yield made


@pytest.fixture
def cable_url(server_url: str, cable: Relay) -> str:
    """The server by way of the cable."""
    before, _, database = server_url.rpartition("/")
    return f"{before.rpartition(':')[0]}:{cable.port}/{database}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_listener_is_told_of_a_broken_connection_and_hears_again_when_it_can(
    kind: str, server_url: str, cable: Relay, cable_url: str, ours: Callable[..., Talk]
) -> None:
    near, far = ours(server_url), ours(cable_url)
    subscription = far.subscribe("some", keys=["me"], kind=kind)
    near.say("some", said(1), key="me", kind=kind)
    assert heard(subscription) == 1
    cable.cut()
    with pytest.raises(BrokerLost) as caught:
        subscription.get(15)
    assert str(cable.port) in str(caught.value)
    assert subscription.fileno() == -1
    with pytest.raises(BrokerUnavailable):
        subscription.get(15)
    with pytest.raises(BrokerUnavailable):
        far.say("some", said("lost"), key="me", kind=kind)
    near.say("some", said("missed"), key="me", kind=kind)
    cable.mend()

    found: list[Any] = []

    def hears(what: str, patience: float = 0) -> bool:
        message = subscription.get(patience)
        if message is not None:
            found.append(json.loads(message.body))
        return what in found

    assert not hears("", 0.1)  # connects; a reply may lie in its list still, and may be gone with its queue
    near.say("some", said("again"), key="me", kind=kind)
    until(lambda: hears("again", 0.1), what="it hears again")
    assert found in (["again"], ["missed", "again"])
    far.say("some", said("from there"), key="me", kind=kind)
    assert heard(subscription) == "from there"
    subscription.close()


@pytest.mark.parametrize("kind", ["fanout", "direct"])
def test_a_server_that_says_nothing_more_counts_as_lost(
    kind: str, cable: Relay, cable_url: str, ours: Callable[..., Talk], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multi.connections.amqp import talk as amqp
    from multi.connections.redis import talk as redis

    for module, name, value in (
        (redis, "_QUIET", 0.1),
        (redis, "_WAIT", 1),
        (amqp, "_QUIET", 0.1),
        (amqp, "_ANSWER", 0.5),
    ):
        monkeypatch.setattr(module, name, value)
    subscription = ours(cable_url, {"socket_timeout": 0.5}).subscribe("some", keys=["me"], kind=kind)
    assert subscription.get(0.3) is None  # it gives signs of life
    cable.hold()
    with pytest.raises(BrokerLost, match="no sign of life"):
        subscription.get(15)
    cable.cut()
    subscription.close()


def test_what_a_worker_says_while_its_connection_is_away_is_dropped_and_counted(
    server_url: str, cable: Relay, cable_url: str, ours: Callable[..., Talk]
) -> None:
    far: list[Broker] = []

    def make() -> Broker:
        far.append(AMQPBroker(cable_url) if "amqp" in cable_url else RedisBroker(cable_url))
        return far[-1]

    ears = Ears(make)
    near = ours(server_url)
    subscription = near.subscribe("some", keys=["#"], kind="topic")
    try:
        asked: list[Message] = []
        watch = ears.listen("asked.pidbox", lambda message, watch: asked.append(message))
        watch.say("some", said("before"), key="task.multi", kind="topic")
        found: list[Any] = []

        def hears(what: str) -> bool:
            message = subscription.get(0)
            if message is not None:
                found.append(json.loads(message.body))
            return what in found

        ears.turn_until(lambda: hears("before"))
        cable.cut()

        def is_away() -> bool:
            watch.say("some", said("away"), key="task.multi", kind="topic")
            return watch.unsaid >= 3

        ears.turn_until(is_away)
        cable.mend()

        def is_back() -> bool:
            watch.say("some", said("after"), key="task.multi", kind="topic")
            near.say("asked.pidbox", said("ping"))
            return hears("after") and bool(asked)

        ears.turn_until(is_back)
        assert "away" not in found
    finally:
        ears.close()
        for broker in far:
            broker.close()
        subscription.close()


def test_what_a_worker_says_to_a_server_that_takes_nothing_is_bounded(cable: Relay, cable_url: str) -> None:
    broker: Broker = AMQPBroker(cable_url) if "amqp" in cable_url else RedisBroker(cable_url)
    ears = Ears(lambda: broker)
    try:
        watch = ears.listen("asked.pidbox", lambda message, watch: None)
        cable.hold()
        big = said("x" * 10_000)
        began = time.monotonic()
        for _ in range(3_000):
            watch.say("some", big, key="task.multi", kind="topic")
        assert time.monotonic() - began < 10
        assert watch.unsaid > 1_000
    finally:
        cable.cut()
        ears.close()
        broker.close()


# listeners that are slow


def test_replies_to_a_listener_that_is_dead_are_bounded_and_end(
    redis_url: str, ours: Callable[..., Talk], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multi.connections.redis import talk

    monkeypatch.setattr(talk, "MOST_WAITING", 20)
    redis = Redis(Address.from_url(redis_url))
    redis.call("SADD", "_kombu.binding.replies", "me\x06\x16\x06\x16dead")
    speaker = ours(redis_url)
    for number in range(30):
        speaker.say("replies", said(number), key="me", kind="direct")
    assert redis.call("LLEN", "dead") == 20
    assert 0 < redis.call("TTL", "dead") <= 60
    oldest = json.loads(redis.call("RPOP", "dead"))
    assert oldest["properties"]["delivery_info"] == {"exchange": "replies", "routing_key": "me"}
    redis.close()


def test_a_listener_that_does_not_read_is_cut_off_by_redis_and_told(ours: Callable[..., Talk]) -> None:
    server = started(lambda: RedisServer("--client-output-buffer-limit", "pubsub 200kb 200kb 0"))
    assert isinstance(server, RedisServer)
    try:
        url = server.fresh()
        talk = ours(url)
        subscription = talk.subscribe("some")
        redis = Redis(Address.from_url(url))
        big = said("x" * 1_000_000)

        def is_cut_off() -> bool:
            talk.say("some", big)
            return not redis.call("PUBSUB", "NUMPAT")

        until(is_cut_off, what="Redis has cut it off")
        redis.close()
        with pytest.raises(BrokerLost):
            while True:
                assert subscription.get(15) is not None
        talk.say("some", said("missed"))
        assert subscription.get(0.1) is None
        talk.say("some", said("again"))
        assert heard(subscription) == "again"
        subscription.close()
    finally:
        server.stop()


def test_of_what_a_listener_on_rabbitmq_does_not_read_the_newest_is_kept(
    rabbitmq_url: str, ours: Callable[..., Talk], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multi.connections.amqp import talk as module

    monkeypatch.setattr(module, "MOST_WAITING", 20)
    monkeypatch.setattr(module, "_AHEAD", 10)
    talk = ours(rabbitmq_url)
    subscription = talk.subscribe("some")
    for number in range(60):
        talk.say("some", said(number))
    found = [heard(subscription) for _ in range(30)]
    assert found[:10] == list(range(10))
    assert found[10:] == list(range(40, 60))
    assert subscription.get(0.1) is None
    subscription.close()
