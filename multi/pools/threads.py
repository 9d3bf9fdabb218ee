"""Threads: one child that runs as many tasks at once as the concurrency says, each in a thread."""

from __future__ import annotations

from multi.pools.base import Pool


class Threads(Pool):
    """For tasks that wait in blocking calls. A thread can't be ended by force: no time limits."""

    name = "threads"
    loop = "threads"
    limits = False

    def children(self, concurrency: int) -> int:
        return 1

    def entries(self, concurrency: int) -> int:
        return max(64, 2 * concurrency)
