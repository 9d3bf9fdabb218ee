"""Saying and hearing over Redis, as kombu does: channels for what is for all, a list of one's own for replies.

What is for all is published and kept nowhere: a listener who doesn't read is cut off by the server when its output
buffer is full (`client-output-buffer-limit pubsub`, 32 MB). A reply is pushed to the list that the table
`_kombu.binding.<exchange>` names for its key, and is dropped where there is none; what we push ends after a minute, and
at `MOST_WAITING` the oldest fall out, should its reader be dead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic, time
from typing import Any

from multi.connections.redis import envelope
from multi.connections.redis.address import Address
from multi.connections.redis.blocking import NOTHING, PerThread, Redis
from multi.connections.redis.channels import Channels, escaped
from multi.connections.redis.keys import Keys
from multi.connections.redis.words import Reply, ReplyError, Word, pack
from multi.errors import BrokerLost, BrokerUnavailable, DecodeError
from multi.message import Message
from multi.talk import DIRECT, FANOUT, MOST_WAITING, Subscription, check, own_name, takes, unreadable

#: Seconds after which a connection on which nothing comes is asked for a sign of life.
_QUIET = 10.0
#: Seconds for which the server lets us wait for a reply before it tells that there is none.
_WAIT = 5
#: Seconds that a reply which is there already may take to get here, for who doesn't want to wait at all.
_AT_HAND = 0.005
#: Seconds after which the list of a reader that is gone ends.
_LIFE = 60
#: Milliseconds for which kombu's sweepers let a table of bindings alone, from its last sign of life.
_SWEPT = 3_600_000

#: KEYS: the table of bindings. ARGV: routing key, separator, prefix of keys, text, life, most. Gives how many took it.
_REPLY = """
local taken = 0
for _, row in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local a, b = string.find(row, ARGV[2], 1, true)
  local c, d = string.find(row, ARGV[2], (b or 0) + 1, true)
  if a and c and string.sub(row, 1, a - 1) == ARGV[1] then
    local list = ARGV[3] .. string.sub(row, d + 1)
    redis.call('LPUSH', list, ARGV[4])
    redis.call('LTRIM', list, 0, tonumber(ARGV[6]) - 1)
    redis.call('EXPIRE', list, ARGV[5])
    taken = taken + 1
  end
