"""What workers agree on, through a store that all of them see: turns, locks, places, and which tasks are revoked.

A broker or a result backend offers it as its `agreements`; there is one implementation for each kind of store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Agreements(Protocol):
    """The same for all processes that use the store. Each step is one; each raises what its broker or backend raises."""

    def reserve(self, name: str, member: str, pause: float) -> tuple[float, float]:
        """Take a turn under the rate limit `name`, one every `pause` seconds, or come back for it.

        Zeros if it is now; else the seconds to wait, and the moment by the store's clock (a broker's is the one by which
        its parked messages come back). The same `member` gets the turn that it was given; turns are given in the order
        of asking.
        """

    def lock(self, name: str, holder: str, seconds: float, *, take: bool = False) -> str:
        """Take a lock, which ends by itself after so long; the other one who holds it, "" where it is ours now.

        With `take` it is ours in any case, and the answer says who held it.
        """

    def unlock(self, name: str, holder: str) -> None:
        """Give a lock back; nothing happens if it is another one's by now."""

    def enter(self, name: str, member: str, limit: int, lease: float) -> int:
        """Take one of `limit` places for so long (s), or keep the one that is ours; 0 if that is done.

        Else how many wait for a place, who asks now among them.
        """

    def leave(self, name: str, member: str) -> None:
        """Free a place."""

    def keep_revoked(self, marks: Iterable[str], until: float, most: int) -> None:
        """Keep marks of what is revoked (see `multi.revoking`) until that moment (seconds since the epoch); of more than
        `most` the oldest are forgotten."""

    def revoked(self) -> dict[str, float]:
        """The marks that hold, each with its end."""
