"""Exchanges on Redis, as kombu keeps them: a set of bindings for each, and a channel for those that send to all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from multi.brokers.bindings import spread
from multi.connections.redis import envelope
from multi.connections.redis.channels import Channels, escaped
from multi.connections.redis.keys import Keys
from multi.outcome import Publication
from multi.topology import FANOUT, TOPIC, Queue, Topology, pattern

#: Sends commands and gives their replies; raises what its caller raises where the server doesn't take one.
Call = Callable[[Sequence[Sequence[Any]]], list[Any]]


class Exchanges:
    """What one process knows of them; `db` is the number of the database, which is part of the channels' names."""

    def __init__(self, keys: Keys, topology: Topology, db: int) -> None:
        self.topology = topology
        self._keys = keys
        self._channels = Channels(keys, db)
        self._bound: set[str] = set()

    def channel(self, exchange: str, key: str) -> str:
        """The channel of a fanout exchange, by which Celery's workers and ours are reached."""
        return self._channels.name(exchange, key)

    def binding(self, queue: str) -> list[tuple[str, str, str]]:
        """The commands that write down how a queue is bound; Celery's tools find queues by that.

        The second set keeps a sweeping peer from removing the first. What is sent to all needs none.
        """
        commands = []
        for each in self.topology.bindings(queue):
            if each.exchange.name and each.exchange.type != FANOUT:
                commands += self._row(each.exchange.name, each.exchange.type, each.routing_key, queue)
        return commands

    def _row(self, exchange: str, kind: str, key: str, queue: str) -> list[tuple[str, str, str]]:
        member = self._keys.separator.join((key, pattern(key) if kind == TOPIC else "", queue))
        return [
            ("SADD", f"{self._keys.prefix}{table}{exchange}", member)
            for table in ("_kombu.binding.", "_kombu.binding_permanent.")
        ]

    def spread(self, publications: Sequence[Publication], call: Call, *, strict: bool) -> Sequence[Publication]:
        """What is for an exchange, as messages for the queues that take it; what is for all is sent here and now."""
        if not any(each.exchange for each in publications):
            return publications
        left = []
        for each in publications:
            if each.exchange and self.topology.kind(each.exchange) == FANOUT:
                text = envelope.encode(each.message, each.queue, exchange=each.exchange)[1]
                call([("PUBLISH", self.channel(each.exchange, each.queue), text)])
            else:
                left.append(each)

        def table(exchange: str) -> list[list[str]]:
            commands: list[tuple[str, ...]] = []
            if exchange not in self._bound:
                kind = self.topology.kind(exchange) or ""
                for key, queue in self.topology.bound(exchange):
                    commands += self._row(exchange, kind, key, queue)
            commands.append(("SMEMBERS", f"{self._keys.prefix}_kombu.binding.{exchange}"))
            members = call(commands)[-1]
            self._bound.add(exchange)
            rows = [member.decode().split(self._keys.separator) for member in members]
            return [row for row in rows if len(row) == 3]

        return spread(left, self.topology, table, strict=strict)

    def followed(self, queues: Sequence[str]) -> dict[str, list[Queue]]:
        """The channels to be heard, as patterns, and the queues that get what comes there: whatever its routing key is."""
        found: dict[str, list[Queue]] = {}
        for name in queues:
            queue = self.topology.queues.get(name)
            for exchange in queue.fed if queue is not None else ():
                plain = escaped(self.channel(exchange, ""))
                for channel in (plain, f"{plain}/*"):
                    found.setdefault(channel, []).append(self.topology.queues[name])
        return found
