"""Small documents that processes keep together: each is changed only by who knows what it says now.

A shelf holds documents by name, and counts the changes that everybody is to hear of (its revision). Brokers that declare
`once` publish in the same step, backends that declare `keeps` keep documents only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from multi.outcome import Publication


class Change(msgspec.Struct):
    """If the document `name` is `expected` (None: there is none), it becomes `value` (None: it is removed), and
    `publications` are sent; else nothing happens."""

    name: str
    expected: bytes | None
    value: bytes | None
    publications: Sequence[Publication] = ()


class Answer(msgspec.Struct):
    """Whether a change was made, and what the document says now."""

    done: bool
    found: bytes | None


class Keeps(Protocol):
    """What keeps documents."""

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        """The revision, and the documents of these names that there are (None: all)."""

    def shelves(self) -> list[str]:
        """The names of the shelves that have documents, in order. It may look through all that is kept: for people."""

    def revision(self, shelf: str) -> int:
        """How often a change was one to be told."""

    def change(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        """Make changes, each for itself in one step; with `tell` the revision counts each that was made.

        A change that finds its own value there counts as made: it has been, by an attempt whose answer was lost. So a value
        should be one that nobody else writes.
        """
