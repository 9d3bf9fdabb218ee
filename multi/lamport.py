"""A logical clock: it orders what processes tell of, where their own clocks don't agree.

Every event and every answer of remote control carries its value. Whoever sends moves it on, and whoever receives moves it
beyond what has come, so that what follows something always has the larger number.
"""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from threading import Lock
from typing import Any


class Clock:
    """A Lamport clock that a process shares with those that it forks.

    Its memory holds two numbers, each written in one piece: the latest that was received, by whoever receives, and the latest
    that was given out, by anybody. No process waits for another one, so two of them may give out the same number (readers tell
    them apart by host and process); in one process every number is larger than the one before.
    """

    def __init__(self, value: int = 0) -> None:
        self._shared = memoryview(mmap(-1, 16)).cast("Q")
        self._shared[0] = self._own = value
        self._lock = Lock()

    @property
    def value(self) -> int:
        """The number that was given out or received last."""
        received, given = self._shared
        return max(self._own, received, given)

    def forward(self) -> int:
        """Move on by one; the new number."""
        with self._lock:
            received, given = self._shared
            own = max(self._own, received, given) + 1
            self._own = self._shared[1] = own
            return own

    def adjust(self, other: int) -> int:
        """Move beyond a number that was received; the new number."""
        with self._lock:
            own = max(self.value, other) + 1
            self._own = self._shared[0] = own
            return own

    def ticker(self) -> Ticker:
        """A way to this clock for one thread alone, which costs less."""
        return Ticker(self._shared)

    def sort_heap(self, heap: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        """The first of (number, process, …), which are in the order of their numbers; of equal ones that of the first process."""
        first = heap[0][0]
        return min((entry for entry in heap if entry[0] == first), key=lambda entry: entry[1])

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return f"<Clock: {self.value}>"


class Ticker:
    """Gives out numbers of a clock to one thread, as if that were a process of its own."""

    __slots__ = ("_own", "_shared")

    def __init__(self, shared: memoryview[int]) -> None:
        self._shared = shared
        self._own = 0

    def forward(self, count: int = 1) -> int:
        """Move on by `count` and return the last of the new numbers."""
        shared, own = self._shared, self._own
        if (other := shared[0]) > own:
            own = other
        if (other := shared[1]) > own:
            own = other
        self._own = shared[1] = own = own + count
        return own
