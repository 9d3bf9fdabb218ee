"""What workers reply: a list as Celery has it, that also knows who was expected to and didn't."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from warnings import warn

from multi.errors import DuplicateNodenameWarning

#: Why a worker that listens may say that it doesn't answer.
DECLINED = ("stopping", "starting")


class Replies(list[dict[str, Any]]):
    """One mapping `{name of the worker: what it replies}` for each reply, in the order in which they came.

    `listeners` is how many workers listened when they were asked, None where the broker can't tell that. `missing` are those
    of whom it is known by name that they were meant and didn't reply, and `silent` is the number of them all, with those
    whose names aren't known (with a pattern these may be others than it means); None where that isn't known either.
    `there` are those who answered a roll call that followed the request, where there was one, and `all_there` tells
    whether these are all who listen. `declined` are workers that listen and don't answer, with the reason: "stopping" or
    "starting".
    """

    def __init__(self, found: Iterable[dict[str, Any]] = (), listeners: int | None = None) -> None:
        super().__init__(found)
        self.listeners = listeners
        self.missing: list[str] = []
        self.silent: int | None = None
        self.there: set[str] = set()
        self.all_there = False
        self.declined: dict[str, str] = {}
        self._declines = 0

    def decline(self, name: str, reason: str) -> None:
        """Somebody says that he doesn't answer. After a reload he may have the name of one who does."""
        self._declines += 1
        self.declined[name] = reason

    @property
    def heard(self) -> int:
        """From how many listeners something has come."""
        return len(self) + self._declines

    @property
    def names(self) -> set[str]:
        """Who has replied."""
        return {name for reply in self for name in reply}


def flatten_reply(reply: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All replies in one mapping; warns (`DuplicateNodenameWarning`) of names that several workers have."""
    found: dict[str, Any] = {}
    twice: set[str] = set()
    for each in reply:
        twice.update(found.keys() & each.keys())
        found.update(each)
    if twice:
        warn(
            DuplicateNodenameWarning(
                f"several workers go by the same name: {', '.join(sorted(twice))}; give each one of its own with -n, "
                "for only one of their replies is shown"
            ),
            stacklevel=2,
        )
    return found
