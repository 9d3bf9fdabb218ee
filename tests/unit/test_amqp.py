"""AMQP without a server: addresses, routes through the waiting queues, frames, keys of results."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from amqp import spec
from amqp.serialization import dumps

from multi.brokers.amqp.topology import LEVELS, UNIT, delay_route
from multi.connections.amqp import Closed, Lost, Session, addresses, explain, refuses
from multi.connections.amqp.content import encode, properties
from multi.connections.amqp.content import message as read
from multi.connections.amqp.reply import make_key, read_key
from multi.connections.amqp.session import Arrival
from multi.errors import ConfigurationError, EncodeError
from multi.message import Message

# addresses


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://", ("localhost", 5672, "guest", "guest", "/", False)),
        ("pyamqp://h", ("h", 5672, "guest", "guest", "/", False)),
        ("amqp://h//", ("h", 5672, "guest", "guest", "/", False)),
        ("amqp://h/%2F", ("h", 5672, "guest", "guest", "/", False)),
        ("amqp://h:1/vhost", ("h", 1, "guest", "guest", "vhost", False)),
        ("amqp://h//vhost", ("h", 5672, "guest", "guest", "/vhost", False)),
        ("amqps://u:p%40ss@h", ("h", 5671, "u", "p@ss", "/", True)),
        ("amqp://u:@h", ("h", 5672, "u", "", "/", False)),
    ],
)
def test_a_url_means_what_it_means_to_celery(url: str, expected: tuple[Any, ...]) -> None:
    (found,) = addresses(url, {})
    assert (found.host, found.port, found.username, found.password, found.vhost, found.tls) == expected


def test_several_urls_are_several_addresses() -> None:
    assert [found.host for found in addresses("amqp://a;amqp://b:1", {})] == ["a", "b"]


def test_options_of_a_url_come_before_those_of_the_settings() -> None:
    options = {"heartbeat": 5, "connection_timeout": 7, "ssl": {"ca_certs": "ca.pem"}}
    (found,) = addresses("amqp://h?heartbeat=10", options)
    assert (found.heartbeat, found.connect_timeout, found.tls, found.tls_options) == (
        10,
        7,
        True,
        {"ca_certs": "ca.pem"},
    )


@pytest.mark.parametrize("value", ["soon", -1])
def test_a_time_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="heartbeat of the RabbitMQ broker must be a number of seconds"):
        addresses("amqp://h", {"heartbeat": value})


def test_no_text_about_an_address_holds_its_password() -> None:
    (found,) = addresses("amqp://user:s3cret@h//", {})
    for reason in (
        Lost("Connection refused"),
        Closed(403, "ACCESS_REFUSED"),
        Closed(530, "vhost"),
        Lost("TLS"),
        Lost("x"),
    ):
        assert "s3cret" not in explain(found, reason)
    assert "s3cret" not in f"{found} {found!r}"


def test_only_an_answer_is_a_refusal() -> None:
    assert refuses(Closed(403, "ACCESS_REFUSED"))
    assert not refuses(Closed(320, "CONNECTION_FORCED"))
    assert not refuses(Lost("Connection refused"))


# waiting


def walk(level: int, key: str) -> tuple[float, str]:
    """The time that a message with this key spends in the queues from `level` down, and the queue it comes to."""
    bits = key.split(".")[:LEVELS]
    seconds = sum(UNIT * 2**each for each in range(level + 1) if bits[LEVELS - 1 - each] == "1")
    return seconds, key.split(".", LEVELS)[LEVELS]


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.11, 1, 59.95, 3600, 86400 * 30])
def test_a_message_waits_as_long_as_it_should_and_little_longer(seconds: float) -> None:
    level, key = delay_route("my.queue", seconds)
    waited, queue = walk(level, key)
    assert queue == "my.queue"
    assert seconds <= waited + 1e-6 < seconds + UNIT + 1e-6


def test_what_is_due_already_waits_for_the_shortest_time() -> None:
    assert delay_route("q", -5) == delay_route("q", 0) == delay_route("q", UNIT)


def test_a_very_long_wait_is_cut_to_what_the_queues_can() -> None:
    level, key = delay_route("q", 1e12)
    assert level == LEVELS - 1
    assert walk(level, key)[0] > 86400 * 300


# content


def test_a_message_keeps_all_it_has() -> None:
    sent = Message(
        {"id": "1", "nested": [{"a": None}], "n": -(2**40)},
        b"\xff",
        "application/x-python-serialize",
        "binary",
        {"correlation_id": "1", "delivery_mode": 2, "priority": 0, "expiration": "5"},
    )
    found = properties(sent)
    assert read(found, b"\xff") == sent


def test_properties_of_other_transports_stay_behind() -> None:
    found = properties(
        Message({}, b"", properties={"delivery_info": {}, "delivery_tag": "x", "body_encoding": "base64"})
    )
    assert set(found) == {"delivery_mode", "content_type", "content_encoding", "application_headers"}


@pytest.mark.parametrize("value", [object(), 2**70, {"k" * 300: 1}])
def test_a_header_that_cant_travel_is_told(value: object) -> None:
    with pytest.raises(EncodeError, match="can't travel over AMQP"):
        encode(properties(Message({"bad": value}, b"")))


@pytest.mark.parametrize("persistent", [True, False])
def test_the_key_of_a_result_says_where_it_goes(persistent: bool) -> None:
    queue, found = read_key(make_key("reply\nqueue", "task", "application/json", persistent))
    assert queue == "reply\nqueue"
    assert (found["correlation_id"], found["content_type"]) == ("task", "application/json")
    assert found["delivery_mode"] == (2 if persistent else 1)


# the session


def method(channel: int, which: tuple[int, int], format: str = "", args: tuple[Any, ...] = ()) -> bytes:
    payload = struct.pack(">HH", *which) + (dumps(format, args) if format else b"")
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def opened() -> Session:
    session = Session(addresses("amqp://u:p@h", {})[0], heartbeat=60)
    assert session.output.startswith(b"AMQP\x00\x00\x09\x01")
    session.feed(method(0, spec.Connection.Start, "ooFSS", (0, 9, {}, "PLAIN AMQPLAIN", "en_US")))
    assert b"\x00u\x00p" in session.output
    session.feed(method(0, spec.Connection.Tune, "BlB", (10, 4096, 30)))
    assert session.heartbeat == 30
    session.feed(method(0, spec.Connection.OpenOk, "s", ("",)))
    assert session.ready
    session.output.clear()
    return session


def delivery(body: bytes, headers: bytes) -> bytes:
    return (
        method(1, spec.Basic.Deliver, "sLbss", ("0.1", 7, True, "", "q"))
        + frame(2, 1, struct.pack(">HHQ", 60, 0, len(body)) + headers)
        + frame(3, 1, body[:3])
        + frame(3, 1, body[3:])
    )


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_frames_may_come_in_any_pieces(step: int) -> None:
    session = opened()
    channel = session.channel()
    came: list[Arrival] = []
    channel.on_deliver = came.append
    stream = (
        method(1, spec.Channel.OpenOk, "S", (b"",)) + frame(8, 0, b"") + delivery(b"hello", encode({"priority": 3})) * 2
    )
    for start in range(0, len(stream), step):
        session.feed(stream[start : start + step])
    assert [(each.args, each.properties, each.body) for each in came] == [
        (["0.1", 7, True, "", "q"], {"priority": 3}, b"hello")
    ] * 2


def test_properties_that_cant_be_read_spoil_one_message_only() -> None:
    session = opened()
    channel = session.channel()
    came: list[Arrival] = []
    channel.on_deliver = came.append
    session.feed(method(1, spec.Channel.OpenOk, "S", (b"",)))
    session.feed(delivery(b"hello", struct.pack(">HI", 0x2000, 3) + b"\x01ko"))
    session.feed(delivery(b"good day", encode({})))
    assert "can't be read" in came[0].fault
    assert (came[0].body, came[1].body, came[1].fault) == (b"hello", b"good day", "")


def test_a_closed_channel_tells_all_who_wait_and_its_number_is_used_again() -> None:
    session = opened()
    channel = session.channel()
    session.feed(method(1, spec.Channel.OpenOk, "S", (b"",)))
    told: list[Any] = []
    channel.on_close = told.append
    channel.call(channel.request(spec.Basic.Qos, "lBb", (0, 1, False)), told.append)
    session.feed(method(1, spec.Channel.Close, "BsBB", (404, "NOT_FOUND", 50, 10)))
    assert [each.code for each in told] == [404, 404]
    assert session.channel().number == 1


def test_the_servers_last_word_ends_the_connection() -> None:
    session = opened()
    with pytest.raises(Closed, match="bye") as closed:
        session.feed(method(0, spec.Connection.Close, "BsBB", (320, "bye", 0, 0)))
    assert closed.value.code == 320
    assert struct.pack(">HH", *spec.Connection.CloseOk) in session.output


@pytest.mark.parametrize("answer", [b"AMQP\x00\x01\x00\x00", b"\x01\x00\x00\x00\x00\x00\x01xx"])
def test_what_is_no_amqp_server_is_noticed(answer: bytes) -> None:
    session = Session(addresses("amqp://h", {})[0], heartbeat=0)
    with pytest.raises(Lost, match=r"another version of AMQP|may not be an AMQP server"):
        session.feed(answer)


def test_a_large_body_is_cut_into_frames_that_the_server_takes() -> None:
    session = opened()
    channel = session.channel()
    session.output.clear()
    channel.publish("", "q", encode({}), b"x" * 10_000)
    kinds, start = [], 0
    while start < len(session.output):
        kind, _, size = struct.unpack_from(">BHI", session.output, start)
        assert size + 8 <= 4096
        kinds.append(kind)
        start += size + 8
    assert kinds == [1, 2, 3, 3, 3]
