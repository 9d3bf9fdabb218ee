"""`memory://name`: results inside one process, for tests; beside the broker of the same name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multi.backends.base import Backend
from multi.connections.memory import hub
from multi.errors import BackendUnavailable
from multi.store import Store


class MemoryBackend(Backend):
    """See `Backend`."""

    shared = False

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, expires: int = 86400) -> None:
        super().__init__(url, options, expires=expires)
        self._hub = hub(url)
        self.place = self._hub.place

    def encode(self, task_id: str, record: bytes, *, reply_to: str | None = None) -> Store:
        return Store(task_id, record, self.expires)

    def store(self, stores: Sequence[Store]) -> None:
        self._hub.guard(BackendUnavailable)
        with self._hub.lock:
            self._hub.record(stores)

    def fetch(self, task_ids: Sequence[str]) -> list[bytes | None]:
        self._hub.guard(BackendUnavailable)
        with self._hub.lock:
            return [found.value if (found := self._hub.look(key)) else None for key in task_ids]

    def wait(self, task_id: str, timeout: float | None, interval: float | None = None) -> Iterator[bytes]:
        self._hub.guard(BackendUnavailable)
        deadline = None if timeout is None else time.monotonic() + timeout
        seen = 0
        while True:
            with self._hub.lock:
                found = self._hub.look(task_id)
                while found is None or found.version == seen:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    self._hub.recorded.wait(left)
                    found = self._hub.look(task_id)
                seen, value = found.version, found.value
            yield value  # not while holding the lock: the reader may take as long as it likes

    def forget(self, task_id: str) -> None:
        with self._hub.lock:
            self._hub.results.pop(task_id, None)

    def close(self) -> None:
        """Nothing is open."""
