"""The tasks that every app has: those that Celery's clients may send to any worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multi.app.canvas.signatures import signature

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task


def register(app: App) -> None:
    """Make the built-in tasks of `app`."""

    def task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
        return lambda body: app._task_from(body, options)

    @task(name="celery.accumulate")
    def accumulate(*args: Any, **kwargs: Any) -> Any:
        """Gives back its arguments, or the one at `index`: the body of a group that stands for a task."""
        index = kwargs.get("index")
        return args if index is None else args[index]

    @task(name="celery.map")
    def xmap(task: Any, it: Any) -> list[Any]:
        """Calls a task with each item."""
        body = _task(app, task)
        return [body(item) for item in it]

    @task(name="celery.starmap")
    def xstarmap(task: Any, it: Any) -> list[Any]:
        """Calls a task with each item as its arguments."""
        body = _task(app, task)
        return [body(*item) for item in it]

    @task(name="celery.chunks")
    def chunks(task: Any, it: Any, n: int) -> Any:
        """Sends the chunks."""
        from multi.app.canvas.batches import chunks as parted

        return parted(task, it, n, app=app).apply_async().as_tuple()

    @task(name="celery.backend_cleanup")
    def backend_cleanup() -> None:
        """Nothing: results here expire by themselves."""

    @task(name="celery.group", bind=True)
    def group(self: Any, tasks: Any, result: Any, group_id: str, partial_args: Any, add_to_parent: bool = True) -> Any:
        """Sends the tasks of a group."""
        from multi.app.canvas.groups import Group

        found = Group(tasks, app=app).apply_async(partial_args, task_id=group_id, add_to_parent=add_to_parent)
        return found.as_tuple()

    @task(name="celery.chain")
    def chain(*args: Any, **kwargs: Any) -> None:
        """A name, and no task."""
        raise NotImplementedError("celery.chain is a name only: send the chain itself, by chain(…).apply_async()")

    @task(name="celery.chord", bind=True, ignore_result=False)
    def chord(self: Any, header: Any, body: Any, partial_args: Any = (), **kwargs: Any) -> Any:
        """Sends the header of a chord."""
        from multi.app.canvas.chords import Chord

        return self.replace(Chord(header, body, app=app).clone(partial_args))

    @task(name="celery.chord_unlock", bind=True, max_retries=None, ignore_result=True)
    def unlock_chord(
        self: Any,
        group_id: str,
        callback: Any,
        interval: float | None = None,
        max_retries: int | None = None,
        result: Any = (),
        **kwargs: Any,
    ) -> None:
        """Completes a chord that a Celery client has sent through a backend that counts no parts: looks whether all
        results are there, and again later if they aren't."""
        from multi.app.canvas.unlock import unlock

        unlock(self, app, group_id, callback, interval, max_retries, result)


def _task(app: App, call: Any) -> Task:
    return app.tasks[signature(call, app=app)["task"] if not isinstance(call, str) else call]
