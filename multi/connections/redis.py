"""Connections to Redis and Valkey: a blocking one for children and producers, one for the worker's loop.

They speak RESP through hiredis' reader. redis-py is not used: it costs 121 ms and 18 MB in every process, and its
connection pool does work per command that this program does once.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from multi.errors import BrokerLost, BrokerRefused, BrokerUnavailable, ConfigurationError, MissingExtra
from multi.loop import Loop, Timer
from multi.urls import mask, parse

if TYPE_CHECKING:
    import ssl

try:
    import hiredis
except ImportError as missing:
    raise MissingExtra("hiredis", "multi-workers[redis]", "Redis") from missing

Reply = Any
Word = str | bytes | int | float
ReplyError = hiredis.ReplyError
#: What `Redis.poll` returns when time is up (None is a reply).
NOTHING: Any = object()


def pack(command: Sequence[Word]) -> bytes:
    """One command as it is sent."""
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type] # its stub wants one word
    return packed


#: Seconds for a connection to come up, and for an answer to come; `socket_connect_timeout` and `socket_timeout` change them.
CONNECT_TIMEOUT = 4.0
ANSWER_TIMEOUT = 10.0


class Address(msgspec.Struct, frozen=True):
    """Where a Redis server is and how to log in."""

    url: str
    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_options: tuple[tuple[str, str], ...] = ()
    connect_timeout: float = CONNECT_TIMEOUT
    answer_timeout: float = ANSWER_TIMEOUT

    @property
    def server(self) -> str:
        """Names the server, without the database."""
        return self.path or f"{self.host}:{self.port}"

    @property
    def masked(self) -> str:
        """The URL as it may be printed."""
        return mask(self.url)

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any] | None = None) -> Address:
        """Read `redis://[user:password@]host[:port][/db]`, `rediss://…` (TLS) or `redis+socket:///path[?virtual_host=db]`.

        Raises ConfigurationError for a database that is not a number.
        """
        options = options or {}
        parts = parse(url)
        query = parts.query
        local = parts.scheme in ("redis+socket", "unix")
        database = (
            query.get("virtual_host", query.get("db", "0")) if local else parts.path.strip("/") or query.get("db", "0")
        )
        try:
            db = int(database or 0)
        except ValueError:
            raise ConfigurationError(
                f"{mask(url)}: {database!r} is no number of a Redis database; write redis://host:port/0"
            ) from None
        tls = parts.scheme == "rediss"
        return cls(
            url=url,
            host=parts.host or "localhost",
            port=parts.port or 6379,
            path=parts.path if local else "",
            db=db,
            username=parts.username or None,
            password=parts.password or None,
            tls=tls,
            tls_options=tuple(sorted((k, v) for k, v in query.items() if k.startswith("ssl_"))),
            connect_timeout=float(options.get("socket_connect_timeout") or CONNECT_TIMEOUT),
            answer_timeout=float(options.get("socket_timeout") or ANSWER_TIMEOUT),
        )


def _tls_context(address: Address) -> ssl.SSLContext:
    import ssl

    options = dict(address.tls_options)
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    demand = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if demand not in ("required", "optional", "none"):
        raise ConfigurationError(f"{address.masked}: ssl_cert_reqs is required, optional or none, not {demand!r}")
    if demand == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif demand == "optional":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _open_socket(address: Address) -> socket.socket:
    if address.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(address.connect_timeout)
        try:
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
        return sock
    sock = socket.create_connection((address.host, address.port), timeout=address.connect_timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if address.tls:
        sock = _tls_context(address).wrap_socket(sock, server_hostname=address.host)
    return sock


def _limit(sock: socket.socket, seconds: float) -> None:
    """Let a blocking call fail after so long.

    By the kernel's own limit where that is possible: Python's costs a `poll` more for every call, a fifth of what
    sending a task costs.
    """
    if type(sock) is socket.socket:
        sock.settimeout(None)
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    else:
        sock.settimeout(seconds)


def _greeting(address: Address, protocol: int) -> list[tuple[Word, ...]]:
    """The commands that begin a connection."""
    commands: list[tuple[Word, ...]] = []
    login = () if address.password is None else ("AUTH", address.username or "default", address.password)
    if protocol == 3:
        commands.append(("HELLO", 3, *login))
    elif login:
        commands.append(("AUTH", *([address.username] if address.username else []), address.password or ""))
    if address.db:
        commands.append(("SELECT", address.db))
    commands.append(("INFO", "server"))
    return commands


def _refused(address: Address, command: str, error: Exception) -> BrokerUnavailable:
    """What to say of a server that answers the greeting with an error."""
    text = str(error)
    if text.startswith(("WRONGPASS", "NOAUTH", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH", "NOPERM")):
        remedy = "check user and password in the URL (redis://user:password@host:port/db)"
    elif command == "SELECT":
        remedy = f"the server has no database {address.db}; choose a smaller number in the URL"
    elif text.startswith("LOADING"):
        remedy = "the server is still loading its data; try again soon"
    else:
        remedy = "check that the URL points to Redis 6.2 or Valkey, or newer"
    final = not text.startswith(("LOADING", "BUSY", "MASTERDOWN"))
    return (BrokerRefused if final else BrokerUnavailable)(
        f"{address.masked}: the server refused the connection: {text}; {remedy}"
    )


def _check_greeting(address: Address, commands: Sequence[tuple[Any, ...]], replies: Sequence[Reply]) -> None:
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, ReplyError):
            raise _refused(address, str(command[0]), reply)
    info = replies[-1]
    for line in bytes(info).splitlines():
        if line.startswith(b"redis_version:"):
            version = tuple(int(part) for part in line[14:].split(b".")[:2])
            if version < (6, 2):
                raise BrokerRefused(
                    f"{address.masked}: Redis {line[14:].decode()} is too old; Redis 6.2 or Valkey is needed"
                )


def unreachable(address: Address, error: Exception) -> BrokerUnavailable:
    """What to say of a server that can't be reached."""
    cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokerUnavailable(
        f"Cannot connect to {address.masked}: {cause}; check that Redis runs there (redis-cli -u {address.masked} ping)"
    )


