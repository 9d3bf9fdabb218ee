"""A connection of the watch on which it waits for messages of one list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.connections.redis import RedisStream, Reply, ReplyError
from multi.errors import BrokerUnavailable

if TYPE_CHECKING:
    from multi.brokers.redis.watch import RedisWatch

#: Seconds that a waiter asks Redis to hold its request; an answer must come soon after, or the connection is dead.
WAIT = 30.0


class Waiter:
    """Waits for a message in one list by moving it to the inbox: wakes one waiter in the fleet, loses nothing.

    (`BLMOVE q q` would wake all of them, a `BRPOP` could lose what it took.) What is moved lies in the inbox until a
    lane of this worker claims it, or goes back if meanwhile no child is idle.
    """

    def __init__(self, watch: RedisWatch, source: str, inbox: str) -> None:
        self._watch = watch
        self._source = source
        self._inbox = inbox
        self._stream = RedisStream(watch.loop, watch.address, self._connected, watch.waiter_lost)
        self._waiting = False
        self._id: int | None = None

    def wait(self) -> None:
        """Ask, if nothing is asked yet."""
        if self._stream.up:
            if not self._waiting:
                self._waiting = True
                self._stream.send(
                    ("BLMOVE", self._source, self._inbox, "RIGHT", "LEFT", WAIT), self._answered, WAIT + 10
                )
        elif self._id is None:
            self._id = 0
            self._stream.connect()

    def _connected(self) -> None:
        self._stream.send(("CLIENT", "ID"), self._identified)
        if self._watch.armed:
            self.wait()

    def _identified(self, reply: Reply) -> None:
        self._id = int(reply) if isinstance(reply, int) else 0

    def _answered(self, reply: Reply) -> None:
        self._waiting = False
        if isinstance(reply, ReplyError):
            self._watch.waiter_lost(BrokerUnavailable(f"{self._watch.address.masked}: {reply}"))
        elif reply is None:
            if self._watch.armed:
                self.wait()
        elif self._watch.armed:
            self._watch.events.on_message(1)
        else:
            self._watch.bounce(self._inbox, self._source)

    def unblock(self) -> list[tuple[str | int, ...]]:
        """The commands, for another connection, that end the wait."""
        return [("CLIENT", "UNBLOCK", self._id)] if self._waiting and self._id else []

    def close(self) -> None:
        self._stream.close()
        self._waiting = False
        self._id = None
