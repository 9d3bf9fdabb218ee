"""Several results together: what a sender holds of a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from multi.app.awaiting import call_after, refuse_in_task
from multi.app.request import running
from multi.app.result import AsyncResult
from multi.app.states import PROPAGATE_STATES
from multi.errors import TimeoutError  # noqa: A004 - Celery's name

if TYPE_CHECKING:
    from multi.app.app import App

#: Records that are asked for in one round trip.
_WINDOW = 200
#: Seconds for which one result is waited for before the others are looked at, too: one of them may have failed.
_TURN = 1.0


class ResultSet:
    """A list of results that is asked as one."""

    _app: App | None = None

    def __init__(self, results: Iterable[Any] = (), app: App | None = None, **kwargs: Any) -> None:
        self.results: list[Any] = list(results)
        if app is not None:
            self._app = app

    @property
    def app(self) -> App:
        if self._app is not None:
            return self._app
        for result in self.results:
            found: App = result.app
            return found
        from multi.app import current

        return current.get()

    # what it consists of ---------------------------------------------------------------------------------------------

    def add(self, result: Any) -> None:
        """Add a result, unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Take a result, or the one of this id, out. Raises `KeyError`."""
        for index, known in enumerate(self.results):
            if known is result or known.id == str(result):
                del self.results[index]
                return
        raise KeyError(result)

    def discard(self, result: Any) -> None:
        """Take a result out if it is there."""
        try:
            self.remove(result)
        except KeyError:
            pass

    def update(self, results: Iterable[Any]) -> None:
        for result in results:
            self.add(result)

    def clear(self) -> None:
        self.results.clear()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __bool__(self) -> bool:
        return True

    def leaves(self) -> list[Any]:
        """The results of tasks, those of groups in it included."""
        found: list[Any] = []
        for result in self.results:
            found += result.leaves() if isinstance(result, ResultSet) else [result]
        return found

    # asking ----------------------------------------------------------------------------------------------------------

    def _look(self, results: Iterable[Any]) -> None:
        """Ask for the records of those that are not known to have ended, many at once."""
        unknown = [result for result in results if result._meta is None and not result.ignored]
        for start in range(0, len(unknown), _WINDOW):
            batch = unknown[start : start + _WINDOW]
            for result, record in zip(batch, batch[0].backend.fetch([each.id for each in batch]), strict=True):
                if record is not None:
                    result._take(record)

    def _states(self) -> list[str]:
        leaves = self.leaves()
        self._look(leaves)
        return [leaf._meta["status"] if leaf._meta is not None else "" for leaf in leaves if not leaf.ignored]

    def successful(self) -> bool:
        """Whether all of them have succeeded."""
        return all(state == "SUCCESS" for state in self._states())

    def failed(self) -> bool:
        """Whether one of them has failed."""
        return "FAILURE" in self._states()

    def waiting(self) -> bool:
        """Whether one of them has not ended yet."""
        return "" in self._states()

    def ready(self) -> bool:
        """Whether all of them have ended, well or not."""
        return "" not in self._states()

    def completed_count(self) -> int:
        """How many have succeeded."""
        return self._states().count("SUCCESS")

    def maybe_throw(self, propagate: bool = True, callback: Any = None) -> None:
        """Raise the exception of the first one that has failed."""
        for result in self.results:
            result.maybe_throw(propagate=propagate, callback=callback)

    maybe_reraise = maybe_throw

    def then(self, callback: Any, on_error: Any = None, weak: bool = False) -> Self:
        """Call `callback(self)` when all of them have succeeded, `on_error(self)` when one has failed; in a thread."""
        call_after(self, callback, on_error)
        return self

    # waiting ---------------------------------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Any = None,
        disable_sync_subtasks: bool = True,
        on_interval: Any = None,
        follow_parents: bool = False,
    ) -> list[Any]:
        """All results, in the order of the tasks; raises the first exception that comes, unless `propagate` is False.

        Raises `TimeoutError`, and `RuntimeError` inside a task, as `AsyncResult.get` does. With a `callback` it gets id
        and value of each, and the list is empty.
        """
        if disable_sync_subtasks and running.get() is not None:
            refuse_in_task()
        deadline = None if timeout is None else time.monotonic() + timeout
        leaves = self.leaves()
        self._wait(leaves, deadline, timeout, propagate, interval, on_message, on_interval)
        if callback is not None:
            for leaf in leaves:
                callback(leaf.id, leaf.get(propagate=propagate, disable_sync_subtasks=False))
            return []
        return self._values(propagate)

    def _values(self, propagate: bool) -> list[Any]:
        return [
            result._values(propagate)
            if isinstance(result, ResultSet)
            else result.get(propagate=propagate, follow_parents=False, disable_sync_subtasks=False)
            for result in self.results
        ]

    join = join_native = get

    def _wait(
        self,
        leaves: list[Any],
        deadline: float | None,
        timeout: float | None,
        propagate: bool,
        interval: float | None,
        on_message: Any,
        on_interval: Any,
    ) -> None:
        """Until all have ended, or with `propagate` one has failed, whose exception is raised."""
        left = [leaf for leaf in leaves if leaf._meta is None and not leaf.ignored]
        while True:
            self._look(left[:_WINDOW])
            ended = [leaf for leaf in left if leaf._meta is not None]
            if propagate:
                for leaf in ended:
                    if leaf._meta["status"] in PROPAGATE_STATES:
                        leaf.get(follow_parents=False, disable_sync_subtasks=False)
            left = [leaf for leaf in left if leaf._meta is None]
            if not left:
                return
            if ended:
                continue
            turn = _TURN if deadline is None else min(_TURN, max(0.0, deadline - time.monotonic()))
            try:
                left[0].get(
                    turn, False, interval, on_message=on_message, follow_parents=False, disable_sync_subtasks=False
                )
            except TimeoutError:
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(
                        f"{len(left)} of {len(leaves)} tasks have not ended within {timeout} s"
                    ) from None
                if on_interval is not None:
                    on_interval()

    def iterate(self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5) -> Iterator[Any]:
        """The values as they come, in the order in which the tasks end."""
        for _, meta in self.iter_native(timeout=timeout, interval=interval):
            if propagate and meta["status"] in PROPAGATE_STATES:
                AsyncResult._raise(meta["result"], meta.get("traceback"))
            yield meta["result"]

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, record) of each task, in the order in which they end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = [leaf for leaf in self.leaves() if not leaf.ignored]
        total = len(left)
        while left:
            self._look(left)
            ended = [leaf for leaf in left if leaf._meta is not None]
            left = [leaf for leaf in left if leaf._meta is None]
            for leaf in ended:
                yield leaf.id, leaf._meta
            if ended or not left:
                continue
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{len(left)} of {total} tasks have not ended within {timeout} s")
            turn = (
                min(interval or 0.5, 0.5) if deadline is None else min(interval, max(0.0, deadline - time.monotonic()))
            )
            try:
                left[0].get(turn, False, on_message=on_message, follow_parents=False, disable_sync_subtasks=False)
            except TimeoutError:
                if on_interval is not None:
                    on_interval()

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[Any]:  # noqa: ASYNC109 - as `get`
        """`get` for programs of asyncio; `await results` is the same without a timeout."""
        import asyncio
        import builtins

        try:
            async with asyncio.timeout(timeout):
                for leaf in self.leaves():
                    await leaf.aget(propagate=propagate)
        except TimeoutError:
            raise
        except builtins.TimeoutError:
            raise TimeoutError(f"not all of {len(self.leaves())} tasks have ended within {timeout} s") from None
        return self._values(propagate)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.aget().__await__()

    # the rest --------------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Delete the records."""
        for result in self.results:
            result.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Revoke all of them, as `AsyncResult.revoke` does."""
        if ids := [leaf.id for leaf in self.leaves()]:
            self.app.control.revoke(
                ids, terminate=terminate, signal=signal, reply=wait, timeout=timeout, connection=connection
            )

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(result.id) for result in self.results)}]>"


class GroupResult(ResultSet):
    """The results of a group, which has an id of its own; `save` lets others `restore` it."""

    #: A group is always asked for anew; its members remember.
    _meta = None
    ignored = False

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[Any] = (),
        parent: Any = None,
        app: App | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(results, app)
        self.id = id or ""
        self.parent = parent

    @property
    def task_id(self) -> str:
        return self.id

    @property
    def children(self) -> list[Any]:
        return self.results

    def save(self, backend: Any = None) -> None:
        """Keep ids and structure in the result backend, as long as results are kept."""
        record = self.app.recorder.dump({"result": self.as_tuple()})
        (backend or _backend(self.app)).save_group(self.id, record)

    def delete(self, backend: Any = None) -> None:
        """Remove what `save` kept."""
        (backend or _backend(self.app)).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: App | None = None) -> GroupResult | None:
        """The group that was saved under this id, None if there is none."""
        app = app or cls._app
        if app is None:
            from multi.app import current

            app = current.get()
        record = (backend or _backend(app)).fetch_group(id)
        if record is None:
            return None
        found = result_from_tuple(app.recorder.load(record)["result"], app)
        return found if isinstance(found, GroupResult) else None

    def get(self, *args: Any, **kwargs: Any) -> list[Any]:
        return super().get(*args, **kwargs)

    join = join_native = get

    def as_tuple(self) -> tuple[Any, Any]:
        """`((id, parent), [members])`, as children stand in records."""
        return (self.id, self.parent and self.parent.as_tuple()), [result.as_tuple() for result in self.results]

    def as_list(self) -> list[str]:
        return [self.id, *(self.parent.as_list() if self.parent else [])]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return other.id == self.id and other.results == self.results and other.parent == self.parent
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __reduce__(self) -> Any:
        return _rebuild, (self.id, self.results, self.parent)

    def __repr__(self) -> str:
        return f"<GroupResult: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"


def _rebuild(group_id: str, results: list[Any], parent: Any) -> GroupResult:
    return GroupResult(group_id, results, parent)


def _backend(app: App) -> Any:
    return AsyncResult("", app).backend if app.backend is None else app.backend


def result_from_tuple(item: Any, app: App | None = None) -> Any:
    """A result, or that of a group, from its tuple form; None for a form that is not known."""
    if isinstance(item, str):
        return AsyncResult(item, app)
    try:
        head, members = item
        task_id, parent = (head, None) if isinstance(head, str) else head
    except (TypeError, ValueError):
        return None
    above = result_from_tuple(parent, app) if parent else None
    if members is not None and not isinstance(members, str):
        return GroupResult(task_id, [result_from_tuple(member, app) for member in members], above, app=app)
    return AsyncResult(task_id, app, above)


__all__ = ["GroupResult", "ResultSet", "result_from_tuple"]