end
return taken
"""


def said(keys: Keys, channels: Channels, exchange: str, message: Message, key: str, kind: str) -> tuple[Word, ...]:
    """The command that says something. Raises `EncodeError`, and `ConfigurationError` for a kind that there is not."""
    check(kind)
    text = envelope.encode(message, key, exchange=exchange)[1]
    if kind != DIRECT:
        return "PUBLISH", channels.name(exchange, key), text
    return "EVAL", _REPLY, 1, keys.table(exchange), key, keys.separator, keys.prefix, text, _LIFE, MOST_WAITING


class RedisTalk:
    """See `Talk`."""

    def __init__(self, address: Address, keys: Keys, connections: PerThread) -> None:
        self._address = address
        self._keys = keys
        self._channels = Channels(keys, address.db)
        self._connections = connections

    @classmethod
    def at(cls, url: str, options: dict[str, Any]) -> RedisTalk:
        address = Address.from_url(url, options)
        return cls(address, Keys.from_options(options), PerThread(address))

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> int | None:
        (listeners,) = self._call([said(self._keys, self._channels, exchange, message, key, kind)])
        return int(listeners)

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
        check(kind)
        made: _Hearing
        if kind == DIRECT:
            made = _Replies(self._address, self._keys, exchange, keys, queue or own_name(exchange), self._call)
        else:
            made = _Channels(self._address, self._channels, exchange, keys, kind)
        made.open()
        return made

    def close(self) -> None:
        self._connections.close()

    def _call(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        replies = self._connections.get().pipeline_again(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise BrokerUnavailable(f"{self._address.masked}: {reply}") from reply
        return replies


class _Hearing(ABC):
    """What both kinds of subscriptions share: a connection of their own, made again when it broke."""

    def __init__(self, address: Address, exchange: str) -> None:
        self._address = address
        self._exchange = exchange
        self._redis = Redis(address)
        self._closed = False

    @abstractmethod
    def open(self) -> None:
        """Connect, and have the server send what is said from now on."""

    def fileno(self) -> int:
        return self._redis.fileno()

    def close(self) -> None:
        self._closed = True
        self._redis.close()

    def get(self, timeout: float | None = None) -> Message | None:
        if self._closed:
            raise ValueError("this subscription is closed")
        if self._redis.fileno() < 0:
            self.open()
        until = None if timeout is None else monotonic() + timeout
        while True:
            text = self._next(until)
            if text is None:
                return None
            try:
                return envelope.decode(text)
            except DecodeError as error:
                unreadable(self._exchange, error)

    @abstractmethod
    def _next(self, until: float | None) -> bytes | None:
        """The next text; None when it is `until`."""

    def _silent(self, seconds: float) -> BrokerLost:
        self._redis.close()
        return BrokerLost(f"{self._address.masked}: no sign of life for {seconds:.0f} s")


class _Channels(_Hearing):
    """Hears channels."""

    def __init__(self, address: Address, channels: Channels, exchange: str, keys: Sequence[str], kind: str) -> None:
        super().__init__(address, exchange)
        self._channels = channels
        self._keys = keys
        self._kind = kind
        self._plain = escaped(channels.name(exchange))
        #: pattern -> the keys for which it is heard
        self._patterns: dict[str, list[str]] = {}
        for key in keys:
            for pattern in channels.heard(exchange, kind, key):
                self._patterns.setdefault(pattern, []).append(key)
        self._early: list[Reply] = []
        self._heard = 0.0
        self._asked = False

    def open(self) -> None:
        self._redis.connect()
        self._redis.send(pack(("PSUBSCRIBE", *self._patterns)))
        missing = len(self._patterns)
        self._early = []
        while missing:
            reply = self._redis.read()
            if isinstance(reply, ReplyError):
                self._redis.close()
                raise BrokerUnavailable(f"{self._address.masked}: {reply}") from reply
            if reply[0] == b"psubscribe":
                missing -= 1
            else:
                self._early.append(reply)
        self._heard, self._asked = monotonic(), False

    def _next(self, until: float | None) -> bytes | None:
        while True:
            patience = self._heard + _QUIET + (self._address.answer_timeout if self._asked else 0.0)
            wait = patience if until is None else min(until, patience)
            reply = self._early.pop(0) if self._early else self._redis.poll(max(0.0, wait - monotonic()))
            if reply is NOTHING:
                now = monotonic()
                if now >= patience:
                    if self._asked:
                        raise self._silent(now - self._heard)
                    self._asked = True
                    self._redis.send(pack(("PING",)))
                if until is not None and now >= until:
                    return None
                continue
            self._heard, self._asked = monotonic(), False
            if (
                isinstance(reply, list)
                and reply[0] == b"pmessage"
                and self._is_meant(reply[1].decode(), reply[2], reply[3])
            ):
                text: bytes = reply[3]
                return text

    def _is_meant(self, pattern: str, channel: bytes, text: bytes) -> bool:
        """Whether this is for us, and not the same that came or comes by another pattern, too."""
        if self._kind == FANOUT:
            return True
        key = self._channels.key(self._exchange, channel.decode())
        if key is None:
            return takes(self._kind, self._keys, envelope.routing_key(text))
        # what has no key comes on the channel of the exchange's own name, by that name as a pattern, and nothing else does
        found = (each for each, keys in self._patterns.items() if takes(self._kind, keys, key))
        return next((each for each in found if (each == self._plain) == (not key)), "") == pattern


class _Replies(_Hearing):
    """Hears what is pushed to a list, which the table of bindings names."""

    def __init__(
        self,
        address: Address,
        keys: Keys,
        exchange: str,
        bound: Sequence[str],
        queue: str,
        call: Callable[[Sequence[Sequence[Word]]], list[Reply]],
    ) -> None:
        super().__init__(address, exchange)
        self._call = call
        self._lists = keys.lists(queue)
        self._table = keys.table(exchange)
        self._rows = [keys.separator.join((key, "", queue)) for key in bound]
        self._deadlines = keys.deadlines
        self._asked = 0.0

    def open(self) -> None:
        for reply in self._redis.pipeline(self._binding()):
            if isinstance(reply, ReplyError):
                self._redis.close()
                raise BrokerUnavailable(f"{self._address.masked}: {reply}") from reply
        self._ask()

    def _binding(self) -> list[tuple[Word, ...]]:
        # the table is lost where somebody has flushed the database, and peers of kombu 5.7 drop one that is overdue
        deadline = int(time() * 1000) + _SWEPT
        return [
            ("SADD", self._table, *self._rows),
            ("ZADD", self._deadlines, "XX", "GT", deadline, self._exchange),
        ]

    def _ask(self) -> None:
        self._redis.send(pack(("BRPOP", *self._lists, _WAIT)))
        self._asked = monotonic()

    def _next(self, until: float | None) -> bytes | None:
        while True:
            if not self._asked:
                self._ask()
                if until is not None:
                    until = max(until, self._asked + _AT_HAND)
            patience = self._asked + _WAIT + self._address.answer_timeout
            wait = patience if until is None else min(until, patience)
            reply = self._redis.poll(max(0.0, wait - monotonic()))
            if reply is NOTHING:
                if monotonic() >= patience:
                    raise self._silent(monotonic() - self._asked)
                if until is not None and monotonic() >= until:
                    return None
                continue
            self._asked = 0.0
            if isinstance(reply, ReplyError):
                self._redis.close()
                raise BrokerLost(f"{self._address.masked}: {reply}") from reply
            if reply is None:
                self._redis.pipeline(self._binding())
                continue
            text: bytes = reply[1]
            return text

    def close(self) -> None:
        if self._closed:
            return
        super().close()
        try:
            self._call([("SREM", self._table, *self._rows), ("DEL", *self._lists)])
        except BrokerUnavailable:
            pass  # it is away: the list ends by itself, and what is sent to nobody is dropped
