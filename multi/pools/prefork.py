"""Prefork: as many children as the concurrency says, each running one task at a time."""

from __future__ import annotations

from multi.pools.base import Pool


class Prefork(Pool):
    """The default; right for what computes, and for whatever may have to be killed."""

    name = "prefork"

    def children(self, concurrency: int) -> int:
        return concurrency

    def entries(self, concurrency: int) -> int:
        return 64
