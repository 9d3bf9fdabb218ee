"""Looking into the queues of `memory://`, and moving what lies in them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable

from multi.brokers.looking import BATCH, CLAIMED, PARKED, WAITING, Binding, Looking, Seen, Send, Wanted
from multi.brokers.packing import unpack
from multi.connections.memory import Entry, Hub
from multi.errors import DecodeError


class MemoryLooking(Looking):
    """See `Looking`."""

    _hub: Hub

    def peek(self, queue: str, limit: int, where: str = WAITING) -> list[Seen]:
        hub = self._hub
        with hub.lock:
            if where == WAITING:
                found = [_seen(entry) for _, entry in heapq.nsmallest(limit, hub.waiting(queue))]
            elif where == PARKED:
                some = heapq.nsmallest(limit, [each for each in hub.all_parked() if each[2].queue == queue])
                found = [_seen(entry, due) for due, _, entry in some]
            elif where == CLAIMED:
                held = [entry for entry in hub.claimed.values() if entry.queue == queue]
                found = [_seen(entry) for entry in sorted(held, key=lambda entry: entry.order)[:limit]]
            else:
                raise ValueError(f"no place is called {where!r}")
        return found

    def oldest(self, queues: Iterable[str]) -> dict[str, float]:
        with self._hub.lock:
            heaps = {queue: heap for queue in queues if (heap := self._hub.waiting(queue))}
            return {queue: min(entry.since for _, entry in heap) for queue, heap in heaps.items()}

    def move(self, source: str, target: str, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        hub = self._hub
        hub.guard()
        moved: list[Entry] = []
        with hub.lock:
            for _, entry in sorted(hub.waiting(source)):
                if limit is not None and len(moved) >= limit:
                    break
                if wanted is None or _wanted(entry, wanted):
                    moved.append(entry)
            hub.transfer(source, target, moved)
            hub.wake(Counter({target: len(moved)}))
        return len(moved)

    def hand_over(self, queue: str, send: Send, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        hub = self._hub
        hub.guard()
        with hub.lock:
            chosen = [
                entry
                for _, entry in sorted(hub.waiting(queue))
                if _seen(entry).message is not None and (wanted is None or _wanted(entry, wanted))
            ]
        del chosen[len(chosen) if limit is None else limit :]
        done = 0
        for start in range(0, len(chosen), BATCH):
            with hub.lock:
                numbers = {entry.number for _, entry in hub.waiting(queue)}
                batch = [entry for entry in chosen[start : start + BATCH] if entry.number in numbers]
                hub.take(queue, batch)
            try:
                send([unpack(entry.envelope) for entry in batch])
            except BaseException:
                with hub.lock:
                    for entry in batch:
                        hub.put(entry)
                    hub.wake(Counter({queue: len(batch)}))
                raise
            done += len(batch)
        return done

    def unpark(self, queues: Collection[str] | None = None) -> int:
        hub = self._hub
        hub.guard()
        wakes: Counter[str] = Counter()
        with hub.lock:
            hub.bring_all(queues, wakes)
            count = wakes.total()
            hub.wake(wakes)
        return count

    def bindings(self) -> list[Binding]:
        with self._hub.lock:
            return sorted(
                Binding(exchange, queue, key) for exchange, rows in self._hub.bindings.items() for key, _, queue in rows
            )


def _seen(entry: Entry, due: float = 0.0) -> Seen:
    found = Seen(None, entry.since or None, due, entry.starts, entry.redelivered)
    try:
        found.message = unpack(entry.envelope)
    except DecodeError as error:
        found.fault = str(error)
    return found


def _wanted(entry: Entry, wanted: Wanted) -> bool:
    try:
        return wanted(unpack(entry.envelope))
    except DecodeError:
        return False
