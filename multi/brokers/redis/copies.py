"""The worker's ear for what is sent to all: what comes on a channel is put into the queues that are bound to it.

Redis forgets what nobody hears, so what is sent while this connection is away doesn't come; Celery's workers have it no
better. From the queue on it is a message like any other, claimed under a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from multi.brokers.redis.scripts import FEED
from multi.connections.redis import Reply, ReplyError, envelope
from multi.connections.redis.channels import escaped
from multi.connections.redis.stream import RedisStream
from multi.errors import BrokerUnavailable, DecodeError
from multi.log import get_logger
from multi.loop import Timer
from multi.message import Message
from multi.topology import NODE_QUEUE_LIFE, Queue

if TYPE_CHECKING:
    from multi.brokers.redis.watch import RedisWatch

logger = get_logger("multi.broker")

#: Seconds for which it is remembered that a copy was put into a queue: workers of one queue hear it at the same time.
_REMEMBERED = 60
#: Seconds between two signs of life of the connection, on which nothing may come for days.
_PING = 10.0


class Copies:
    """Subscribed to the channels of the queues that are consumed; without any there is no connection."""

    def __init__(self, watch: RedisWatch) -> None:
        self._watch = watch
        self._followed: dict[str, list[Queue]] = {}
        #: who is told itself of what comes on a channel
        self._ears: dict[str, Callable[[Message], None]] = {}
        self._stream = RedisStream(watch.loop, watch.address, self._up, self._down)
        self._stream.on_push = self._heard
        self._timers: list[Timer] = []
        self._wanted = False
        self._subscribed = False
        self._waiting: Callable[[], None] | None = None

    def follow(self, queues: Sequence[str]) -> None:
        """Hear for these queues from now on, if the broker can be reached."""
        before, self._followed = self._followed, self._watch.exchanges.followed(queues)
        if not self._followed and not self._ears:
            self.close()
        elif not self._wanted:
            self._wanted = True
            self._stream.connect()
        elif self._stream.up:
            for channel in before.keys() - self._followed.keys():
                self._stream.send(("PUNSUBSCRIBE", channel), _ignore)
            self._subscribe(self._followed.keys() - before.keys())

    def hear(self, channel: str, heard: Callable[[Message], None]) -> None:
        """Tell `heard` of what comes on this channel."""
        self._ears[escaped(channel)] = heard

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when everything that is followed is heard, at once if it is."""
        if self._subscribed or not (self._followed or self._ears):
            callback()
        else:
            self._waiting = callback

    def close(self) -> None:
        """Hear nothing any more, until `follow` is called."""
        self._wanted = self._subscribed = False
        self._waiting = None
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        self._stream.close()

    def _up(self) -> None:
        self._subscribe([*self._followed, *self._ears])
        # answers come in order, so that this one is there when all are
        self._stream.send(("PING",), self._all_subscribed)
        self._timers = [
            self._watch.loop.every(_PING, lambda: self._stream.send(("PING",), _ignore)),
            self._watch.loop.every(NODE_QUEUE_LIFE / 3, self.keep),
        ]

    def _all_subscribed(self, reply: Reply) -> None:
        self._subscribed = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting()

    def _subscribe(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self._stream.send(("PSUBSCRIBE", channel), _ignore)

    def _down(self, error: BrokerUnavailable) -> None:
        if self._wanted:
            self.close()
            self._watch.waiter_lost(error)

    def keep(self) -> None:
        """Keep the queues that are this node's own; they go some time after it."""
        for name in {queue.name for queues in self._followed.values() for queue in queues if queue.node}:
            for key in self._watch.keys.lists(name):
                self._watch.send(("EXPIRE", key, NODE_QUEUE_LIFE))

    def _heard(self, reply: list[bytes]) -> None:
        text = reply[-1]
        if (heard := self._ears.get(reply[1].decode())) is not None:
            try:
                heard(envelope.decode(text))
            except DecodeError as error:
                logger.error("What was sent to all on %s is no message: %s", reply[1].decode(), error)
            return
        for queue in self._followed.get(reply[1].decode(), ()):
            try:
                identity, key, copy = envelope.copy(text, queue.name, self._watch.keys)
            except ValueError as error:
                logger.error("What was sent to all on %s is no message: %s", reply[1].decode(), error)
                return
            seen = f"{self._watch.keys.prefix}multi:copied:{queue.name}:{identity}"
            life = NODE_QUEUE_LIFE if queue.node else 0
            self._watch.run(FEED, (seen, key), (copy, _REMEMBERED, life), _ignore)


def _ignore(reply: Reply) -> None:
    if isinstance(reply, ReplyError):
        logger.error("Redis: %s", reply)
