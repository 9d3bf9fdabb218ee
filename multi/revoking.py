"""Which tasks are revoked: what is kept of them, and the table in which a worker's children look them up.

A mark names what is revoked: one task by its id, or all that carry a stamp. Brokers and backends that can, keep marks for
as long as Celery's workers remember them, so that a task stays revoked when workers restart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from mmap import mmap
from typing import Any

_DIGEST = 16
_HEADER = 16


def life() -> float:
    """So long (s) a task stays revoked, as Celery's workers have it."""
    return _number("CELERY_WORKER_REVOKE_EXPIRES", 10800.0)


def most() -> int:
    """So many marks are kept."""
    return int(_number("CELERY_WORKER_REVOKES_MAX", 50000.0))


def _number(name: str, default: float) -> float:
    try:
        return max(1.0, float(os.environ.get(name) or default))
    except ValueError:
        return default


def of_task(task_id: str) -> str:
    """The mark of one task."""
    return f"id:{task_id}"


def of_stamps(headers: Mapping[str, Any]) -> list[str]:
    """The marks of stamps: a value for each header, or several."""
    return [f"stamp:{header}={value}" for header, values in headers.items() for value in several(values)]


def several(values: Any) -> list[Any]:
    """One value or several, as a list."""
    return list(values) if isinstance(values, list | tuple | set | frozenset) else [values]


def stamps_of(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The stamps that a message carries."""
    stamps = headers.get("stamps")
    return stamps if isinstance(stamps, dict) else {}


class RevokedTable:
    """Marks in memory that a worker shares with its children: it writes, they look.

    `memory[0]` is 0 while nothing is revoked, so that this one byte is all that a task then costs. The marks lie as digests in
    one of two tables; to forget some of them the other one is filled and takes its place.
    """

    def __init__(self, most: int) -> None:
        size = 1
        while size < 2 * most:
            size *= 2
        self._size = size
        self._most = most
        self.memory = mmap(-1, _HEADER + 2 * size * _DIGEST)
        #: what the worker knows of them
        self._marks: dict[str, float] = {}

    def holds(self, task_id: str, headers: Mapping[str, Any]) -> bool:
        """Whether a task is revoked, by its id or by one of its stamps."""
        if self._has(of_task(task_id)):
            return True
        stamps = stamps_of(headers)
        return bool(stamps) and any(map(self._has, of_stamps(stamps)))

    def _has(self, mark: str) -> bool:
        digest = _digest(mark)
        found = self.memory[(at := self._place(digest, self.memory[1])) : at + _DIGEST]
        return found == digest

    def _place(self, digest: bytes, area: int) -> int:
        """Where a digest lies in one of the tables, or would."""
        memory, size = self.memory, self._size
        start = _HEADER + area * size * _DIGEST
        index = int.from_bytes(digest[:8], "little") % size
        while True:
            at = start + index * _DIGEST
            found = memory[at : at + _DIGEST]
            if found in (digest, _NONE):
                return at
            index = (index + 1) % size

    # the worker's side -------------------------------------------------------------------------------------------------

    def add(self, marks: Mapping[str, float]) -> None:
        """Take up marks, each with the moment of its end."""
        for mark, until in marks.items():
            known = mark in self._marks
            self._marks[mark] = max(until, self._marks.get(mark, 0.0))
            if len(self._marks) > self._most:
                # some at once, since the table is then made anew
                oldest = sorted(self._marks, key=self._marks.__getitem__)
                for each in oldest[: 1 + self._most // 10]:
                    del self._marks[each]
                self._rebuild()
            elif not known:
                self._write(mark, self.memory[1])
        if self._marks:
            self.memory[0] = 1

    def forget(self, now: float) -> None:
        """Let go of marks that have come to their end."""
        over = [mark for mark, until in self._marks.items() if until <= now]
        if over:
            for mark in over:
                del self._marks[mark]
            self._rebuild()

    def ids(self) -> list[str]:
        """The ids of the tasks that are revoked, those first that are forgotten first."""
        marks = sorted(self._marks, key=self._marks.__getitem__)
        return [mark[3:] for mark in marks if mark.startswith("id:")]

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, mark: str) -> bool:
        return mark in self._marks

    def _write(self, mark: str, area: int) -> None:
        digest = _digest(mark)
        at = self._place(digest, area)
        self.memory[at : at + _DIGEST] = digest

    def _rebuild(self) -> None:
        other = 1 - self.memory[1]
        start = _HEADER + other * self._size * _DIGEST
        self.memory[start : start + self._size * _DIGEST] = bytes(self._size * _DIGEST)
        for mark in self._marks:
            self._write(mark, other)
        self.memory[1] = other
        if not self._marks:
            self.memory[0] = 0


_NONE = bytes(_DIGEST)


def _digest(mark: str) -> bytes:
    return blake2b(mark.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
