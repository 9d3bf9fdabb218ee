"""What is agreed on inside one process; see `multi.agreements`."""

from __future__ import annotations

import time
from collections.abc import Iterable

from multi.connections.memory import Hub
from multi.errors import BrokerRefused, MultiError


class MemoryAgreements:
    """See `Agreements`; in another process than the hub's, `failure` is raised."""

    def __init__(self, hub: Hub, failure: type[MultiError] = BrokerRefused) -> None:
        self._hub = hub
        self._failure = failure

    def reserve(self, name: str, member: str, pause: float) -> tuple[float, float]:
        # its turns are in shared memory, so that forked children may ask
        wait = self._hub.turns(name, pause).reserve(member)
        return wait, time.time() + wait if wait else 0.0

    def lock(self, name: str, holder: str, seconds: float, *, take: bool = False) -> str:
        return self._hub.take_lock(name, holder, seconds, take)

    def unlock(self, name: str, holder: str) -> None:
        self._hub.give_lock(name, holder)

    def enter(self, name: str, member: str, limit: int, lease: float) -> int:
        return self._hub.enter(name, member, limit, lease)

    def leave(self, name: str, member: str) -> None:
        self._hub.leave(name, member)

    def keep_revoked(self, marks: Iterable[str], until: float, most: int) -> None:
        self._hub.guard(self._failure)
        self._hub.keep_revoked(marks, until, most)

    def revoked(self) -> dict[str, float]:
        self._hub.guard(self._failure)
        return self._hub.revoked()
