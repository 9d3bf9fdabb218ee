"""Blocking connections, for children and producers."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any

from multi.connections.redis.address import Address
from multi.connections.redis.opening import begin, check_greeting, limit_waiting, open_socket, unreachable
from multi.connections.redis.words import Reply, ReplyError, Word, pack, reader
from multi.errors import BrokerLost

#: So long (s) an answer is looked for before sleeping; after so many looks in vain, none for so many calls.
LOOK, VAIN, PAUSE = 50e-6, 4, 200
#: What `Redis.poll` returns when time is up (None is a reply).
NOTHING: Any = object()


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
        self._looks = False
        self._pause = 0  # calls that are not to look for their answer
        self._vain = 0

    def connect(self) -> None:
        """Open the connection if it isn't open."""
        if self._sock is not None:
            return
        try:
            sock = open_socket(self.address)
        except OSError as error:
            raise unreachable(self.address, error) from error
        limit_waiting(sock, self.address.answer_timeout)
        # on a single processor the server can't run while we look; TLS reads by itself
        self._looks = type(sock) is socket.socket and len(os.sched_getaffinity(0)) > 1
        self._sock = sock
        self._reader = reader()
        greeting = begin(self.address, self._protocol)
        try:
            check_greeting(self.address, greeting, self.pipeline(greeting))
        except BrokerLost as error:
            raise unreachable(self.address, error) from error
        except BaseException:
            self.close()
            raise
        self.connected_at = monotonic()

    def call(self, *command: Word) -> Reply:
        """Send one command and return its reply; raises the server's error as `ReplyError`."""
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
        incoming = self._reader
        reply = incoming.gets()
        if reply is Ellipsis and self._looks:
            if self._pause:
                self._pause -= 1
            else:
                self._look()
                reply = incoming.gets()
        while reply is Ellipsis:
            self._feed()
            reply = incoming.gets()
        return reply

    def _look(self) -> None:
        """Look for the answer for a moment before sleeping until it comes.

        A server on the same machine answers in less time than it takes to fall asleep and be woken, which is half of
        what sending a task costs. Where looking is in vain, mostly, it is given up for the next calls.
        """
        sock, until = self._sock, monotonic() + LOOK
        assert sock is not None
        while True:
            try:
                data = sock.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if monotonic() < until:
                    continue
                self._vain += 1
                if self._vain >= VAIN:
                    self._vain, self._pause = 0, PAUSE
                return
            except OSError:
                return  # told by the call that follows
            self._vain = 0
            if data:
                self._reader.feed(data)
            return

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
