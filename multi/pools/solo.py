"""Solo: one child, one task at a time, whatever the concurrency."""

from __future__ import annotations

from multi.pools.prefork import Prefork


class Solo(Prefork):
    """Unlike Celery's, it answers while a task runs: the worker's own process runs no task."""

    name = "solo"

    def children(self, concurrency: int) -> int:
        return 1
