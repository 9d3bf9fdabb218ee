"""What lies where in Redis: counted for people, and brought to where Celery's workers find it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from time import monotonic
from typing import Any

import msgspec

from multi.brokers.base import Consumer, HandedBack, QueueCounts
from multi.brokers.looking import HAND
from multi.brokers.redis.scripts import FOREIGN, RESTORE, SOURCES, UNPARK
from multi.connections.redis import envelope
from multi.connections.redis.keys import INBOX, Keys
from multi.errors import DecodeError

#: Carries out commands and returns their answers.
Call = Callable[[Sequence[Sequence[Any]]], list[Any]]
#: So much is looked at in one step, so that Redis serves others in between.
_AT_ONCE = 500
#: Keys that a search walks over in one step.
_SEARCHED = 5000
#: Messages of a list of which one has to be a task, so that it is taken for a queue.
_LOOKED_AT = 3
#: After a search that took longer than this (s) the next one waits for so many times its length.
_SHORT, _REST = 0.05, 30


class Search:
    """The queues that a search through all keys has found, and until when it isn't worth another one."""

    def __init__(self) -> None:
        self.queues: set[str] = set()
        self._until = 0.0

    def due(self) -> bool:
        return monotonic() >= self._until

    def done(self, queues: set[str], began: float) -> None:
        """Who looks again and again, as metrics do, takes no more than a small part of the server's time."""
        took = monotonic() - began
        self.queues, self._until = queues, monotonic() + (took * _REST if took > _SHORT else 0.0)


