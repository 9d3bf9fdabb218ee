"""Asyncio: one child that runs as many `async def` tasks at once as the concurrency says, on one event loop."""

from __future__ import annotations

from multi.pools.threads import Threads


class Asyncio(Threads):
    """For tasks that wait on the network. A time limit cancels the task; other tasks of the child go on."""

    name = "asyncio"
    loop = "asyncio"
