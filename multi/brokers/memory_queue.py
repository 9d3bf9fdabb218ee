"""The queues of `memory://`: what producers, lanes and watches do to the store of one process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from multi.brokers.base import DeadLetter, Delivery, Settlement
from multi.brokers.bindings import Row, known, spread
from multi.brokers.packing import pack, rank, unpack
from multi.connections.memory import Dead, Entry, Hub
from multi.errors import DecodeError
from multi.message import Message
from multi.outcome import Publication
from multi.store import Storage
from multi.topology import Topology

Packed = tuple[str, int, bytes, float]


def pack_all(publications: Iterable[Publication]) -> list[Packed]:
    return [(p.queue, rank(p.message), pack(p.message), p.due) for p in publications]


def send(hub: Hub, made: Sequence[Packed]) -> None:
    wakes: Counter[str] = Counter()
    parks = False
    for queue, place, envelope, due in made:
        if due:
            hub.parked(queue, place, envelope, due)
            parks = True
        else:
            hub.add(queue, place, envelope)
            wakes[queue] += 1
    hub.wake(wakes)
    if parks:
        hub.nudge()


def spread_all(
    hub: Hub, publications: Sequence[Publication], topology: Topology, *, strict: bool
) -> Sequence[Publication]:
    """What is for an exchange, as messages for the queues that take it."""

    def table(exchange: str) -> list[Row]:
        with hub.lock:
            rows = hub.bindings.setdefault(exchange, set())
            rows.update(known(topology, exchange))
            return list(rows)

    return spread(publications, topology, table, strict=strict)


def settle(hub: Hub, storage: Storage | None, settlements: Sequence[Settlement], topology: Topology) -> None:
    """Carry out settlements: stores elsewhere first, then all the rest in one step."""
    if not settlements:
        return
    here = storage is not None and storage.place == hub.place
    made = [pack_all(spread_all(hub, s.publications, topology, strict=False)) for s in settlements]
    if storage is not None and not here:
        with hub.lock:
            stores = [store for s in settlements if hub.held(s.tag, s.fence) for store in s.stores]
        if stores:
            storage.store(stores)
    wakes: Counter[str] = Counter()
    with hub.lock:
        for s, publications in zip(settlements, made, strict=True):
            entry = hub.held(s.tag, s.fence)
            if entry is None:
                continue
            if here and s.stores:
                hub.record(s.stores)
            hub.drop(entry, started=s.started)
            if s.verb == "requeue":
                if s.started:
                    hub.add(entry.queue, entry.rank, entry.envelope, starts=entry.starts, redelivered=True)
                else:
                    entry.redelivered = True
                    hub.put(entry)  # its number is lower than that of all who came later: that is the front
                wakes[entry.queue] += 1
            elif s.verb == "park":
                hub.park(entry, s.due)
                hub.nudge()
            elif s.verb == "bury":
                hub.dead[entry.number] = Dead(entry, s.reason, s.detail, time.time())
            elif s.verb != "ack":
                raise ValueError(f"unknown verb {s.verb!r}")
            send(hub, publications)
        hub.wake(wakes)


def delivery(entry: Entry) -> Delivery:
    tag = str(entry.number)
    try:
        message = unpack(entry.envelope)
    except DecodeError as error:
        return Delivery(
            tag, entry.fence, entry.queue, None, entry.starts, entry.redelivered, entry.envelope, str(error)
        )
    return Delivery(tag, entry.fence, entry.queue, message, entry.starts, entry.redelivered)


def letter(dead: Dead) -> DeadLetter:
    entry = dead.entry
    try:
        message: Message | None = unpack(entry.envelope)
    except DecodeError:
        message = None
    headers = message.headers if message is not None else {}
    return DeadLetter(
        id=str(entry.number),
        queue=entry.queue,
        task=str(headers.get("task", "")),
        task_id=str(headers.get("id", "")),
        reason=dead.reason,
        detail=dead.detail,
        starts=entry.starts,
        time=dead.time,
        message=message,
    )