class Redis:
    """One blocking connection, opened when first used; for one thread at a time.

    Every call raises `BrokerUnavailable` when the server can't be reached or refuses, and `BrokerLost` when the
    connection broke after something was sent: what was sent may have happened or not.
    """

    def __init__(self, address: Address, *, protocol: int = 2) -> None:
        self.address = address
        self._protocol = protocol
        self._sock: socket.socket | None = None
        self._reader: Any = None
        self.connected_at = 0.0

    def connect(self) -> None:
        """Open the connection if it isn't open."""
        if self._sock is not None:
            return
        try:
            sock = _open_socket(self.address)
        except OSError as error:
            raise unreachable(self.address, error) from error
        _limit(sock, self.address.answer_timeout)
        self._sock = sock
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        greeting = _greeting(self.address, self._protocol)
        try:
            _check_greeting(self.address, greeting, self.pipeline(greeting))
        except BrokerLost as error:
            raise unreachable(self.address, error) from error
        except BaseException:
            self.close()
            raise
        self.connected_at = monotonic()

    def call(self, *command: Word) -> Reply:
        """Send one command and return its reply; raises the server's error as `hiredis.ReplyError`."""
        if self._sock is None:
            self.connect()
        self.send(pack(command))
        reply = self.read()
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def pipeline(self, commands: Sequence[Sequence[Any]]) -> list[Reply]:
        """Send all commands at once and return all replies; errors of the server stand among them."""
        if self._sock is None:
            self.connect()
        self.send(b"".join([pack(command) for command in commands]))
        return [self.read() for _ in commands]

    def pipeline_again(self, commands: Sequence[Sequence[Any]]) -> list[Reply]:
        """As `pipeline`, once more over a new connection where the old one is found broken.

        For a connection that may have been idle for long: that it has been closed shows only when it is used. What was
        sent may then happen twice, if the connection broke in just that moment.
        """
        fresh = self._sock is None
        try:
            return self.pipeline(commands)
        except BrokerLost:
            if fresh:
                raise
            return self.pipeline(commands)

    def send(self, data: bytes) -> None:
        assert self._sock is not None
        try:
            self._sock.sendall(data)
        except OSError as error:
            self.close()
            raise BrokerLost(f"{self.address.masked}: the connection broke: {error}") from error

    def read(self) -> Reply:
        """The next reply, an error of the server as a value."""
        reader = self._reader
        reply = reader.gets()
        while reply is Ellipsis:
            self._feed()
            reply = reader.gets()
        return reply

    def poll(self, seconds: float | None) -> Reply:
        """What the server says next, waiting at most `seconds` (None: as long as it takes); else `NOTHING`."""
        assert self._sock is not None
        reply = self._reader.gets()
        if reply is not Ellipsis:
            return reply
        until = None if seconds is None else monotonic() + seconds
        waiter = select.poll()
        waiter.register(self._sock.fileno(), select.POLLIN)
        while reply is Ellipsis:
            left = None if until is None else until - monotonic()
            pending = getattr(self._sock, "pending", None)  # what TLS has read ahead shows on no descriptor
            if not (pending and pending()) and not waiter.poll(None if left is None else max(0.0, left * 1000)):
                return NOTHING
            self._feed()
            reply = self._reader.gets()
        return reply

    def _feed(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(65536)
        except OSError as error:
            self.close()
            cause = "no answer in time" if isinstance(error, BlockingIOError | TimeoutError) else str(error)
            raise BrokerLost(f"{self.address.masked}: the connection broke: {cause}") from error
        if not data:
            self.close()
            raise BrokerLost(f"{self.address.masked}: the server closed the connection")
        self._reader.feed(data)

    def fileno(self) -> int:
        """The socket's descriptor, -1 while there is none."""
        return -1 if self._sock is None else self._sock.fileno()

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
            self._reader = None

    def __del__(self) -> None:
        self.close()  # a thread that ends takes its connection along


class PerThread:
    """A blocking connection for each thread of each process."""

    def __init__(self, address: Address, *, protocol: int = 2) -> None:
        self._address = address
        self._protocol = protocol
        self._local = threading.local()
        self._pid = os.getpid()

    def get(self) -> Redis:
        """This thread's connection. After a fork the parent's is left alone."""
        if os.getpid() != self._pid:
            self._local = threading.local()
            self._pid = os.getpid()
        try:
            connection: Redis = self._local.connection
        except AttributeError:
            connection = self._local.connection = Redis(self._address, protocol=self._protocol)
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        self.get().close()


Answer = Callable[[Reply], None]


class RedisStream:
    """One connection on a `Loop`: commands go out at once, each answer comes to its own callback, in order.

    Never blocks but for the resolver and a TLS handshake. `on_up` is called after the greeting, `on_down(error)` when
    the connection can't be made or is lost; every command then under way is forgotten, and the caller connects again.
    A command unanswered for `patience` seconds is a lost connection (a half-open one would wait for ever).
    """

    def __init__(
        self, loop: Loop, address: Address, on_up: Callable[[], None], on_down: Callable[[BrokerUnavailable], None]
    ) -> None:
        self.address = address
        self._loop = loop
        self._on_up = on_up
        self._on_down = on_down
        self._sock: socket.socket | None = None
        self._reader: Any = None
        self._answers: deque[tuple[float, Answer]] = deque()
        self._outgoing = bytearray()
        self._check: Timer | None = None
        self._ending: Timer | None = None
        self.up = False

    def connect(self) -> None:
        """Begin to connect; `on_up` or `on_down` follows."""
        address = self.address
        try:
            if address.tls:
                sock = _open_socket(address)
                sock.setblocking(False)
                self._sock = sock
                self._connected()
                return
            if address.path:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                target: Any = address.path
            else:
                family, kind, proto, _, target = socket.getaddrinfo(
                    address.host, address.port, type=socket.SOCK_STREAM
                )[0]
                sock = socket.socket(family, kind, proto)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setblocking(False)
            self._sock = sock
            try:
                sock.connect(target)
            except BlockingIOError:
                pass
        except OSError as error:
            # told in the next turn, so that a caller never hears of it before `connect` has returned
            self._lost_soon(unreachable(address, error))
            return
        self._loop.on_writable(sock.fileno(), self._connected)
        self._check = self._loop.later(
            address.connect_timeout, lambda: self._lost(unreachable(address, TimeoutError("timed out")))
        )

    def _connected(self) -> None:
        assert self._sock is not None
        if self._check is not None:
            self._check.cancel()
        self._loop.on_writable(self._sock.fileno(), None)
        if code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lost(unreachable(self.address, OSError(code, os.strerror(code))))
            return
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._loop.on_readable(self._sock.fileno(), self._readable)
        greeting = _greeting(self.address, 2)
        replies: list[Reply] = []

        def answered(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) < len(greeting):
                return
            try:
                _check_greeting(self.address, greeting, replies)
            except BrokerUnavailable as error:
                self._lost(error)
                return
            self.up = True
            self._on_up()

        for command in greeting:
            self.send(command, answered)
        self._check = self._loop.every(1.0, self._patience)

    def send(self, command: Sequence[Any], answer: Answer, patience: float = ANSWER_TIMEOUT) -> None:
        """Send `command`; `answer(reply)` is called when its reply is here (an error of the server as a value)."""
        if self._sock is None:
            return
        self._answers.append((monotonic() + patience, answer))
        self._outgoing += pack(command)
        self._flush()

    def _flush(self) -> None:
        assert self._sock is not None
        try:
            while self._outgoing:
                sent = self._sock.send(self._outgoing)
                del self._outgoing[:sent]
        except (BlockingIOError, InterruptedError):
            self._loop.on_writable(self._sock.fileno(), self._flush)
            return
        except OSError as error:
            self._lost_soon(BrokerLost(f"{self.address.masked}: the connection broke: {error.strerror}"))
            return
        self._loop.on_writable(self._sock.fileno(), None)

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(unreachable(self.address, error))
            return
        if not data:
            self._lost(BrokerLost(f"{self.address.masked}: the server closed the connection"))
            return
        reader = self._reader
        reader.feed(data)
        reply = reader.gets()
        while reply is not Ellipsis:
            _, answer = self._answers.popleft()
            answer(reply)
            if self._reader is not reader:  # the callback closed the connection
                return
            reply = reader.gets()

    def _patience(self) -> None:
        if self._answers and self._answers[0][0] < monotonic():
            self._lost(BrokerLost(f"{self.address.masked}: no answer for {self.address.answer_timeout:g} s"))

    def _lost_soon(self, error: BrokerUnavailable) -> None:
        if self._ending is None:
            self._ending = self._loop.later(0, lambda: self._lost(error))

    def _lost(self, error: BrokerUnavailable) -> None:
        self.close()
        self._on_down(error)

    @property
    def busy(self) -> bool:
        """Whether answers are outstanding."""
        return bool(self._answers)

    def close(self) -> None:
        """Drop the connection and whatever is under way; calls nobody back. Can be connected again."""
        self.up = False
        if self._check is not None:
            self._check.cancel()
            self._check = None
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
        self._reader = None
        self._answers.clear()
        self._outgoing.clear()
