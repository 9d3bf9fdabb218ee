"""Redis as a broker."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from multi.brokers.base import Abilities, Broker, Consumer, DeadLetter, HandedBack, QueueCounts, WatchEvents
from multi.brokers.consumed import Consumed
from multi.brokers.looking import CLAIMED, PARKED, WAITING
from multi.brokers.redis.counting import Counting, Search
from multi.brokers.redis.exchanges import Exchanges
from multi.brokers.redis.looking import RedisLooking
from multi.brokers.redis.settling import Words, publication_words
from multi.brokers.redis.watch import RedisWatch
from multi.connections.redis import Address, PerThread, Redis, ReplyError, envelope
from multi.connections.redis import documents as kept
from multi.connections.redis.agreements import RedisAgreements
from multi.connections.redis.keys import Keys
from multi.connections.redis.talk import RedisTalk
from multi.documents import Answer, Change
from multi.errors import BrokerUnavailable, DecodeError
from multi.loop import Loop
from multi.message import Message
from multi.outcome import Publication
from multi.store import Storage
from multi.topology import FANOUT

#: Messages sent in one command.
BULK = 500


class RedisBroker(RedisLooking, Broker):
    """Celery's transport on Redis or Valkey, with leases beside it; see `Broker`.

    `options` are `broker_transport_options`: global_keyprefix, priority_steps, sep, unacked_key, unacked_index_key,
    fanout_prefix, fanout_patterns, socket_timeout, socket_connect_timeout.
    """

    abilities = Abilities(
        fanout=True,
        foreign=True,
        peeks=(WAITING, PARKED, CLAIMED),
        moves="atomic",
        bindings=True,
        once=True,
    )

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, lease: float = 30.0) -> None:
        super().__init__(url, options, lease=lease)
        self._address = Address.from_url(url, self.options)
        self._keys = Keys.from_options(self.options)
        self._connections = PerThread(self._address)
        self.talk = RedisTalk(self._address, self._keys, self._connections)
        self.agreements = RedisAgreements(self._keys.prefix, self._call)
        self._exchanges: Exchanges | None = None
        self._search = Search()

    def watch(
        self, loop: Loop, queues: Sequence[str], storage: Storage | None, owner: str, events: WatchEvents
    ) -> RedisWatch:
        words = Words(self._keys, queues, self._address, storage, owner)
        exchanges = Exchanges(self._keys, self.topology, self._address.db)
        return RedisWatch(
            loop, self._address, self._keys, words, Consumed(queues), owner, self.lease, events, exchanges, self._call
        )

    def publish(self, publications: Sequence[Publication]) -> None:
        publications = self.exchanges.spread(publications, self._call, strict=True)
        redis = self._connections.get()
        for start in range(0, len(publications), BULK):
            self._send(redis, publications[start : start + BULK])

    def publish_once(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        sent = [self._words(each.publications) if each.publications else [] for each in changes]
        keys = self._keys
        answers: list[Answer] = []
        for start in range(0, len(changes), kept.BULK):
            some = changes[start : start + kept.BULK]
            words = sent[start : start + kept.BULK]
            command = kept.change(keys.prefix, shelf, some, tell, words, parked=keys.parked, delayed=keys.delayed)
            answers += kept.answers(some, self._call([command])[0])
        return answers

    def _words(self, publications: Sequence[Publication]) -> list[kept.Sent]:
        """Publications as the script takes them; what is for all is said on its channel."""
        said: list[kept.Sent] = []
        exchanges = self.exchanges
        left = []
        for each in publications:
            if each.exchange and self.topology.kind(each.exchange) == FANOUT:
                text = envelope.encode(each.message, each.queue, exchange=each.exchange)[1]
                said.append(("", text, "", exchanges.channel(each.exchange, each.queue)))
            else:
                left.append(each)
        return said + [publication_words(self._keys, each) for each in exchanges.spread(left, self._call, strict=True)]

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        wanted = None if names is None else list(names)
        return kept.found(wanted, self._call(kept.ask(self._keys.prefix, shelf, wanted)))

    def shelves(self) -> list[str]:
        return kept.shelves(self._keys.prefix, lambda command: self._call([command])[0])

    def revision(self, shelf: str) -> int:
        return self.documents(shelf, ())[0]

    @property
    def exchanges(self) -> Exchanges:
        """The exchanges that the present topology knows."""
        found = self._exchanges
        if found is None or found.topology is not self.topology:
            found = self._exchanges = Exchanges(self._keys, self.topology, self._address.db)
        return found

    def _send(self, redis: Redis, publications: Sequence[Publication]) -> None:
        keys = self._keys
        lists: dict[str, list[bytes]] = {}
        commands: list[list[Any]] = []
        for publication in publications:
            key, text, due, tag = publication_words(keys, publication)
            if due:
                commands.append(["HSET", keys.parked, tag, key.encode() + b"\0" + text])
                commands.append(["ZADD", keys.delayed, due, tag])
            else:
                lists.setdefault(key, []).append(text)
        commands += [["LPUSH", key, *texts] for key, texts in lists.items()]
        for reply in redis.pipeline_again(commands):
            if isinstance(reply, ReplyError):
                raise BrokerUnavailable(f"{self._address.masked}: the message was not taken: {reply}") from reply

    def check(self) -> None:
        redis = Redis(self._address)
        try:
            redis.connect()
        finally:
            redis.close()

    def depth(self, queue: str) -> int:
        return sum(self._call([("LLEN", key) for key in self._keys.lists(queue)]))

    def purge(self, queue: str) -> int:
        lists = self._keys.lists(queue)
        counts = self._call([("MULTI",), *[("LLEN", key) for key in lists], ("DEL", *lists), ("EXEC",)])[-1]
        return sum(counts[:-1])

    def dead(self, queue: str) -> list[DeadLetter]:
        found = self._call([("HGETALL", self._keys.dead + queue)])[0]
        letters = [self._letter(queue, found[i], found[i + 1]) for i in range(0, len(found), 2)]
        return sorted(letters, key=lambda letter: letter.time)

    def _letter(self, queue: str, tag: bytes, value: bytes) -> DeadLetter:
        note, starts, _, text = value.split(b"\0", 3)
        told: dict[str, Any] = msgspec.json.decode(note)
        message: Message | None
        try:
            message = envelope.decode(text)
        except DecodeError:
            message = None
        headers = message.headers if message is not None else {}
        return DeadLetter(
            id=tag.decode(),
            queue=queue,
            task=str(headers.get("task", "")),
            task_id=str(headers.get("id", "")),
            reason=told["reason"],
            detail=told["detail"],
            starts=int(starts),
            time=told["time"],
            message=message,
        )

    def replay(self, queue: str, ids: Iterable[str] | None = None) -> int:
        key = self._keys.dead + queue
        wanted = None if ids is None else set(ids)
        found = self._call([("HGETALL", key)])[0]
        letters = [(found[i], *found[i + 1].split(b"\0", 3)) for i in range(0, len(found), 2)]
        letters.sort(key=lambda letter: _time(letter[1]))
        count = 0
        for tag, _, _, source, text in letters:
            if wanted is None or tag.decode() in wanted:
                # whoever removes the letter sends it: two replays at once send it once
                count += int(self._call([("EVAL", _REPLAY, 2, key, source, tag, text)])[0])
        return count

    def purge_dead(self, queue: str, ids: Iterable[str] | None = None) -> int:
        key = self._keys.dead + queue
        if ids is None:
            return int(self._call([("MULTI",), ("HLEN", key), ("DEL", key), ("EXEC",)])[-1][0])
        tags = list(ids)
        return sum(
            int(self._call([("HDEL", key, *tags[start : start + BULK])])[0]) for start in range(0, len(tags), BULK)
        )

    def counts(self, queues: Iterable[str]) -> list[QueueCounts]:
        return Counting(self._keys, self._call, self._search).counts(queues)

    def consumers(self, queues: Collection[str] | None = None) -> list[Consumer]:
        return Counting(self._keys, self._call).consumers(queues)

    def hand_back(self, queues: Collection[str] | None = None, *, dead: bool = False) -> HandedBack:
        counting = Counting(self._keys, self._call)
        found = counting.hand_back(queues)
        if dead:
            found.dead = sum(self.replay(queue) for queue in (counting.dead_queues() if queues is None else queues))
        return found

    def _call(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        replies = self._connections.get().pipeline_again(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise BrokerUnavailable(f"{self._address.masked}: {reply}") from reply
        return replies

    def close(self) -> None:
        self._connections.close()


def _time(note: bytes) -> float:
    return float(msgspec.json.decode(note)["time"])


_REPLAY = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
return 1
"""
