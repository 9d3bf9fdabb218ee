"""A connection that never blocks, for the worker's loop."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from multi.connections.redis.address import ANSWER_TIMEOUT, Address
from multi.connections.redis.opening import begin, check_greeting, open_socket, unreachable
from multi.connections.redis.words import Reply, pack, reader
from multi.errors import BrokerLost, BrokerUnavailable
from multi.loop import Loop, Timer

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
        #: told of what comes on the channels that this connection has subscribed to
        self.on_push: Callable[[list[bytes]], None] | None = None

    def connect(self) -> None:
        """Begin to connect; `on_up` or `on_down` follows."""
        address = self.address
        try:
            if address.tls:
                sock = open_socket(address)
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
        self._reader = reader()
        self._loop.on_readable(self._sock.fileno(), self._readable)
        greeting = begin(self.address, 2)
        replies: list[Reply] = []

        def answered(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) < len(greeting):
                return
            try:
                check_greeting(self.address, greeting, replies)
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
        incoming = self._reader
        incoming.feed(data)
        reply = incoming.gets()
        while reply is not Ellipsis:
            if self.on_push is not None and isinstance(reply, list) and reply and reply[0] in (b"message", b"pmessage"):
                self.on_push(reply)
            else:
                _, answer = self._answers.popleft()
                answer(reply)
            if self._reader is not incoming:  # the callback closed the connection
                return
            reply = incoming.gets()

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

    @property
    def unsent(self) -> int:
        """How many bytes the server has not taken yet."""
        return len(self._outgoing)

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
