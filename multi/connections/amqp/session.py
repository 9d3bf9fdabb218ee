"""One AMQP connection as a state machine: bytes in, bytes out, calls back when something comes; owns no socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from struct import Struct
from typing import Any, NamedTuple, TypeVar

from amqp import spec
from amqp.basic_message import Message as Content
from amqp.serialization import dumps, loads

from multi.connections.amqp.address import Address

T = TypeVar("T")
Method = tuple[int, int]

_FRAME = Struct(">BHI")
_METHOD = Struct(">HH")
_CONTENT = Struct(">HHQ")
_END = 0xCE
_METHOD_FRAME, _HEADER_FRAME, _BODY_FRAME, _BEAT_FRAME = 1, 2, 3, 8
_BASIC = 60
_GREETING = b"AMQP\x00\x00\x09\x01"
_FRAME_MAX = 131072
_CHANNEL_MAX = 2047

#: The arguments of every method that a server sends.
_FORMATS: dict[Method, str] = {
    spec.Connection.Start: "ooFSS",
    spec.Connection.Tune: "BlB",
    spec.Connection.OpenOk: "",
    spec.Connection.Close: "BsBB",
    spec.Connection.CloseOk: "",
    spec.Connection.Blocked: "s",
    spec.Connection.Unblocked: "",
    spec.Channel.OpenOk: "",
    spec.Channel.Close: "BsBB",
    spec.Channel.CloseOk: "",
    spec.Exchange.DeclareOk: "",
    spec.Exchange.BindOk: "",
    spec.Queue.DeclareOk: "sll",
    spec.Queue.BindOk: "",
    spec.Queue.PurgeOk: "l",
    spec.Queue.DeleteOk: "l",
    spec.Basic.QosOk: "",
    spec.Basic.ConsumeOk: "s",
    spec.Basic.CancelOk: "s",
    spec.Basic.Cancel: "sb",
    spec.Basic.GetOk: "Lbssl",
    spec.Basic.GetEmpty: "s",
    spec.Basic.Deliver: "sLbss",
    spec.Basic.Return: "Bsss",
    spec.Basic.Ack: "Lb",
    spec.Basic.Nack: "Lbb",
    spec.Confirm.SelectOk: "",
}
_WITH_CONTENT = frozenset([spec.Basic.Deliver, spec.Basic.GetOk, spec.Basic.Return])


class Lost(Exception):
    """The connection is gone without a word from the server."""


class Closed(Lost):
    """The server closed the connection or a channel, and said why."""

    def __init__(self, code: int, text: str, method: Method = (0, 0)) -> None:
        self.code = code
        self.text = text
        self.method = method
        super().__init__(text)


class Arrival(NamedTuple):
    """A message that the server sent: `fault` tells why its properties could not be read (they are empty then)."""

    args: list[Any]
    properties: dict[str, Any]
    body: bytes
    fault: str = ""


class Request(NamedTuple):
    """A method that the server answers."""

    channel: Channel
    method: Method
    format: str
    args: tuple[Any, ...]


#: A conversation with the server: yields requests, is sent their answers (or `Closed` is thrown in).
Steps = Generator[Request, Any, T]


class Channel:
    """One channel. Methods may be sent at once after it was made: the server takes them in their order.

    Deliveries, returned messages, confirmations, cancelled consumers and the end go to the callbacks.
    """

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.number = number
        self.closed: Lost | None = None
        self.on_deliver: Callable[[Arrival], None] | None = None
        self.on_return: Callable[[Arrival], None] | None = None
        self.on_confirm: Callable[[int, bool, bool], None] | None = None
        self.on_cancel: Callable[[str], None] | None = None
        self.on_close: Callable[[Lost], None] | None = None
        self._answers: deque[Callable[[Any], None]] = deque()
        self._content: tuple[Method, bytes] | None = None
        self._arrival: Arrival | None = None
        self._chunks: list[bytes] = []
        self._missing = 0

    def send(self, method: Method, format: str = "", args: tuple[Any, ...] = ()) -> None:
        """Send a method without an answer; nothing happens on a channel that has ended."""
        if self.closed is None:
            self.session.write_method(self.number, method, dumps(format, args) if format else b"")

    def call(self, request: Request, answer: Callable[[Any], None]) -> None:
        """Send a method; `answer` gets the arguments that come back, or the exception that ended the channel."""
        if self.closed is not None:
            answer(self.closed)
            return
        self._answers.append(answer)
        self.send(request.method, request.format, request.args)

    def request(self, method: Method, format: str = "", args: tuple[Any, ...] = ()) -> Request:
        return Request(self, method, format, args)

    def publish(self, exchange: str, routing_key: str, properties: bytes, body: bytes, mandatory: bool = True) -> None:
        """Send a message; `properties` are encoded ones."""
        if self.closed is None:
            args = dumps("Bssbb", (0, exchange, routing_key, mandatory, False))
            self.session.write_method(self.number, spec.Basic.Publish, args)
            self.session.write_content(self.number, properties, body)

    def close(self) -> None:
        """End the channel; unacknowledged messages return to their queues. Twice is fine."""
        if self.closed is None:
            self._answers.append(lambda _: self.session.free(self))
            self.send(spec.Channel.Close, "BsBB", (0, "", 0, 0))
            self.closed = Lost("the channel was closed")
            self.on_deliver = self.on_return = self.on_confirm = self.on_cancel = self.on_close = None

    def end(self, reason: Lost) -> None:
        """The channel is gone: tell everybody who waits."""
        told, self.on_close = self.on_close, None
        self.closed = self.closed or reason
        answers, self._answers = self._answers, deque()
        for answer in answers:
            answer(reason)
        if told is not None:
            told(reason)

    def take_method(self, method: Method, payload: bytes) -> None:
        if method in _WITH_CONTENT:
            self._content = (method, payload)
            return
        args = _arguments(method, payload)
        if method == spec.Basic.Ack or method == spec.Basic.Nack:
            if self.on_confirm is not None:
                self.on_confirm(args[0], args[1], method == spec.Basic.Ack)
        elif method == spec.Basic.Cancel:
            if self.on_cancel is not None:
                self.on_cancel(args[0])
        elif method == spec.Channel.Close:
            self.session.write_method(self.number, spec.Channel.CloseOk, b"")
            self.session.free(self)
            self.end(Closed(args[0], args[1], (args[2], args[3])))
        elif self._answers:
            self._answers.popleft()(args)

    def take_header(self, payload: bytes) -> None:
        if self._content is None:
            raise Lost("the server sent a content header that belongs to no message")
        method, args = self._content
        self._missing = _CONTENT.unpack_from(payload)[2]
        properties: dict[str, Any] = {}
        fault = ""
        try:
            content = Content()
            content.inbound_header(payload)
            properties = content.properties
        except Exception as exc:  # whatever py-amqp's unpacking raises: one odd message must not end the connection
            fault = f"its properties can't be read: {exc}"
        self._arrival = Arrival(_arguments(method, args), properties, b"", fault)
        self._chunks = []
        if not self._missing:
            self._complete()

    def take_body(self, payload: bytes) -> None:
        self._chunks.append(payload)
        self._missing -= len(payload)
        if self._missing <= 0:
            self._complete()

    def _complete(self) -> None:
        content, arrival = self._content, self._arrival
        self._content = self._arrival = None
        if content is None or arrival is None:
            raise Lost("the server sent a body that belongs to no message")
        arrival = arrival._replace(body=b"".join(self._chunks))
        self._chunks = []
        if content[0] == spec.Basic.GetOk:
            if self._answers:
                self._answers.popleft()(arrival)
        elif content[0] == spec.Basic.Return:
            if self.on_return is not None:
                self.on_return(arrival)
        elif self.on_deliver is not None:
            self.on_deliver(arrival)


class Session:
    """The connection: greeting, log-in, frames, channels. Whoever owns the socket moves `output` out and feeds what
    comes in; `feed` raises `Closed` when the server ends the connection.
    """

    def __init__(self, address: Address, *, heartbeat: float, on_ready: Callable[[], None] | None = None) -> None:
        self.address = address
        self.output = bytearray(_GREETING)
        self.ready = False
        self.finished = False
        self.blocked = ""
        self.heartbeat = heartbeat
        self.server: dict[str, Any] = {}
        self._on_ready = on_ready
        self._input = bytearray()
        self._channels: dict[int, Channel] = {}
        self._free: list[int] = []
        self._frame_max = _FRAME_MAX
        self._channel_max = _CHANNEL_MAX

    def channel(self) -> Channel:
        """A new channel, usable at once."""
        number = self._free.pop() if self._free else len(self._channels) + 1
        if number > self._channel_max:
            raise Lost(f"the server allows {self._channel_max} channels on a connection, and all are in use")
        channel = self._channels[number] = Channel(self, number)
        channel.call(channel.request(spec.Channel.Open, "s", ("",)), lambda _: None)
        return channel

    def run(self, steps: Steps[T], done: Callable[[T | None, Lost | None], None]) -> None:
        """Hold a conversation; `done` gets its result, or why it failed."""

        def advance(answer: Any) -> None:
            try:
                request = steps.throw(answer) if isinstance(answer, Lost) else steps.send(answer)
            except StopIteration as end:
                done(end.value, None)
            except Lost as exc:
                done(None, exc)
            else:
                request.channel.call(request, advance)

        advance(None)

    def beat(self) -> None:
        """Say that this end lives."""
        self.output += _FRAME.pack(_BEAT_FRAME, 0, 0) + b"\xce"

    def close(self) -> None:
        """Say good-bye; `finished` turns true when the server has answered."""
        self.write_method(0, spec.Connection.Close, dumps("BsBB", (200, "", 0, 0)))

    def end(self, reason: Lost) -> None:
        """The socket is gone: tell every channel."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.end(reason)

    def free(self, channel: Channel) -> None:
        if self._channels.pop(channel.number, None) is not None:
            self._free.append(channel.number)

    def feed(self, data: bytes) -> None:
        """Take in what the server sent. Raises `Closed` when it ends the connection, `Lost` when it talks nonsense."""
        held = self._input
        held += data
        if held[:4] == b"AMQP":
            raise Lost(f"the server speaks another version of AMQP (it answered {bytes(held[:8])!r})")
        start, size = 0, len(held)
        while size - start >= 8:
            kind, number, length = _FRAME.unpack_from(held, start)
            end = start + 7 + length
            if size <= end:
                break
            if held[end] != _END:
                raise Lost("the server sent a frame without an end: it may not be an AMQP server")
            payload = bytes(held[start + 7 : end])
            start = end + 1
            if kind != _BEAT_FRAME:
                self._take(kind, number, payload)
        del held[:start]

    def write_method(self, number: int, method: Method, args: bytes) -> None:
        self.output += _FRAME.pack(_METHOD_FRAME, number, 4 + len(args))
        self.output += _METHOD.pack(*method) + args + b"\xce"

    def write_content(self, number: int, properties: bytes, body: bytes) -> None:
        output = self.output
        output += _FRAME.pack(_HEADER_FRAME, number, _CONTENT.size + len(properties))
        output += _CONTENT.pack(_BASIC, 0, len(body)) + properties + b"\xce"
        chunk = self._frame_max - 8
        for start in range(0, len(body), chunk):
            part = body[start : start + chunk]
            output += _FRAME.pack(_BODY_FRAME, number, len(part)) + part + b"\xce"

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        if number == 0:
            self._control(_METHOD.unpack_from(payload), payload)
            return
        channel = self._channels.get(number)
        if channel is None:
            return  # of a channel that has ended
        if kind == _METHOD_FRAME:
            channel.take_method(_METHOD.unpack_from(payload), payload)
        elif kind == _HEADER_FRAME:
            channel.take_header(payload)
        elif kind == _BODY_FRAME:
            channel.take_body(payload)

    def _control(self, method: Method, payload: bytes) -> None:
        args = _arguments(method, payload)
        if method == spec.Connection.Start:
            self._log_in(args[2], args[3])
        elif method == spec.Connection.Tune:
            self._tune(*args)
        elif method == spec.Connection.OpenOk:
            self.ready = True
            if self._on_ready is not None:
                self._on_ready()
        elif method == spec.Connection.Close:
            self.write_method(0, spec.Connection.CloseOk, b"")
            raise Closed(args[0], args[1], (args[2], args[3]))
        elif method == spec.Connection.CloseOk:
            self.finished = True
        elif method == spec.Connection.Blocked:
            self.blocked = args[0] or "no reason given"
        elif method == spec.Connection.Unblocked:
            self.blocked = ""

    def _log_in(self, server: dict[str, Any], mechanisms: str | bytes) -> None:
        self.server = server
        offered = mechanisms.decode() if isinstance(mechanisms, bytes) else mechanisms
        if "PLAIN" not in offered.split():
            raise Lost(f"the server offers no log-in by name and password (it offers {offered})")
        about = {
            "product": "multi",
            "capabilities": {
                "authentication_failure_close": True,
                "basic.nack": True,
                "connection.blocked": True,
                "consumer_cancel_notify": True,
                "publisher_confirms": True,
            },
        }
        secret = f"\0{self.address.username}\0{self.address.password}"
        self.write_method(0, spec.Connection.StartOk, dumps("FsSs", (about, "PLAIN", secret, "en_US")))

    def _tune(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        self._channel_max = min(channel_max or _CHANNEL_MAX, _CHANNEL_MAX)
        self._frame_max = min(frame_max or _FRAME_MAX, _FRAME_MAX)
        wanted = int(self.heartbeat)
        self.heartbeat = min(wanted, heartbeat) if wanted and heartbeat else wanted
        tuned = (self._channel_max, self._frame_max, int(self.heartbeat))
        self.write_method(0, spec.Connection.TuneOk, dumps("BlB", tuned))
        self.write_method(0, spec.Connection.Open, dumps("ssb", (self.address.vhost, "", False)))


def _arguments(method: Method, payload: bytes) -> list[Any]:
    wanted = _FORMATS.get(method)
    if not wanted:
        return []
    found: list[Any] = loads(wanted, payload, 4)[0]
    return found
