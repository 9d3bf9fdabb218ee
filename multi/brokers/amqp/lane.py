"""A child's end: asks the worker's process to settle and to claim, and is handed what the server pushed."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from mmap import mmap
from struct import Struct
from typing import TYPE_CHECKING

import msgspec

from multi.brokers.amqp.talk import LENGTH, Ask, Tell
from multi.brokers.base import Delivery, Lane, Settlement
from multi.brokers.consumed import Consumed
from multi.errors import BackendUnavailable, BrokerLost
from multi.store import Storage

if TYPE_CHECKING:
    from multi.brokers.amqp.seat import Seat

GENERATION = Struct("<Q")
_READ_SIZE = 1 << 18


class AMQPPort:
    """The seat of a child to be forked, and with it one end of a socket pair."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    def open(self) -> Lane:
        """In the child: its lane. The worker's own descriptors are closed here, as far as they are still open."""
        seat = self._seat
        end = seat.line.lane_end()
        seat.watch.leave_to_child()
        return AMQPLane(end, seat.page, seat.fence_base, seat.watch.lane_storage, seat.watch.consumed)

    def release(self) -> None:
        """In the worker's process: the seat is given up, and what it held returns to its queue."""
        self._seat.leave()


class AMQPLane(Lane):
    """Speaks with its seat in frames of a length and msgpack."""

    def __init__(
        self, end: socket.socket, page: mmap, fence_base: str, storage: Storage | None, consumed: Consumed
    ) -> None:
        self._end = end
        self._page = page
        self._fence_base = fence_base
        self._storage = storage
        self._consumed = consumed
        self._version, self._queues = consumed.read()
        self._number = 0
        self._seen = 0
        self._input = bytearray()
        self._output = bytearray()
        self._spare: list[Delivery] = []
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Tell)

    def exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        fence = self._fence()
        wanted = [each for each in settlements if each.fence == fence]
        if self._storage is not None:
            stores = [store for each in wanted for store in each.stores]
            if stores:
                try:
                    self._storage.store(stores)
                except BackendUnavailable as exc:
                    raise BrokerLost(f"not settled, since the results can't be stored: {exc}") from exc
                wanted = [msgspec.structs.replace(each, stores=[]) if each.stores else each for each in wanted]
        self._receive(wait=False)
        spare = self._current(fence)
        unwanted = [each for each in spare if not claim or each.queue not in self._consumes()]
        if unwanted:
            wanted += [Settlement(each.tag, each.fence, each.queue, "requeue", started=False) for each in unwanted]
            spare = [each for each in spare if each not in unwanted]
        if claim and spare and not wanted:
            # It came while this child waited: no need to ask.
            taken, self._spare = spare[:claim], spare[claim:]
            return taken
        self._spare = spare
        self._number += 1
        self._send(Ask(self._number, self._seen, max(0, claim - len(spare)), wanted))
        answer: Tell | None = None
        while answer is None:
            answer = self._receive(wait=True)
        if answer.lost:
            raise BrokerLost(answer.lost)
        self._spare += answer.deliveries
        # What was pushed right after the answer may have been read with it: the descriptor would not tell of it again.
        self._receive(wait=False)
        found = self._current(self._fence())
        taken, self._spare = found[:claim], found[claim:]
        return taken

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        if self._end.fileno() < 0:
            return
        try:
            self._send(Ask(0, self._seen, 0, [], bye=True))
        except BrokerLost:
            pass  # the worker's process is gone, and the connection with it
        self._end.close()

    def _fence(self) -> str:
        """The token of all claims that hold now; the worker's process changes it when the server takes them back."""
        return f"{self._fence_base}{GENERATION.unpack_from(self._page)[0]}"

    def _consumes(self) -> list[str]:
        if self._consumed.version != self._version:
            self._version, self._queues = self._consumed.read()
        return self._queues

    def _current(self, fence: str) -> list[Delivery]:
        return [each for each in self._spare if each.fence == fence]

    def _send(self, ask: Ask) -> None:
        encoded = self._encoder.encode(ask)
        self._output += LENGTH.pack(len(encoded)) + encoded
        try:
            while self._output:  # kept between calls: a signal's exception must not tear a frame
                sent = self._end.send(self._output)
                del self._output[:sent]
        except OSError as exc:
            raise self._gone() from exc

    def _receive(self, *, wait: bool) -> Tell | None:
        """Take in what has come; with `wait`, go on until the answer to the last question is there."""
        while True:
            tell = self._next()
            while tell is not None:
                if tell.number == self._number and tell.number:
                    return tell
                if not tell.number:
                    self._seen += len(tell.deliveries)
                self._spare += tell.deliveries
                tell = self._next()
            try:
                data = self._end.recv(_READ_SIZE, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError as exc:
                raise self._gone() from exc
            if not data:
                raise self._gone()
            self._input += data

    def _next(self) -> Tell | None:
        held = self._input
        if len(held) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(held)[0]
        if len(held) < end:
            return None
        tell = self._decoder.decode(memoryview(held)[LENGTH.size : end].tobytes())
        del held[:end]
        return tell

    def _gone(self) -> BrokerLost:
        return BrokerLost("the worker's own process, which holds the connection to RabbitMQ, is gone")
