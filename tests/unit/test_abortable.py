"""Tasks that can be asked to stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from multi import AbortableAsyncResult, AbortableTask, App
from multi.connections import memory
from multi.errors import UnsupportedOption
from multi.testing.worker import LocalWorker


@pytest.fixture
def app(tmp_path: Any) -> Iterator[App]:
    url = f"memory://{tmp_path.name}"
    yield App("proj", broker=url, backend=url, set_as_current=False)
    memory.forget(url)


def test_a_task_sees_that_it_was_aborted_and_stays_so_in_spite_of_its_own_states(app: App) -> None:
    seen: list[Any] = []

    @app.task(bind=True, base=AbortableTask, track_started=True)
    def look(self: Any, abort: bool) -> str:
        state = self.AsyncResult(self.request.id).state
        seen.append((state, self.is_aborted()))
        if abort:
            self.AsyncResult(self.request.id).abort()
        self.update_state(state="PROGRESS", meta={"current": 1})
        seen.append((self.AsyncResult(self.request.id).state, self.is_aborted()))
        return "stopped" if self.is_aborted() else "done"

    before: Any
    within: Any
    before, within, never = look.delay(False), look.delay(True), look.delay(False)
    assert isinstance(before, AbortableAsyncResult)
    before.abort()
    assert before.is_aborted()
    assert before.state == "ABORTED"
    assert not before.ready()
    LocalWorker(app).drain()
    assert seen == [
        *(("ABORTED", True), ("ABORTED", True)),
        *(("STARTED", False), ("ABORTED", True)),
        *(("STARTED", False), ("PROGRESS", False)),
    ]
    assert [result.get(timeout=5) for result in (before, within, never)] == ["stopped", "stopped", "done"]
    assert not within.is_aborted()


def test_a_task_that_has_ended_is_not_aborted_any_more(app: App) -> None:
    @app.task(base=AbortableTask)
    def fail() -> None:
        raise KeyError("k")

    result: Any = fail.apply_async()
    LocalWorker(app).drain()
    result.abort()
    assert (result.state, result.is_aborted()) == ("FAILURE", False)
    assert AbortableAsyncResult(result.id, app).state == "FAILURE"


def test_a_class_with_results_of_its_own_gives_them_from_delay(app: App) -> None:
    from multi import AsyncResult, Task

    class Mine(AsyncResult):
        pass

    class WithMine(Task):
        abstract = True

        def AsyncResult(self, task_id: str) -> Any:  # noqa: N802 - Celery's name
            return Mine(task_id, self.app)

    @app.task(base=WithMine)
    def add() -> None: ...

    @app.task
    def plain() -> None: ...

    assert type(add.delay()) is Mine
    assert type(plain.delay()) is AsyncResult


def test_results_that_workers_cannot_read_are_no_place_to_abort_through() -> None:
    app = App("proj", broker="amqp://localhost:1", backend="rpc://", set_as_current=False)
    with pytest.raises(UnsupportedOption, match="rpc"):
        AbortableAsyncResult("a", app).abort()


def test_called_as_a_function_or_eagerly_nothing_is_aborted(app: App) -> None:
    @app.task(bind=True, base=AbortableTask)
    def look(self: Any) -> bool:
        return bool(self.is_aborted())

    assert look() is False
    assert look.apply().get() is False
