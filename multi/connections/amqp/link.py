"""A connection for those who may wait: producers, waiters for results, and commands."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeVar

from multi.connections.amqp.address import Address
from multi.connections.amqp.session import Lost, Session, Steps
from multi.connections.amqp.wire import Wire

T = TypeVar("T")


class Link:
    """A wire with patience. Used by one thread at a time; belongs to the process that opened it.

    It sends no heartbeats, because nobody would send them between two calls: TCP's keepalive finds dead peers.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.session: Session = wire.session
        self.address: Address = wire.address
        self.pid = os.getpid()

    @classmethod
    def open(cls, addresses: Sequence[Address]) -> Link:
        """Connect to the first address that can be used. Raises `Unreachable`."""
        failures: list[Unreachable] = []
        for address in addresses:
            try:
                link = cls(Wire(address, heartbeat=0))
            except Lost as exc:
                failures.append(Unreachable(address, exc))
                continue
            try:
                link.wait(lambda link=link: link.session.ready, address.connect_timeout, "an answer to its log-in")  # type: ignore[misc]
                return link
            except Lost as exc:
                link.drop()
                failures.append(Unreachable(address, exc))
        raise failures[0]

    def wait(self, happened: Callable[[], bool], timeout: float | None, what: str = "an answer") -> None:
        """Serve the connection until `happened()`. Raises `Lost`, also when `timeout` seconds have gone by."""
        deadline = None if timeout is None else monotonic() + timeout
        self.wire.flush()
        while not happened():
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                why = f" (it blocks publishers: {self.session.blocked})" if self.session.blocked else ""
                raise Lost(f"timed out after {timeout:g} s of waiting for {what}{why}")
            self.turn(left)

    def turn(self, timeout: float | None) -> bool:
        """Serve the connection once, waiting up to `timeout` seconds for it; whether anything could be done."""
        poll = select.poll()
        poll.register(self.wire.fileno(), select.POLLIN | (select.POLLOUT if self.wire.wants_write else 0))
        if not poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999))):
            return False
        self.wire.step()
        return True

    def run(self, steps: Steps[T], timeout: float | None = 30.0) -> T:
        """Hold a conversation with the server and wait for its end. Raises `Lost`; `Closed` if the server said no."""
        ends: list[tuple[T | None, Lost | None]] = []
        self.session.run(steps, lambda result, failure: ends.append((result, failure)))
        self.wait(lambda: bool(ends), timeout)
        result, failure = ends[0]
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]

    def close(self) -> None:
        """Say good-bye and close; whoever calls this may have been forked, and then only its copy goes."""
        if self.pid == os.getpid() and self.session.ready:
            try:
                self.session.close()
                self.wait(lambda: self.session.finished, 2.0)
            except Lost:
                pass  # closed by the other side, which is as good
        self.drop()

    def drop(self) -> None:
        """Close without a word."""
        self.wire.close()


class Unreachable(Lost):
    """No connection: `address` could not be used for `reason`."""

    def __init__(self, address: Address, reason: Lost) -> None:
        from multi.connections.amqp.wire import explain

        self.address = address
        self.reason = reason
        super().__init__(explain(address, reason))
