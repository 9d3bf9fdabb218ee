"""The entries as one scheduler knows them, in the order in which they are due."""

from __future__ import annotations

import heapq
import itertools

import msgspec

from multi.app.schedules.entry import Entry
from multi.app.timetable.document import Document


class Item(msgspec.Struct):
    """An entry as it is known: `entry` is None where only other code can send it. `ticket` is that of its place in the heap, 0
    for none."""

    name: str
    value: bytes
    document: Document
    entry: Entry | None
    due: float | None = None
    ticket: int = 0


class Agenda:
    """Items by name; each has at most one valid place in the heap."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._tickets = itertools.count(1)

    def place(self, item: Item, moment: float | None) -> None:
        """Have an item due at a moment, and at no other; None: never."""
        item.due, item.ticket = moment, 0
        if moment is not None:
            item.ticket = next(self._tickets)
            heapq.heappush(self._heap, (moment, item.ticket, item.name))

    @property
    def next(self) -> tuple[float, str] | None:
        """When something is due next, and what."""
        while self._heap:
            moment, ticket, name = self._heap[0]
            item = self.items.get(name)
            if item is not None and item.ticket == ticket:
                return moment, name
            heapq.heappop(self._heap)
        return None

    def take(self, until: float, most: int) -> list[Item]:
        """Up to `most` items that are due by then, the first ones first; they have no place any more."""
        found: list[Item] = []
        while len(found) < most and (first := self.next) is not None and first[0] <= until:
            heapq.heappop(self._heap)
            item = self.items[first[1]]
            item.ticket = 0
            found.append(item)
        return found
