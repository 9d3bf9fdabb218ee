"""The seam of the pools: how many children a worker has, and how each of them runs tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Pool(ABC):
    """Says what to fork; the worker forks, watches, replaces and kills the children.

    `loop` names the way in which a child runs tasks: "serial" (one at a time), "threads" or "asyncio" (many at once).
    `limits` tells whether a running task can be ended by force without harm to others.
    """

    name: str = ""
    loop: str = "serial"
    limits: bool = True

    @abstractmethod
    def children(self, concurrency: int) -> int:
        """How many children to fork for this concurrency."""

    @abstractmethod
    def entries(self, concurrency: int) -> int:
        """How many messages one child may hold at most."""
