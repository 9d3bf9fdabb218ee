"""Looking into the queues in Redis, and moving what lies in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from multi.brokers.looking import BATCH, CLAIMED, HAND, PARKED, WAITING, Binding, Looking, Seen, Send, Wanted
from multi.brokers.redis.counting import Counting
from multi.brokers.redis.scripts import GIVE, MOVE, RESTORE, TAKE
from multi.connections.redis import envelope
from multi.connections.redis.keys import Keys
from multi.errors import DecodeError
from multi.message import Message

#: Messages that are read, or moved, in one step, so that Redis serves others in between.
_AT_ONCE = 200
#: Messages that Redis walks over in one step: a few milliseconds.
_WALK = 40_000
_BINDINGS = "_kombu.binding."


class RedisLooking(Looking):
    """See `Looking`."""

    _keys: Keys
    _call: Callable[[Sequence[Sequence[Any]]], list[Any]]

    def peek(self, queue: str, limit: int, where: str = WAITING) -> list[Seen]:
        if limit <= 0:
            return []
        if where == PARKED:
            return self._peek_parked(queue, limit)
        if where == CLAIMED:
            return self._peek_claimed(queue, limit)
        if where != WAITING:
            raise ValueError(f"no place is called {where!r}")
        found: list[Seen] = []
        for texts in self._call([("LRANGE", key, -limit, -1) for key in self._keys.lists(queue)]):
            found += [_seen(text) for text in reversed(texts)]
        self._count_starts(found)
        return found[:limit]

    def oldest(self, queues: Iterable[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for queue in queues:
            texts = self._call([("LINDEX", key, -1) for key in self._keys.lists(queue)])
            times = [since for text in texts if text is not None and (since := _since(text)) is not None]
            if times:
                found[queue] = min(times)
        return found

    def move(self, source: str, target: str, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        moved = 0
        for place, key in zip(self._keys.steps, self._keys.lists(source), strict=True):
            left = None if limit is None else limit - moved
            if left is None or left > 0:
                moved += self._move_list(key, self._keys.step(target, place), target, left, wanted)
        return moved

    def _move_list(self, source: str, target: str, queue: str, limit: int | None, wanted: Wanted | None) -> int:
        """Those of one list, from its end on, at which the oldest are."""
        looked, passed, moved = 0, 0, 0
        (length,) = self._call([("LLEN", source)])
        while looked < length and (limit is None or moved < limit):
            wish = min(_AT_ONCE, length - looked)
            texts = self._call([("LRANGE", source, -(passed + wish), -(passed + 1))])[0]
            if not texts:
                break
            looked += len(texts)
            chosen = [text for text in reversed(texts) if wanted is None or _wanted(text, wanted)]
            if limit is not None:
                del chosen[limit - moved :]
            for some in _portions(chosen, passed):
                words = [word for text in some for word in (text, envelope.moved(text, queue))]
                moved += self._call([("EVAL", MOVE.source, 2, source, target, *words)])[0]
            passed += len(texts) - len(chosen)
        return moved

    def hand_over(self, queue: str, send: Send, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        done = 0
        self._take_back(queue)
        for key in self._keys.lists(queue):
            left = None if limit is None else limit - done
            if left is None or left > 0:
                done += self._hand_list(queue, key, send, left, wanted)
        return done

    def _take_back(self, queue: str) -> None:
        """What one of us held that has died."""
        keys = self._keys
        seconds, microseconds = self._call([("TIME",)])[0]
        over = self._call([("ZRANGEBYSCORE", keys.leases, "-inf", int(seconds) + int(microseconds) / 1e6)])[0]
        tags = [tag for tag in over if tag.startswith(HAND.encode())]
        for start in range(0, len(tags), _AT_ONCE):
            some = tags[start : start + _AT_ONCE]
            claims, entries = self._call([("HMGET", keys.claims, *some), ("HMGET", keys.unacked, *some)])
            for tag, claim, entry in reversed([*zip(some, claims, entries, strict=True)]):
                if claim is not None and keys.queue_of(claim.partition(b"\0")[2].decode()) == queue:
                    text = envelope.entry_envelope(entry) if entry else b""
                    places = (keys.unacked, keys.unacked_index, keys.leases, keys.claims)
                    self._call([("EVAL", RESTORE.source, len(places), *places, tag, text)])

    def _hand_list(self, queue: str, source: str, send: Send, limit: int | None, wanted: Wanted | None) -> int:
        looked, passed, done = 0, 0, 0
        (length,) = self._call([("LLEN", source)])
        while looked < length and (limit is None or done < limit):
            wish = min(BATCH, length - looked)
            texts = self._call([("LRANGE", source, -(passed + wish), -(passed + 1))])[0]
            if not texts:
                break
            looked += len(texts)
            chosen = [text for text in reversed(texts) if _wanted(text, wanted or _all)]
            if limit is not None:
                del chosen[limit - done :]
            done += sum(self._hand(queue, source, send, some) for some in _portions(chosen, passed))
            passed += len(texts) - len(chosen)
        return done

    def _hand(self, queue: str, source: str, send: Send, texts: Sequence[bytes]) -> int:
        keys = self._keys
        # a long tag, as those of lanes
        prefix = f"{HAND}{envelope.next_tag()}".ljust(64, "-") + ":"
        places = (source, keys.unacked, keys.unacked_index, keys.leases, keys.claims)
        suffix = b',"",' + msgspec.json.encode(queue) + b"]"
        taken = self._call([("EVAL", TAKE.source, len(places), *places, self.hold, suffix, prefix, *texts)])[0]
        chosen = [texts[number - 1] for number in taken]
        tags = [f"{prefix}{number}" for number in taken]
        if not chosen:
            return 0
        try:
            send([envelope.decode(text) for text in chosen])
        except BaseException:
            for tag, text in reversed([*zip(tags, chosen, strict=True)]):
                self._call([("EVAL", GIVE.source, 5, source, *places[1:], tag, text)])
            raise
        ids = [str(envelope.decode(text).properties.get("delivery_tag") or "") for text in chosen]
        commands = (("HDEL", keys.unacked), ("ZREM", keys.unacked_index), ("ZREM", keys.leases), ("HDEL", keys.claims))
        self._call([("MULTI",), *((*command, *tags) for command in commands), ("HDEL", keys.starts, *ids), ("EXEC",)])
        return len(chosen)

    def unfinished(self, queues: Collection[str]) -> tuple[int, float]:
        return Counting(self._keys, self._call).handing(queues)

    def unpark(self, queues: Collection[str] | None = None) -> int:
        return Counting(self._keys, self._call).unpark(queues)

    def bindings(self) -> list[Binding]:
        start = f"{self._keys.prefix}{_BINDINGS}"
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", start) + "*"
        names: set[str] = set()
        cursor: Any = b"0"
        while True:
            cursor, keys = self._call([("SCAN", cursor, "MATCH", pattern, "COUNT", 5000)])[0]
            names.update(key.decode() for key in keys)
            if cursor == b"0":
                break
        found: set[Binding] = set()
        exchanges = sorted(names)
        tables = self._call([("SMEMBERS", name) for name in exchanges]) if exchanges else []
        for name, members in zip(exchanges, tables, strict=True):
            for member in members:
                parts = member.decode().split(self._keys.separator)
                if len(parts) == 3:
                    found.add(Binding(name.removeprefix(start), parts[2], parts[0]))
        return sorted(found)

    # -- what doesn't wait in a list

    def _peek_parked(self, queue: str, limit: int) -> list[Seen]:
        keys = self._keys
        found: list[Seen] = []
        start = 0
        while len(found) < limit:
            pairs = self._call([("ZRANGE", keys.delayed, start, start + _AT_ONCE - 1, "WITHSCORES")])[0]
            if not pairs:
                break
            start += _AT_ONCE
            for value, due in zip(self._call([("HMGET", keys.parked, *pairs[::2])])[0], pairs[1::2], strict=True):
                if value is None:
                    continue
                key, _, text = value.partition(b"\0")
                if keys.queue_of(key.decode()) == queue:
                    seen = _seen(text)
                    seen.due = float(due)
                    found.append(seen)
        return found[:limit]

    def _peek_claimed(self, queue: str, limit: int) -> list[Seen]:
        keys = self._keys
        flat = self._call([("HGETALL", keys.claims)])[0]
        claims = dict(zip(flat[::2], flat[1::2], strict=True))
        ours = [tag for tag, claim in claims.items() if keys.queue_of(claim.partition(b"\0")[2].decode()) == queue]
        theirs = [tag for tag in self._call([("ZRANGE", keys.unacked_index, 0, -1)])[0] if tag not in claims]
        found: list[Seen] = []
        for tags in (ours, theirs):
            for start in range(0, len(tags), _AT_ONCE):
                entries = self._call([("HMGET", keys.unacked, *tags[start : start + _AT_ONCE])])[0]
                found += [
                    _seen(envelope.entry_envelope(entry) if tags is ours else _of_celerys(entry))
                    for entry in entries
                    if entry is not None and (tags is ours or _routing_key(entry) == queue)
                ]
                if len(found) >= limit:
                    break
        self._count_starts(found)
        return found[:limit]

    def _count_starts(self, found: Sequence[Seen]) -> None:
        tags = [_tag(each) for each in found]
        if tags:
            for each, starts in zip(found, self._call([("HMGET", self._keys.starts, *tags)])[0], strict=True):
                each.starts = int(starts or 0)


def _portions(texts: Sequence[bytes], passed: int) -> Iterator[Sequence[bytes]]:
    """Messages for one step each: to find one, Redis walks over those that were passed, and serves nobody else meanwhile."""
    size = max(1, _WALK // (passed + _AT_ONCE))
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _all(message: Message) -> bool:
    return True


def _seen(text: bytes) -> Seen:
    try:
        message = envelope.decode(text)
    except DecodeError as error:
        return Seen(None, fault=str(error))
    again = bool(message.headers.get("redelivered"))
    return Seen(message, envelope.made_at(message.properties.get("delivery_tag")), redelivered=again)


def _tag(seen: Seen) -> str:
    return "" if seen.message is None else str(seen.message.properties.get("delivery_tag") or "")


def _since(text: bytes) -> float | None:
    return _seen(text).since


def _wanted(text: bytes, wanted: Wanted) -> bool:
    try:
        return wanted(envelope.decode(text))
    except DecodeError:
        return False


def _routing_key(entry: bytes) -> str:
    found = re.search(rb'"([^"]*)"\s*\]$', entry[-512:])
    return found[1].decode() if found else ""


def _of_celerys(entry: bytes) -> bytes:
    """The envelope of an entry of `unacked` that a worker of Celery's has written."""
    try:
        return msgspec.json.encode(msgspec.json.decode(entry)[0])
    except (msgspec.DecodeError, IndexError, KeyError, TypeError):
        return entry