class Counting:
    """Counts and moves messages with commands of its own."""

    def __init__(self, keys: Keys, call: Call, search: Search | None = None) -> None:
        self._keys = keys
        self._call = call
        self._filled = search or Search()

    def counts(self, queues: Iterable[str]) -> list[QueueCounts]:
        queues = list(queues)
        parked, claimed, dead = self._parked(), self._claimed(), self._dead()
        consumers = Counter(queue for _, queue in {(each.name, each.queue) for each in self.consumers(None)})
        others = sorted({*parked, *claimed, *dead, *consumers, *self._found(set(queues))})
        names = list(dict.fromkeys((*queues, *(name for name in others if name))))
        lists = [self._keys.lists(name) for name in names]
        lengths = iter(self._call([("LLEN", key) for each in lists for key in each]) if names else ())
        return [
            QueueCounts(
                name,
                sum(next(lengths) for _ in each),
                parked[name],
                claimed[name],
                dead[name],
                consumers[name],
            )
            for name, each in zip(names, lists, strict=True)
        ]

    def consumers(self, queues: Collection[str] | None) -> list[Consumer]:
        """The workers whose inboxes or claims are kept alive, one for each queue."""
        keys = self._keys
        now = self._now()
        places = self._inboxes()
        leases = self._pairs(self._call([("ZRANGEBYSCORE", keys.leases, now, "+inf", "WITHSCORES")])[0])
        if leases:
            claims = self._call([("HMGET", keys.claims, *leases)])[0]
            for (tag, score), claim in zip(leases.items(), claims, strict=True):
                if claim is not None and not tag.startswith(HAND.encode()):
                    places.append((tag.decode(), claim.partition(b"\0")[2].decode(), float(score)))
        found: dict[tuple[str, str], float] = {}
        for owner, source, until in places:
            queue = keys.queue_of(source)
            if until > now and (queues is None or queue in queues):
                place = owner.partition("/")[0], queue
                found[place] = max(until - now, found.get(place, 0.0))
        return [Consumer(name, queue, left) for (name, queue), left in sorted(found.items())]

    def hand_back(self, queues: Collection[str] | None) -> HandedBack:
        """What is parked goes to the end of its queue, what dead workers held to the front."""
        return HandedBack(self.unpark(queues), *self._release(queues))

    def dead_queues(self) -> list[str]:
        """The queues that have dead letters."""
        start = self._keys.dead
        return sorted({key.removeprefix(start) for keys in self._search(start) for key in keys})

    def handing(self, queues: Collection[str]) -> tuple[int, float]:
        """See `Looking.unfinished`."""
        keys = self._keys
        held = self._pairs(self._call([("ZRANGE", keys.leases, 0, -1, "WITHSCORES")])[0])
        tags = [tag for tag in held if tag.startswith(HAND.encode())]
        found = []
        for start in range(0, len(tags), _AT_ONCE):
            some = tags[start : start + _AT_ONCE]
            for tag, claim in zip(some, self._call([("HMGET", keys.claims, *some)])[0], strict=True):
                if claim is not None and keys.queue_of(claim.partition(b"\0")[2].decode()) in queues:
                    found.append(float(held[tag]))
        return len(found), max(0.0, max(found) - self._now()) if found else 0.0

    # -- counting

    def _found(self, known: Collection[str]) -> set[str]:
        """The queues, beside those that are known, in which tasks wait: nothing but their lists tells of some of them."""
        if not self._filled.due():
            return self._filled.queues
        began = monotonic()
        keys = self._keys
        found: set[str] = set()
        for names in self._search(keys.prefix, "TYPE", "list"):
            lists = [
                name for name in names if keys.queue_of(name) not in known and not name.startswith(keys.prefix + INBOX)
            ]
            for start in range(0, len(lists), _AT_ONCE):
                some = lists[start : start + _AT_ONCE]
                texts = self._call([("LRANGE", name, -_LOOKED_AT, -1) for name in some])
                for name, each in zip(some, texts, strict=True):
                    queue = keys.queue_of(name)
                    if any(_is_task(queue, text) for text in each):
                        found.add(queue)
        self._filled.done(found, began)
        return found

    def _search(self, start: str, *kind: str) -> Iterator[list[str]]:
        """The names of keys that begin so, in portions; one may come twice."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", start) + "*"
        cursor: Any = b"0"
        while True:
            cursor, names = self._call([("SCAN", cursor, "MATCH", pattern, "COUNT", _SEARCHED, *kind)])[0]
            yield [text for name in names if (text := _readable(name))]
            if cursor == b"0":
                return

    def _dead(self) -> Counter[str]:
        queues = self.dead_queues()
        lengths = self._call([("HLEN", self._keys.dead + queue) for queue in queues]) if queues else []
        return Counter(dict(zip(queues, lengths, strict=True)))

    def _parked(self) -> Counter[str]:
        found: Counter[str] = Counter()
        keys = self._keys
        start = 0
        while sources := self._call(
            [("EVAL", SOURCES.source, 2, keys.parked, keys.delayed, start, start + _AT_ONCE - 1)]
        )[0]:
            found.update(keys.queue_of(source.decode()) for source in sources)
            start += _AT_ONCE
        return found

    def _claimed(self) -> Counter[str]:
        """What workers hold: of ours, with what lies in their inboxes, and of Celery's by the routing key."""
        keys = self._keys
        claims = self._pairs(self._call([("HGETALL", keys.claims)])[0])
        found = Counter(keys.queue_of(claim.partition(b"\0")[2].decode()) for claim in claims.values())
        inboxes = [(owner, source) for owner, source, _ in self._inboxes()]
        if inboxes:
            lengths = self._call([("LLEN", keys.inbox(owner, source)) for owner, source in inboxes])
            for (_, source), length in zip(inboxes, lengths, strict=True):
                found[keys.queue_of(source)] += length
        theirs = [tag for tag in self._call([("ZRANGE", keys.unacked_index, 0, -1)])[0] if tag not in claims]
        for start in range(0, len(theirs), _AT_ONCE):
            some = theirs[start : start + _AT_ONCE]
            routing = self._call([("EVAL", FOREIGN.source, 1, keys.unacked, *some)])[0]
            found.update(key.decode() for key in routing if key)
        return found

    def _inboxes(self) -> list[tuple[str, str, float]]:
        """Owner, list and end of the lease of every inbox."""
        start = self._keys.prefix + INBOX
        found = self._call([("ZRANGE", self._keys.inboxes, 0, -1, "WITHSCORES")])[0]
        rows = []
        for name, until in self._pairs(found).items():
            owner, _, source = name.decode().removeprefix(start).partition("|")
            rows.append((owner, source, float(until)))
        return rows

    # -- moving

    def unpark(self, queues: Collection[str] | None) -> int:
        """Put what is parked into its queues, due or not; how many."""
        keys = self._keys
        lists = [] if queues is None else [key for queue in queues for key in keys.lists(queue)]
        ids = self._call([("ZRANGE", keys.delayed, 0, -1)])[0]
        moved = 0
        for start in range(0, len(ids), _AT_ONCE):
            words = (len(lists), *lists, *ids[start : start + _AT_ONCE])
            moved += self._call([("EVAL", UNPARK.source, 2, keys.parked, keys.delayed, *words)])[0]
        return moved

    def _release(self, queues: Collection[str] | None) -> tuple[int, int, int]:
        """Claims and inboxes whose leases are over: how many went back, none dead, how many leases still hold."""
        keys = self._keys
        now = self._now()
        released = held = 0
        for owner, source, until in self._inboxes():
            if queues is None or keys.queue_of(source) in queues:
                inbox = keys.inbox(owner, source)
                if until > now:
                    held += self._call([("LLEN", inbox)])[0]
                    continue
                while self._call([("LMOVE", inbox, source, "LEFT", "RIGHT")])[0] is not None:
                    released += 1
                self._call([("ZREM", keys.inboxes, inbox)])
        leases = [*self._pairs(self._call([("ZRANGE", keys.leases, 0, -1, "WITHSCORES")])[0]).items()]
        for end in range(len(leases), 0, -_AT_ONCE):
            done, kept = self._release_some(leases[max(0, end - _AT_ONCE) : end], now, queues)
            released, held = released + done, held + kept
        return released, 0, held

    def _release_some(
        self, leases: Sequence[tuple[bytes, bytes]], now: float, queues: Collection[str] | None
    ) -> tuple[int, int]:
        keys = self._keys
        tags = [tag for tag, _ in leases]
        claims, entries = self._call([("HMGET", keys.claims, *tags), ("HMGET", keys.unacked, *tags)])
        released = held = 0
        # from the youngest to the oldest, so that the oldest comes first again
        for (tag, until), claim, entry in reversed([*zip(leases, claims, entries, strict=True)]):
            if claim is None:
                continue
            head, _, source = claim.partition(b"\0")
            if queues is not None and keys.queue_of(source.decode()) not in queues:
                continue
            if float(until) > now:
                held += 1
                continue
            text = envelope.redelivered(envelope.entry_envelope(entry)) if entry else b""
            places = (keys.unacked, keys.unacked_index, keys.leases, keys.claims)
            done = self._call([("EVAL", RESTORE.source, len(places), *places, tag, text)])[0]
            if done and entry:
                released += 1
                self._call([("HDEL", keys.starts, head[1:])])  # Celery's workers would never forget the count
        return released, held

    # -- small

    def _now(self) -> float:
        seconds, microseconds = self._call([("TIME",)])[0]
        return int(seconds) + int(microseconds) / 1e6

    @staticmethod
    def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
        return dict(zip(flat[::2], flat[1::2], strict=True))


def _readable(name: bytes) -> str:
    """A key of somebody else's in the same database may be no text."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""


def _is_task(queue: str, text: bytes) -> bool:
    """Whether it is the message of a task, told by its headers or, of protocol 1, by its body; and sent to this queue, not to one
    of an app with a `global_keyprefix`, of whose name this one is a longer form."""
    try:
        message = envelope.decode(text)
    except DecodeError:
        return False
    where = message.properties.get("delivery_info")
    key = where.get("routing_key") if isinstance(where, dict) else None
    if isinstance(key, str) and key and queue != key and queue.endswith(key):
        return False
    if "task" in message.headers:
        return True
    try:
        body = msgspec.json.decode(message.body)
    except msgspec.DecodeError:
        return False
    return isinstance(body, dict) and "task" in body and "args" in body
