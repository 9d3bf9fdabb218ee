"""Tasks that can be asked to stop: the sender sets the state ABORTED, and the task looks now and then whether it is set.

@app.task(bind=True, base=AbortableTask)
def crunch(self, rows):
    for row in rows:
        if self.is_aborted():
            return None
        ...

result = crunch.delay(rows)
result.abort()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multi.app.records import state_store
from multi.app.result import AsyncResult
from multi.app.task import Task
from multi.app.typed import P, R
from multi.errors import UnsupportedOption

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.backends.base import Backend

ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[R]):
    """The result of an abortable task."""

    __slots__ = ("_own",)

    def __init__(
        self, id: str, app: App | None = None, parent: AsyncResult | None = None, *, backend: Backend | None = None
    ) -> None:
        super().__init__(id, app, parent)
        self._own = backend

    @property
    def backend(self) -> Backend:
        found = super().backend if self._own is None else self._own
        if found.expects:
            raise UnsupportedOption(
                "tasks are aborted through the result backend, and rpc:// keeps nothing that a worker could read there; set "
                "result_backend to one that does, as redis://host:6379/0"
            )
        return found

    def abort(self) -> None:
        """Ask the task to stop, when it looks next; nothing happens to one that has ended."""
        if not self.ready():
            self.backend.store([state_store(self.app, self.backend, self.id, ABORTED, None, None)])

    def is_aborted(self) -> bool:
        """Whether it was asked to stop, and has not ended since."""
        return self.state == ABORTED


class AbortableTask(Task[P, R]):
    """The base of tasks that can be asked to stop."""

    abstract = True

    def AsyncResult(self, task_id: str) -> AbortableAsyncResult[R]:  # noqa: N802 - Celery's name
        return AbortableAsyncResult(task_id, self.app, backend=self.own_backend)

    def is_aborted(self, task_id: str | None = None, **kwargs: Any) -> bool:
        """Whether the run that this is called in (or `task_id`) was asked to stop; costs a question to the backend."""
        identifier = task_id or self.request.id
        return bool(identifier) and not self.request.is_eager and self.AsyncResult(str(identifier)).is_aborted()

    def _asked_to_stop(self, task_id: str) -> bool:
        return self.is_aborted(task_id)

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """As for every task, but that a task which was asked to stop stays so."""
        if not self.is_aborted(task_id):
            super().update_state(task_id, state, meta, **kwargs)
