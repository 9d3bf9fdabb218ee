"""Results followed while their tasks run, and awaited by programs of asyncio."""

from __future__ import annotations

import builtins
import time
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, overload

from multi.app.request import running
from multi.app.states import READY_STATES
from multi.app.typed import Generic, R
from multi.errors import TimeoutError  # noqa: A004 - Celery's name

if TYPE_CHECKING:
    from multi.app.progress import Progress
    from multi.backends.base import Backend

_TURN = 0.2  # seconds that one awaited result has a thread for itself


class Awaiting(Generic[R]):
    """What `AsyncResult` has of this."""

    __slots__ = ()

    if TYPE_CHECKING:
        id: str
        ignored: bool
        _meta: dict[str, Any] | None

        @property
        def backend(self) -> Backend: ...
        def get(self, *args: Any, **kwargs: Any) -> Any: ...
        def _record(self) -> dict[str, Any]: ...
        def _take(self, record: bytes) -> dict[str, Any]: ...

    @property
    def progress(self) -> Progress | None:
        """What the task told last of how far it is (`task.progress`); None if nothing, or not any more."""
        from multi.app.progress import read

        return read(self._record())

    def follow(self, timeout: float | None = None) -> Iterator[Progress]:
        """Each progress as it comes, until the task has ended: `for step in result.follow(): print(step)`.

        Between two looks progress may be passed over. Raises `TimeoutError` after `timeout` seconds; how the task has
        ended, `get` tells.
        """
        from multi.app.progress import read

        deadline = None if timeout is None else time.monotonic() + timeout
        if running.get() is not None:
            refuse_in_task()
        if self._meta is None and not self.ignored:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for record in self.backend.wait(self.id, left, 0.1):
                meta = self._take(record)
                found = read(meta)
                if found is not None:
                    yield found
                if meta["status"] in READY_STATES:
                    return
            raise TimeoutError(f"{self.id} has not ended within {timeout} s")

    async def afollow(self, timeout: float | None = None) -> AsyncIterator[Progress]:  # noqa: ASYNC109 - as `get` has it
        """`follow` for programs of asyncio: `async for step in result.afollow(): ...`."""
        import asyncio

        from multi.app.progress import read

        deadline = None if timeout is None else time.monotonic() + timeout
        loop = asyncio.get_running_loop()
        last = b""
        told: Progress | None = None
        while self._meta is None and not self.ignored:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{self.id} has not ended within {timeout} s")
            last = await loop.run_in_executor(None, self._next_record, last)  # in turns, as `_wait_async`
            found = read(self._take(last)) if last else None
            if found is not None and found != told:
                told = found
                yield found

    def _next_record(self, last: bytes) -> bytes:
        """The first record other than `last` that comes within one turn; else `last`."""
        for record in self.backend.wait(self.id, _TURN, 0.1):
            if record != last:
                return record
        return last

    # asyncio ----------------------------------------------------------------------------------------------------------

    @overload
    def aget(self, timeout: float | None = None, propagate: Literal[True] = True) -> Coroutine[Any, Any, R]: ...
    @overload
    def aget(self, timeout: float | None = None, propagate: bool = True) -> Coroutine[Any, Any, Any]: ...
    async def aget(self, timeout: float | None = None, propagate: bool = True) -> Any:  # noqa: ASYNC109 - as `get` has it
        """`get` for programs of asyncio; `await result` is the same without a timeout."""
        import asyncio

        if timeout is None:
            return await self._wait_async(propagate)
        try:
            async with asyncio.timeout(timeout):
                return await self._wait_async(propagate)
        except TimeoutError:
            raise
        except builtins.TimeoutError:
            raise TimeoutError(
                f"no result of {self.id} within {timeout} s: the task has not ended, or was never sent"
            ) from None

    def __await__(self) -> Generator[Any, None, R]:
        return self._wait_async().__await__()

    async def _wait_async(self, propagate: bool = True) -> R:
        import asyncio

        loop = asyncio.get_running_loop()
        # The backends' clients block, so they wait in a thread while the loop goes on: for a short time only, because
        # the threads are few, and because one whose coroutine was cancelled must not be waited for at the end.
        from multi.app.parents import with_header

        header = with_header(self) if propagate else None
        while self._meta is None and not self.ignored:
            await loop.run_in_executor(None, self._settle)
            if header is not None and self._meta is None:
                await loop.run_in_executor(None, header)
        value: R = self.get(propagate=propagate, disable_sync_subtasks=False)
        return value

    def _settle(self) -> None:
        try:
            self.get(_TURN, propagate=False, disable_sync_subtasks=False)
        except TimeoutError:
            pass  # another turn, unless nobody waits any more


def call_after(result: Any, callback: Any, on_error: Any) -> None:
    """In a thread: wait for a result, or a set of them, then call `callback(result)` if all is well, else `on_error(result)`."""
    import threading

    def wait() -> None:
        result.get(propagate=False, disable_sync_subtasks=False)
        chosen = callback if result.successful() else on_error
        if chosen is not None:
            chosen(result)

    threading.Thread(target=wait, name="then", daemon=True).start()


_allowed: ContextVar[bool] = ContextVar("multi_join_allowed", default=False)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """`with allow_join_result(): result.get()` waits inside a task, as `disable_sync_subtasks=False` does."""
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


def refuse_in_task() -> None:
    """Raise the `RuntimeError` of one who waits inside a task, unless that is allowed here."""
    if _allowed.get():
        return
    raise RuntimeError(
        "Never call result.get() within a task! The worker that waits may be the one that should run it. Link the tasks, "
        "or allow it with disable_sync_subtasks=False"
    )
