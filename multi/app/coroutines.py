"""Runs `async def` tasks: on a loop that a thread keeps, and so that an exception can be raised inside of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from multi.errors import SoftTimeLimitExceeded

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

_loops: dict[tuple[int, int], AbstractEventLoop] = {}


def loop() -> AbstractEventLoop:
    """The loop of this thread of this process: kept, so that what tasks open on it (clients, sessions) can be too."""
    key = (os.getpid(), get_ident())
    found = _loops.get(key)
    if found is None or found.is_closed():
        import asyncio

        found = _loops[key] = asyncio.new_event_loop()
    return found


def close_loops() -> None:
    """Close this process's loops, with what still runs on them cancelled; at the end of a process, or of a test."""
    import asyncio

    for key, found in list(_loops.items()):
        del _loops[key]
        if key[0] != os.getpid() or found.is_closed() or found.is_running():
            continue
        rest = asyncio.all_tasks(found)
        for task in rest:
            task.cancel()
        if rest:
            found.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        found.run_until_complete(found.shutdown_asyncgens())
        found.close()


class Interruptible(Coroutine[Any, Any, Any]):
    """A coroutine in which `interrupt` raises an exception of choice, where asyncio could only cancel."""

    __slots__ = ("_body", "_instead", "task")

    def __init__(self, body: Coroutine[Any, Any, Any]) -> None:
        self._body = body
        self._instead: BaseException | None = None
        self.task: Task[Any] | None = None

    def interrupt(self, error: BaseException) -> None:
        """Raise `error` at the point where the coroutine waits; on the thread of its loop."""
        if self.task is not None and not self.task.done():
            self._instead = error
            self.task.cancel()

    def send(self, value: Any) -> Any:
        return self._body.send(value)

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> Any:
        instead = self._instead
        if instead is not None:
            self._instead = None
            if self.task is not None:
                self.task.uncancel()
            return self._body.throw(instead)
        return self._body.throw(error) if value is None else self._body.throw(error, value, traceback)

    def close(self) -> None:
        self._body.close()

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield from self._body.__await__())


async def in_thread(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """`call` in a thread of the running loop, which goes on meanwhile; the call knows the task that it is made in."""
    import asyncio

    return await asyncio.to_thread(call, *args, **kwargs)


def run(body: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in this thread.

    A signal handler may raise at any moment. What it raises is handed on to the coroutine if that is its time limit;
    anything else ends it first and then goes on, so that nothing of it is left behind on the loop.
    """
    own = loop()
    inner = Interruptible(body)
    task = inner.task = own.create_task(inner)
    while True:
        try:
            return own.run_until_complete(task)
        except SoftTimeLimitExceeded as limit:
            if task.done():
                raise
            inner.interrupt(limit)
        except BaseException:
            if not task.done():
                task.cancel()
                try:
                    own.run_until_complete(task)
                except BaseException:  # what matters is the exception that is on its way already
                    pass
            raise
