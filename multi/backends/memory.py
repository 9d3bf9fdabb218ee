"""`memory://name`: results inside one process, for tests; beside the broker of the same name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multi.backends.base import Backend, Joined
from multi.connections.memory import hub
from multi.connections.memory_agreements import MemoryAgreements
from multi.errors import BackendUnavailable
from multi.store import Store


class MemoryBackend(Backend):
    """See `Backend`."""

    shared = False
    chords = True

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, expires: int = 86400) -> None:
        super().__init__(url, options, expires=expires)
        self._hub = hub(url)
        self.agreements = MemoryAgreements(self._hub, BackendUnavailable)
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

    def open_chord(self, group_id: str, size: int, tree: bytes | None) -> list[Store]:
        stores = [Store(f"chord:{group_id}", b"%d" % size, self.expires)]
        return [*stores, Store(f"group:{group_id}", tree, self.expires)] if tree is not None else stores

    def extend_chord(self, group_id: str, count: int = 1) -> None:
        with self._hub.lock:
            self._hub.chord(group_id).more += count

    def join_chord(
        self, group_id: str, index: int | None, task_id: str, part: bytes, *, success: bool
    ) -> Joined | None:
        self._hub.guard(BackendUnavailable)
        with self._hub.lock:
            chord = self._hub.chord(group_id)
            place = (1 << 62 if index is None else index, task_id)
            if not chord.completed_by:
                if place not in chord.parts or (success and not chord.parts[place][1]):
                    chord.parts[place] = (part, success)
                size = self._hub.look(f"chord:{group_id}")
                if size is None or len(chord.parts) < int(size.value) + chord.more:
                    return None
                chord.completed_by = place
            if chord.completed_by != place:
                return None
            tree = self._hub.look(f"group:{group_id}")
            return Joined([chord.parts[key][0] for key in sorted(chord.parts)], tree.value if tree else None)

    def save_group(self, group_id: str, record: bytes) -> None:
        self.store([Store(f"group:{group_id}", record, self.expires)])

    def fetch_group(self, group_id: str) -> bytes | None:
        return self.fetch([f"group:{group_id}"])[0]

    def delete_group(self, group_id: str) -> None:
        self.forget(f"group:{group_id}")

    def close(self) -> None:
        """Nothing is open."""
