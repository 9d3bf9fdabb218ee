"""A child's own way to Redis: one script call settles a batch and claims the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from multi.brokers.base import Delivery, Lane, Settlement
from multi.brokers.consumed import Consumed
from multi.brokers.redis.exchanges import Exchanges
from multi.brokers.redis.scripts import EXCHANGE
from multi.brokers.redis.settling import Words
from multi.connections.redis import Address, Redis, ReplyError, Word, envelope
from multi.errors import BackendUnavailable, BrokerLost, BrokerUnavailable, DecodeError
from multi.store import Storage

#: Settlements, and claims, in one call: a script may unpack some thousand words, and others wait while it runs.
AT_ONCE = 500


class RedisLane(Lane):
    """See `Lane`."""

    def __init__(
        self, address: Address, words: Words, consumed: Consumed, owner: str, lease: float, exchanges: Exchanges
    ) -> None:
        self._exchanges = exchanges
        self._redis = Redis(address)
        self._words = words
        self._consumed = consumed
        self._version = -1
        # tags of more than 64 bytes: with shorter ones Redis keeps the tables of claims as flat lists that every
        # command walks, which more than doubles its work while a node holds some 100 claims
        self._owner = owner.ljust(64, "-")
        self._lease = lease
        self._number = 0
        self._doubtful: list[Settlement] = []

    def exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        while len(settlements) > AT_ONCE:
            self._exchange(settlements[:AT_ONCE], 0)
            settlements = settlements[AT_ONCE:]
        return self._exchange(settlements, min(claim, AT_ONCE))

    def _exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        if self._consumed.version != self._version:
            self._version, queues = self._consumed.read()
            self._words = self._words.of(queues)
        words = self._words
        if not words.sources:
            claim = 0
        if words.storage is not None:
            self._store_elsewhere(words.storage, [each for each in settlements if each.stores])
        settlements = self._spread(settlements)
        self._number += 1
        prefix = f"{self._owner}:{self._number}:"
        turn = words.turns[self._number % len(words.turns)]
        keys, arguments = words.exchange([*self._doubtful, *settlements], claim, prefix, self._lease, turn)
        try:
            reply = self._evaluate(keys, arguments)
        except BrokerLost as error:
            if isinstance(error.__cause__, BrokerUnavailable) and not isinstance(error.__cause__, BrokerLost):
                raise  # no connection, so nothing was sent
            # the claim may have happened although its answer never came: hand back whatever it was, next time
            self._doubtful += [
                Settlement(tag := f"{prefix}{i}", tag, "", "requeue", started=False) for i in range(1, claim + 1)
            ]
            raise
        self._doubtful = []
        deliveries: list[Delivery] = []
        for i in range(0, len(reply), 3):
            text: bytes = reply[i]
            starts: int = reply[i + 2]
            tag = f"{prefix}{i // 3 + 1}"
            queue = turn.queues[reply[i + 1] - 1]
            try:
                message = envelope.decode(text)
            except DecodeError as error:
                deliveries.append(Delivery(tag, tag, queue, None, starts, raw=text, fault=str(error)))
                continue
            again = starts > 0 or bool(message.headers.get("redelivered"))
            deliveries.append(Delivery(tag, tag, queue, message, starts, again))
        return deliveries

    def _spread(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """What is published to exchanges, as messages for queues."""
        if not any(each.exchange for s in settlements for each in s.publications):
            return settlements
        return [
            msgspec.structs.replace(
                s, publications=list(self._exchanges.spread(s.publications, self._ask_all, strict=False))
            )
            for s in settlements
        ]

    def _ask_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        return [self._ask(*command) for command in commands]

    def _store_elsewhere(self, storage: Storage, settlements: list[Settlement]) -> None:
        """Record outcomes in another place than Redis, before their messages are acknowledged; none of a lost claim."""
        if not settlements:
            return
        held = self._ask("HMGET", self._words.keys.claims, *[settlement.tag for settlement in settlements])
        stores = [
            store for settlement, claim in zip(settlements, held, strict=True) if claim for store in settlement.stores
        ]
        try:
            if stores:
                storage.store(stores)
        except BackendUnavailable as error:
            raise BrokerLost(str(error)) from error

    def _ask(self, *command: Word) -> list[Any]:
        try:
            reply: list[Any] = self._redis.call(*command)
        except ReplyError as error:
            # the server is there and does not do it: full, read-only after a failover, still loading
            self._redis.close()
            raise BrokerLost(f"{self._redis.address.masked}: {error}") from error
        except BrokerLost:
            raise
        except BrokerUnavailable as error:
            raise BrokerLost(str(error)) from error
        return reply

    def _evaluate(self, keys: Sequence[Word], arguments: Sequence[Word]) -> list[Any]:
        words = (len(keys), *keys, *arguments)
        try:
            return self._ask("EVALSHA", EXCHANGE.digest, *words)
        except BrokerLost as error:
            if "NOSCRIPT" not in str(error):
                raise
            return self._ask("EVAL", EXCHANGE.source, *words)

    def close(self) -> None:
        self._redis.close()
