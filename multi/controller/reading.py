"""Reads the logs of several nodes as one: chosen entries, in the order of their times."""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from multi.controller.entries import LONGEST, Entry, begins, entries
from multi.controller.tail import Tail


class Wanted(NamedTuple):
    """Which entries are wanted: since a time, that match a pattern, of a level or a graver one; the last `limit` lines of
    each node (None: all), and what belongs to the first of them."""

    limit: int | None = None
    since: float | None = None
    pattern: re.Pattern[str] | None = None
    level: int | None = None

    @property
    def is_choosy(self) -> bool:
        """Whether an entry must be looked at as a whole."""
        return self.pattern is not None or self.level is not None

    def takes(self, entry: Entry) -> bool:
        """Whether this entry is wanted, whenever it was."""
        if self.level is not None and (entry.level is None or entry.level < self.level):
            return False
        return self.pattern is None or self.pattern.search("\n".join(entry.text)) is not None


class Piece(NamedTuple):
    """An entry, and whose it is; `lines` are those of it that are to be shown."""

    name: str
    entry: Entry
    lines: list[str]


def past(tails: dict[str, Tail], wanted: Wanted) -> Iterator[Piece]:
    """What is wanted of what the logs hold, in the order of time."""
    return (
        Piece(name, entry, lines)
        for _, _, _, name, entry, lines in heapq.merge(
            *(_timed(number, name, _chosen(tail, wanted)) for number, (name, tail) in enumerate(tails.items()))
        )
    )


def _timed(
    number: int, name: str, found: Iterable[tuple[Entry, list[str]]]
) -> Iterator[tuple[float, int, int, str, Entry, list[str]]]:
    """With their times, by which they are merged; an entry without one comes with the one before it."""
    when = 0.0
    for count, (entry, lines) in enumerate(found):
        when = max(when, entry.when or 0.0)  # also where a clock was set back: the order within a log stays
        yield when, number, count, name, entry, lines


def _chosen(tail: Tail, wanted: Wanted) -> Iterable[tuple[Entry, list[str]]]:
    if wanted.since is not None:
        return _last(_since(tail, wanted, wanted.since), wanted.limit)
    if wanted.limit is None:
        return [pair for part in reversed([[*_of(lines, wanted)] for lines in tail.backwards()]) for pair in part]
    if not wanted.is_choosy:
        return _whole_ones(tail, wanted.limit)
    found: deque[tuple[Entry, list[str]]] = deque()
    missing = wanted.limit
    for lines in tail.backwards():
        if missing <= 0:
            break
        part = [*_last(_of(lines, wanted), missing)]
        missing -= sum(len(shown) for _, shown in part)
        found.extendleft(reversed(part))
    return found


def _whole_ones(tail: Tail, count: int) -> Iterable[tuple[Entry, list[str]]]:
    """The last entries that have so many lines; it is read further back until the first of them has its beginning."""
    more = 20
    while True:
        lines = tail.last(count + more)
        found = [*_last(((entry, entry.text) for entry in entries(lines)), count)]
        if not found or found[0][0].has_header or len(lines) < count + more or more >= LONGEST:
            return found
        more *= 4


def _of(lines: Iterable[str], wanted: Wanted) -> Iterator[tuple[Entry, list[str]]]:
    return ((entry, entry.text) for entry in entries(lines) if wanted.takes(entry))


def _since(tail: Tail, wanted: Wanted, since: float) -> Iterator[tuple[Entry, list[str]]]:
    is_reached = True  # a program that tells no times is not to be silent
    for entry in entries(tail.since(since, moment)):
        # what bears no time is from the time of what came before it
        is_reached = is_reached if entry.when is None else entry.when >= since
        if is_reached and wanted.takes(entry):
            yield entry, entry.text


def _last(found: Iterable[tuple[Entry, list[str]]], count: int | None) -> Iterable[tuple[Entry, list[str]]]:
    """The last ones, until they have so many lines; each of them whole."""
    if count is None:
        return found
    kept: deque[tuple[Entry, list[str]]] = deque()
    lines = 0
    for pair in found:
        kept.append(pair)
        lines += len(pair[1])
        while kept and lines - len(kept[0][1]) >= count:
            lines -= len(kept.popleft()[1])
    return kept if count else ()


def moment(line: str) -> float | None:
    """The time that a line bears."""
    return Entry(line).when


class Stream:
    """What is added to one log, entry by entry."""

    def __init__(self, name: str, tail: Tail, wanted: Wanted) -> None:
        self._name = name
        self._tail = tail
        self._wanted = wanted
        self._current: Entry | None = None
        self._is_wanted = False

    def more(self) -> Iterator[Piece]:
        """What is wanted of what came since. An entry is written in one go; lines that come to it later are judged by what it
        was, or by themselves."""
        fresh: Entry | None = None
        late: list[str] = []
        for line in self._tail.more():
            before = len(self._current.lines) if self._current is not None else 0
            entry = begins(line, self._current)
            if entry is None:
                if fresh is None and self._current is not None and len(self._current.lines) > before:
                    late.append(self._current.lines[-1])
                continue
            yield from self._late(late)
            late = []
            yield from self._whole(fresh)
            self._current = fresh = entry
        yield from self._late(late)
        yield from self._whole(fresh)

    def _whole(self, entry: Entry | None) -> Iterator[Piece]:
        if entry is None:
            return
        self._is_wanted = self._wanted.takes(entry)
        if self._is_wanted:
            yield Piece(self._name, entry, entry.text)

    def _late(self, lines: list[str]) -> Iterator[Piece]:
        if not lines or self._current is None:
            return
        if not self._is_wanted and self._wanted.pattern is not None and self._wanted.level is None:
            self._is_wanted = self._wanted.pattern.search("\n".join(lines)) is not None
        if self._is_wanted:
            yield Piece(self._name, self._current, lines)
