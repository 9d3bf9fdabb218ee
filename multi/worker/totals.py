"""How often each task was begun, counted by the children in memory that they share with their worker."""

from __future__ import annotations

from collections.abc import Iterable
from mmap import mmap

#: Places for tasks that are registered after the start.
_SPARE = 64


class Totals:
    """One row of counters for each child; a row's successive children go on with it."""

    def __init__(self, names: Iterable[str], rows: int) -> None:
        self._names = sorted(names)
        self._width = len(self._names) + _SPARE
        #: where a task is counted; a name that isn't here isn't counted
        self.places = {name: place for place, name in enumerate(self._names)}
        self._memory = mmap(-1, max(1, rows * self._width) * 8)
        self._counts = memoryview(self._memory).cast("Q")

    def row(self, index: int) -> memoryview:
        """The counters of one child, to be written by it alone."""
        return self._counts[index * self._width : (index + 1) * self._width]

    def admit(self, names: Iterable[str]) -> None:
        """Count these, too; before the children are forked that run them."""
        for name in names:
            if name not in self.places and len(self.places) < self._width:
                self.places[name] = len(self.places)

    def of_row(self, index: int) -> int:
        """How many tasks one child and those before it in its row have begun."""
        return sum(self.row(index))

    def by_name(self) -> dict[str, int]:
        """The counts of the tasks that were begun at all."""
        found = {name: sum(self._counts[place :: self._width]) for name, place in self.places.items()}
        return {name: count for name, count in found.items() if count}
