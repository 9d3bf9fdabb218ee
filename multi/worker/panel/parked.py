"""What waits for its time in a worker's queues: it lies in the broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from multi.brokers.looking import PARKED
from multi.message import Message
from multi.worker.panel.apart import Apart

if TYPE_CHECKING:
    from multi.worker.worker import Worker

#: Messages that are told of one queue at most.
MOST = 1000
#: So long (s) a look may take, and bringing messages back.
PATIENCE, LONG = 5.0, 60.0

#: When it is due, its queue, and the message.
Waiting = tuple[float, str, Message]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Waiting]).decode


class Parked:
    """Looks for one worker; who asks while it is looking gets what is found then."""

    def __init__(self, worker: Worker, apart: Apart) -> None:
        self._worker = worker
        self._apart = apart
        self._asked: list[Callable[[list[Waiting]], None]] = []

    @property
    def can_be_seen(self) -> bool:
        """Whether the broker shows what is parked."""
        return PARKED in self._worker.app.worker_broker.abilities.peeks

    def ask(self, then: Callable[[list[Waiting]], None]) -> None:
        """Call `then` with what is parked in the queues that are consumed, as far as the broker can tell; soon."""
        if not self.can_be_seen or not self._worker.consumed:
            then([])
            return
        self._asked.append(then)
        if len(self._asked) == 1:
            self._apart.do(self._look, self._found, PATIENCE)

    def _look(self) -> bytes:
        broker = self._worker.app.worker_broker
        return _encode(
            [
                (seen.due, queue, seen.message)
                for queue in self._worker.consumed
                for seen in broker.peek(queue, MOST, PARKED)
                if seen.message is not None
            ]
        )

    def _found(self, data: bytes | None) -> None:
        found = [] if data is None else _decode(data)
        asked, self._asked = self._asked, []
        for then in asked:
            then(found)

    def bring_back(self) -> None:
        """Put what is parked into the queues that are consumed: what still has to wait is parked again by who claims it."""
        worker = self._worker
        if not self.can_be_seen or not worker.consumed:
            return

        def work() -> bytes:
            return str(worker.app.worker_broker.unpark(worker.consumed)).encode()

        self._apart.do(work, lambda _: None, LONG)
