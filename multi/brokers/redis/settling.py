"""The arguments of the exchange script: what lanes and the watch say in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

import msgspec

from multi.brokers.base import Settlement
from multi.connections.redis import Address, Word, envelope
from multi.connections.redis.keys import Keys
from multi.outcome import Publication
from multi.store import Storage


class Words:
    """Builds calls of the exchange script for one worker's queues."""

    def __init__(
        self, keys: Keys, queues: Sequence[str], address: Address, storage: Storage | None, owner: str
    ) -> None:
        self.keys = keys
        self._rest = (address, storage, owner)
        #: every list to claim from, by priority first, and the queue it belongs to
        self.sources = [(keys.step(queue, step), queue) for step in keys.steps for queue in queues]
        self.inboxes = [keys.inbox(owner, source) for source, _ in self.sources]
        #: where results are stored by others than this script; None when it stores them itself
        self.storage = storage
        self.results_db: Word = ""
        if storage is not None and storage.place.rpartition("/")[0] == address.server:
            self.storage = None
            db = storage.place.rpartition("/")[2]
            self.results_db = "" if db == str(address.db) else db
        self._own_db = address.db
        fixed = (
            *(keys.unacked, keys.unacked_index, keys.leases, keys.claims, keys.starts),
            *(keys.parked, keys.delayed, keys.dead),
        )
        #: the order in which the queues are asked changes with every claim, so that a long one starves no other; without
        #: any queue there is one turn, good for settling only
        self.turns = [Turn(self, keys, fixed, turn, len(queues)) for turn in range(len(queues) or 1)]

    def of(self, queues: Sequence[str]) -> Words:
        """The same worker's words when it claims from other queues."""
        return Words(self.keys, queues, *self._rest)

    def exchange(
        self, settlements: Sequence[Settlement], claim: int, prefix: str, lease: float, turn: Turn
    ) -> tuple[list[Word], list[Word]]:
        """Keys and arguments of one call."""
        arguments: list[Word] = [lease, claim, prefix, self.results_db, self._own_db, *turn.suffixes]
        arguments.append(len(settlements))
        for settlement in settlements:
            self._settlement(settlement, arguments)
        return turn.keys, arguments

    def _settlement(self, settlement: Settlement, arguments: list[Word]) -> None:
        started: Word = 1 if settlement.started else 0
        extra: Word = ""
        verb = settlement.verb
        if verb == "park":
            extra = settlement.due
        elif verb == "bury":
            started = note(settlement)
            extra = ("1" if settlement.started else "0") + settlement.queue
        stores = settlement.stores if self.storage is None else ()
        arguments += (settlement.tag, verb, started, extra, len(stores), len(settlement.publications))
        for store in stores:
            arguments += (store.key, store.value, store.expires)
        for publication in settlement.publications:
            arguments += publication_words(self.keys, publication)


class Turn:
    """One order of the queues: keys and suffixes as the script takes them, and whose queue each pair of keys is."""

    def __init__(self, words: Words, keys: Keys, fixed: Sequence[str], turn: int, queues: int) -> None:
        self.keys: list[Word] = list(fixed)
        self.queues: list[str] = []
        for step in range(len(keys.steps)):
            for place in range(queues):
                index = step * queues + (place + turn) % queues
                source, queue = words.sources[index]
                self.keys += [words.inboxes[index], source]
                self.queues.append(queue)
        suffixes = [b',"",' + msgspec.json.encode(queue) + b"]" for queue in self.queues]
        self.suffixes: list[Word] = [len(suffixes), *suffixes]


def note(settlement: Settlement) -> bytes:
    """What is written beside a dead letter."""
    return msgspec.json.encode({"reason": settlement.reason, "detail": settlement.detail, "time": time()})


def publication_words(keys: Keys, publication: Publication) -> tuple[str, bytes, float | str, str]:
    """Queue key, envelope, due and id of one publication."""
    message = publication.message
    tag, text = envelope.encode(message, publication.queue)
    key = keys.queue(publication.queue, message.properties.get("priority"))
    return key, text, publication.due or "", tag
