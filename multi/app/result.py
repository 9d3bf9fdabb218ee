"""What a sender holds of a task that it has sent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from multi.app.awaiting import Awaiting, call_after, refuse_in_task
from multi.app.request import running
from multi.app.states import PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS
from multi.app.typed import R
from multi.errors import BackendDisabled, TimeoutError  # noqa: A004 - Celery's name

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.backends.base import Backend

_DISABLED = (
    "No result backend is configured, so there are no states and results to ask for. Set result_backend (for instance "
    "redis://localhost:6379/0), or App(..., backend=...)"
)


class AsyncResult(Awaiting[R]):
    """The state and result of one task, asked for by its id."""

    __slots__ = ("__weakref__", "_children", "_meta", "app", "id", "ignored", "parent")

    def __init__(self, id: str, app: App | None = None, parent: AsyncResult | None = None) -> None:
        if app is None:
            from multi.app import current

            app = current.get()
        if id.__class__ is not str and not (isinstance(id, str) and id):
            raise TypeError(f"the id of a task is a text, not {id!r}")
        self.id = id
        self.app = app
        self.parent = parent
        self.ignored = False
        self._meta: dict[str, Any] | None = None
        self._children: list[Any] | None = None

    TimeoutError = TimeoutError

    @property
    def task_id(self) -> str:
        return self.id

    @property
    def backend(self) -> Backend:
        found = self.app.backend
        if found is None:
            raise BackendDisabled(_DISABLED)
        return found

    # asking ----------------------------------------------------------------------------------------------------------

    def _record(self) -> dict[str, Any]:
        """The record as it is now; a final one is kept and not asked for again."""
        if self._meta is not None:
            return self._meta
        found = self.backend.fetch((self.id,))[0]
        if found is None:
            return {"status": PENDING, "result": None}
        return self._take(found)

    def _take(self, record: bytes) -> dict[str, Any]:
        meta = self.app.recorder.decode(record)
        if meta["status"] in READY_STATES:
            self._meta = meta
        return meta

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED, or a state of the task's own. Unknown ids are PENDING."""
        found: str = self._record()["status"]
        return found

    status = state

    @property
    def result(self) -> Any:
        """The return value; the exception, if the task has failed; what `update_state` gave; None before that."""
        return self._record().get("result")

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of a failed task, as text."""
        return self._record().get("traceback")

    def ready(self) -> bool:
        """Whether the task has ended, well or not."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        return self.state == SUCCESS

    def failed(self) -> bool:
        return self.state == "FAILURE"

    @property
    def date_done(self) -> Any:
        done = self._record().get("date_done")
        if isinstance(done, str):
            from datetime import datetime

            return datetime.fromisoformat(done)
        return done

    @property
    def name(self) -> str | None:
        """With `result_extended`: the task's name; so too args, kwargs, worker, retries, queue."""
        return self._record().get("name")

    @property
    def args(self) -> Any:
        return self._record().get("args")

    @property
    def kwargs(self) -> Any:
        return self._record().get("kwargs")

    @property
    def worker(self) -> str | None:
        return self._record().get("worker")

    @property
    def retries(self) -> int | None:
        return self._record().get("retries")

    @property
    def queue(self) -> str | None:
        return self._record().get("queue")

    def exists(self) -> bool:
        """Whether anything is recorded under this id."""
        return self._meta is not None or self.backend.fetch((self.id,))[0] is not None

    # waiting ---------------------------------------------------------------------------------------------------------

    @overload
    def get(
        self,
        timeout: float | None = None,
        propagate: Literal[True] = True,
        interval: float | None = None,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Any = None,
        on_message: Any = None,
        on_interval: Any = None,
        disable_sync_subtasks: bool = True,
    ) -> R: ...
    @overload
    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Any = None,
        on_message: Any = None,
        on_interval: Any = None,
        disable_sync_subtasks: bool = True,
    ) -> Any: ...
    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Any = None,
        on_message: Any = None,
        on_interval: Any = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """Wait for the task's end and return its result; raises its exception, unless `propagate` is False.

        Raises `TimeoutError` after `timeout` seconds, and `RuntimeError` inside a task for a result that isn't there
        yet: a worker that waits for other tasks may wait for itself (`disable_sync_subtasks=False` allows it).
        `on_message` gets each record on the way, `on_interval` is called every `interval` seconds (0.5) meanwhile,
        `callback` gets id and result at the end.
        `no_ack` is taken for the sake of Celery's programs: there is nothing to acknowledge about a result here.
        """
        if disable_sync_subtasks and running.get() is not None and not self.ready():
            refuse_in_task()
        if self.ignored:
            return None
        deadline = None if timeout is None else time.monotonic() + timeout
        if follow_parents and propagate and self.parent is not None and self._meta is None:
            from multi.app.parents import wait_for_parents, with_header

            wait_for_parents(self, deadline, interval)
            on_interval = with_header(self, on_interval)
        meta = self._meta
        if meta is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for record in self._records(left, interval, on_interval):
                meta = self._take(record)
                if on_message is not None:
                    on_message(meta)
                if meta["status"] in READY_STATES:
                    break
            else:
                if hasattr(on_interval, "finish"):
                    on_interval.finish()
                raise TimeoutError(
                    f"no result of {self.id} within {timeout} s: the task has not ended, or was never sent"
                )
        value = meta["result"]
        if propagate and meta["status"] in PROPAGATE_STATES:
            self._raise(value, meta.get("traceback"))
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    def _records(self, timeout: float | None, interval: float | None, on_interval: Any) -> Iterable[bytes]:
        if on_interval is None:
            return self.backend.wait(self.id, timeout, interval)
        return self._records_between(timeout, interval or 0.5, on_interval)

    def _records_between(self, timeout: float | None, interval: float, on_interval: Any) -> Iterator[bytes]:
        deadline = None if timeout is None else time.monotonic() + timeout
        last = b""
        while True:
            left = interval if deadline is None else min(interval, deadline - time.monotonic())
            for record in self.backend.wait(self.id, max(0.0, left), interval):
                if record != last:
                    last = record
                    yield record
            if deadline is not None and time.monotonic() >= deadline:
                return
            on_interval()

    @staticmethod
    def _raise(error: Any, traceback: str | None) -> None:
        from multi.errors import RemoteError

        if not isinstance(error, BaseException):
            error = RemoteError(error)
        if traceback:
            error.__cause__ = RemoteTraceback(traceback)
        raise error

    def maybe_throw(self, propagate: bool = True, callback: Any = None) -> Any:
        """The result if there is one; raises the exception of a task that has failed."""
        meta = self._record()
        value = meta.get("result")
        if propagate and meta["status"] in PROPAGATE_STATES:
            self._raise(value, meta.get("traceback"))
        if callback is not None:
            callback(self.id, value)
        return value

    throw = maybe_throw

    # the rest --------------------------------------------------------------------------------------------------------

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Have the task not run any more; with `terminate`, end it if it runs. See `app.control.revoke`.

        With `wait` it returns when workers have replied that they know, or nobody has replied for `timeout` seconds (1).
        """
        self.app.control.revoke(
            self.id, terminate=terminate, signal=signal, reply=wait, timeout=timeout, connection=connection
        )

    def revoke_by_stamped_headers(
        self,
        headers: Any,
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """As `revoke`, all tasks that carry one of these stamps."""
        self.app.control.revoke_by_stamped_headers(
            headers, terminate=terminate, signal=signal, reply=wait, timeout=timeout, connection=connection
        )

    def forget(self) -> None:
        """Delete the record."""
        self._meta = None
        self.backend.forget(self.id)

    @property
    def children(self) -> list[Any] | None:
        """The results of the tasks and groups that this one has sent, once it has ended."""
        if self._children is None:
            found = self._record().get("children")
            if found is None:
                return None
            from multi.app.resultset import result_from_tuple

            children = [result_from_tuple(item, self.app) for item in found]
            self._children = [child for child in children if child is not None]
        return self._children

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """This result and those of all below it, each with its value."""
        for _, node in self.iterdeps(intermediate):
            yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last result below this one: what a task leads to in the end."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """(parent, node) for this result and all below it, groups and their members included."""
        stack: list[tuple[Any, Any]] = [(None, self)]
        while stack:
            parent, node = stack.pop(0)
            yield parent, node
            if node.ready():
                stack.extend((node, child) for child in node.children or [])
            elif not intermediate:
                raise RuntimeError(f"{node.id} has not ended, so its children are not known yet")

    @property
    def graph(self) -> Any:
        """The tree below this result as far as it is known now: each result, and those that it is the parent of."""
        from multi.app.graph import Graph

        return Graph(self.iterdeps(intermediate=True))

    def then(self, callback: Any, on_error: Any = None, weak: bool = False) -> AsyncResult:
        """Call `callback(result)` when the task has succeeded, `on_error(result)` when it has failed; in a thread."""
        call_after(self, callback, on_error)
        return self

    def as_tuple(self) -> tuple[Any, Any]:
        """`((id, parent), None)`, as children stand in records."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        return [self.id, *(self.parent.as_list() if self.parent else [])]

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        return other == self.id if isinstance(other, str) else NotImplemented

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.id, self.parent)


def _rebuild(cls: type[AsyncResult], task_id: str, parent: AsyncResult | None) -> AsyncResult:
    return cls(task_id, None, parent)


class KeptElsewhere(AsyncResult[R]):
    """The result of a task that has a backend of its own."""

    __slots__ = ("_own",)

    def __init__(self, id: str, app: App, own: Backend) -> None:
        super().__init__(id, app)
        self._own = own

    @property
    def backend(self) -> Backend:
        return self._own

    def __reduce__(self) -> Any:
        raise TypeError(
            f"the result of {self.id} lies in a backend of its task alone and can't be pickled: send its id, and ask "
            "task.AsyncResult(id)"
        )


class RemoteTraceback(Exception):
    """Shows the traceback that an exception had in the worker, as the cause of the one that is raised here."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])
