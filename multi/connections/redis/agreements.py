"""What is agreed on by Redis; see `multi.agreements`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from multi.connections.redis import locks, rates, revoking
from multi.connections.redis.words import Reply, Word


class RedisAgreements:
    """See `Agreements`; `call` sends commands in one round trip, gives their replies and raises what goes wrong."""

    def __init__(self, prefix: str, call: Callable[[Sequence[Sequence[Word]]], list[Reply]]) -> None:
        self._prefix = prefix
        self._call = call

    def reserve(self, name: str, member: str, pause: float) -> tuple[float, float]:
        return rates.turn(self._one(rates.command(self._prefix, name, member, pause)))

    def lock(self, name: str, holder: str, seconds: float, *, take: bool = False) -> str:
        other: bytes = self._one(locks.lock(self._prefix, name, holder, seconds, take))
        return other.decode()

    def unlock(self, name: str, holder: str) -> None:
        self._one(locks.unlock(self._prefix, name, holder))

    def enter(self, name: str, member: str, limit: int, lease: float) -> int:
        return int(self._one(locks.enter(self._prefix, name, member, limit, lease)))

    def leave(self, name: str, member: str) -> None:
        self._one(locks.leave(self._prefix, name, member))

    def keep_revoked(self, marks: Iterable[str], until: float, most: int) -> None:
        self._call(revoking.keep(self._prefix, marks, until, most))

    def revoked(self) -> dict[str, float]:
        return revoking.found(self._one(revoking.ask(self._prefix)))

    def _one(self, command: Sequence[Word]) -> Reply:
        return self._call([command])[0]
