"""The settling of one claim: what goes out before the message is let go."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multi.brokers.amqp.outbox import Outbox, headers
from multi.brokers.amqp.seat import FAULT, STARTS, Held, Seat
from multi.brokers.base import Settlement
from multi.connections.amqp.content import encode, properties
from multi.connections.amqp.reply import read_key
from multi.errors import EncodeError

if TYPE_CHECKING:
    from multi.brokers.amqp.watch import AMQPWatch


class Settling:
    """Sends everything that belongs to the settlement; when the server has confirmed all of it, acknowledges.

    If anything fails the message stays claimed, and whoever gave the settlement gives it again.
    """

    def __init__(
        self, watch: AMQPWatch, seat: Seat, held: Held, settlement: Settlement, done: Callable[[str], None]
    ) -> None:
        self._watch = watch
        self._seat = seat
        self._held = held
        self._settlement = settlement
        self._done = done
        self._left = 1
        self._failure = ""
        self._at_once = True

    def run(self) -> None:
        settlement = self._settlement
        outbox = self._watch.outbox
        if outbox is None:
            self._end()
            return
        if settlement.verb == "requeue" and not settlement.started:
            self._seat.give_back(self._held)
            self._done("")
            return
        try:
            self._send(outbox, settlement)
        except EncodeError as exc:
            self._failure = str(exc)
        self._sent("")
        self._at_once = False

    def _send(self, outbox: Outbox, settlement: Settlement) -> None:
        if self._watch.replies:
            for store in settlement.stores:
                queue, found = read_key(store.key)
                if queue:
                    self._left += 1
                    outbox.reply(queue, encode(found), store.value, self._sent)
        for publication in settlement.publications:
            self._left += 1
            outbox.publish(publication, self._sent)
        if settlement.verb != "ack":
            self._left += 1
            self._move(outbox, settlement)

    def _move(self, outbox: Outbox, settlement: Settlement) -> None:
        """Send the message where it goes instead of being done."""
        held = self._held
        starts = held.starts + 1 if settlement.started else held.starts
        if settlement.verb == "requeue":
            outbox.to_queue(held.queue, self._properties({STARTS: starts}), held.body, self._sent)
        elif settlement.verb == "park":
            extra = {STARTS: held.starts} if held.starts else {}
            outbox.later(held.queue, settlement.due, self._properties(extra), held.body, self._sent)
        elif settlement.verb == "bury":
            about = headers(settlement.reason, settlement.detail, starts, uuid.uuid4().hex)
            outbox.to_dead(held.queue, self._properties(about), held.body, self._sent)
        else:
            raise ValueError(f"{settlement.verb!r} is no way to settle a message")

    def _properties(self, extra: dict[str, Any]) -> bytes:
        message = self._held.message
        if message is None:
            return encode({"application_headers": {**extra, FAULT: self._held.fault}, "delivery_mode": 2})
        found = properties(message, extra)
        # It would make the server drop the message where it waits; the task's own header says when it expires.
        found.pop("expiration", None)
        return encode(found)

    def _sent(self, failure: str) -> None:
        self._failure = self._failure or failure
        self._left -= 1
        if not self._left:
            self._end()

    def _end(self) -> None:
        self._held.settling = False
        if not self._failure:
            self._seat.acknowledge(self._held)
            self._held.settling = True  # until the acknowledgement is written, nobody else may settle it
            if not self._at_once:
                self._seat.flush()
        self._done(self._failure)
