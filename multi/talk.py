"""What is said to those who listen now: requests of remote control, their replies, and events.

Nobody keeps such a message for who comes later, and none is worth waiting for: whoever can't send it drops it, and who
listens too slowly misses some. There are three kinds of exchanges:

fanout  every listener hears what is said, whatever its routing key
topic   a listener hears what matches one of its keys, word by word: `*` is one word, `#` any number
direct  a listener hears what has one of its keys: replies, whose key is known to who asked alone

`open_talk` gives the way to say and hear by the URL of a broker alone, without the broker's queues.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from multi import urls
from multi.errors import ConfigurationError
from multi.message import Message
from multi.topology import DIRECT, FANOUT, KINDS, TOPIC, matches

#: So many messages wait for a listener, where we keep them; of more the oldest are forgotten.
MOST_WAITING = 10_000


class Subscription(Protocol):
    """Hears what is said on an exchange; blocks; for one thread at a time, in the process that made it."""

    def get(self, timeout: float | None = None) -> Message | None:
        """The next message; None when none has come within `timeout` seconds (None: wait as long as it takes).

        Raises `BrokerLost` when the connection broke: what was said since the last message may have been missed. The
        next call connects again, and raises `BrokerUnavailable` while the broker is away. After `close` a `ValueError`.
        """

    def fileno(self) -> int:
        """Readable when a message may have come, once `get(0)` has returned None; -1 where there is no descriptor, or no
        connection. It may be another one after every call of `get`."""

    def close(self) -> None:
        """Hear nothing any more, and leave nothing behind. Twice is fine."""


class Talk(Protocol):
    """Says and hears; connects when first used."""

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> int | None:
        """Say something to all who listen now; there may be none. Raises `BrokerUnavailable`.

        How many these are, None where the broker doesn't tell.
        """

    def subscribe(
        self,
        exchange: str,
        *,
        keys: Sequence[str] = ("",),
        kind: str = FANOUT,
        queue: str = "",
        expires: float = 60.0,
        ttl: float | None = None,
    ) -> Subscription:
        """Hear what is said on an exchange; from the return on nothing is missed. See `Broker.subscribe`."""

    def close(self) -> None:
        """Close the connections of this process; subscriptions are closed by their own `close`."""


def check(kind: str) -> None:
    """Raises `ConfigurationError` for a kind of exchange that there is not."""
    if kind not in KINDS:
        raise ConfigurationError(f"{kind!r} is no kind of exchange: there are {', '.join(KINDS)}")


def takes(kind: str, keys: Sequence[str], key: str) -> bool:
    """Whether a listener with these keys hears what is said with this one."""
    return kind == FANOUT or any(matches(kind, bound, key) for bound in keys)


def own_name(exchange: str) -> str:
    """A name for a queue that nobody else has."""
    return f"{os.urandom(16).hex()}.{exchange}"


def unreadable(exchange: str, error: object) -> None:
    """Note that something was said which is no message."""
    from multi.log import get_logger  # programs that ask and end do without it

    get_logger("multi.broker").error("What was said on %s is no message: %s", exchange, error)


def open_talk(url: str, options: Mapping[str, Any] | None = None) -> Talk:
    """The way to talk over a broker; `options` are `broker_transport_options`. Raises `ConfigurationError`."""
    first = urls.split(url)[0] if urls.split(url) else url
    scheme = urls.parse(first).scheme
    found = dict(options or {})
    if scheme in ("redis", "rediss", "redis+socket", "unix"):
        from multi.connections.redis.talk import RedisTalk

        return RedisTalk.at(url, found)
    if scheme in ("amqp", "amqps", "pyamqp"):
        from multi.connections.amqp.talk import AMQPTalk

        return AMQPTalk.at(url, found)
    if scheme == "sqlite":
        from multi.connections.sqlite_talk import SQLiteTalk

        return SQLiteTalk.at(url, found)
    if scheme == "memory":
        from multi.connections.memory_talk import MemoryTalk

        return MemoryTalk.at(url)
    raise ConfigurationError(
        f"{urls.mask(url)}: workers can be talked to through Redis, RabbitMQ and SQLite, not through a broker of the "
        f"kind {scheme!r}"
    )


__all__ = [
    "DIRECT",
    "FANOUT",
    "MOST_WAITING",
    "TOPIC",
    "Subscription",
    "Talk",
    "check",
    "open_talk",
    "own_name",
    "takes",
    "unreadable",
]
