"""What an app sends, noted for a test to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from multi import signals

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task


class Sent(msgspec.Struct):
    """One message: the task's name, its arguments, the queue, and the headers (id, eta, expires, … as they travel)."""

    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    headers: dict[str, Any]

    def __str__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.task}({', '.join(given)}) to {self.queue}"


class Outbox:
    """The messages that were sent since `open`, by any app of this process.

    Where tasks run in the test's process, so are those that they send: callbacks, retries, the rest of a chain.
    """

    def __init__(self, app: App | None = None) -> None:
        """With `app` the names of tasks that are asked for are checked against those it has."""
        self.app = app
        self.sent: list[Sent] = []

    def open(self) -> Outbox:
        """Note what is sent from now on."""
        signals.after_task_publish.connect(self._note)
        return self

    def close(self) -> None:
        """Note nothing more."""
        signals.after_task_publish.disconnect(self._note)

    def _note(self, *, sender: str, headers: dict[str, Any], body: Any, routing_key: str, **_: Any) -> None:
        args, kwargs, _embed = body
        self.sent.append(Sent(sender, tuple(args), dict(kwargs), routing_key, headers))

    def of(self, task: str | Task) -> list[Sent]:
        """The messages of one task. Raises `ValueError` for a name that no task has."""
        name = _name(task)
        if self.app is not None and name not in self.app.tasks and all(one.task != name for one in self.sent):
            from difflib import get_close_matches

            near = get_close_matches(name, self.app.tasks, 1)
            raise ValueError(f"no task is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return [one for one in self.sent if one.task == name]

    def clear(self) -> None:
        """Forget what was noted."""
        self.sent.clear()

    def assert_enqueued(
        self, task: str | Task, *args: Any, _queue: str | None = None, _times: int | None = None, **kwargs: Any
    ) -> Sent:
        """One message of `task` with these arguments (none given: any) was sent; returns it, the latest of several.

        Where the task is known, it makes no difference which arguments were given by name.

        `_queue`: to that queue. `_times`: exactly so often. Raises `AssertionError`, which lists what was sent instead.
        """
        __tracebackhide__ = True
        found = [
            one
            for one in self.of(task)
            if (not (args or kwargs) or self._same(task, (one.args, one.kwargs), (args, kwargs)))
            and (_queue is None or one.queue == _queue)
        ]
        if not found or (_times is not None and len(found) != _times):
            wanted = Sent(_name(task), args, kwargs, _queue or "any queue", {})
            shown = str(wanted) if args or kwargs or _queue else wanted.task
            often = "" if _times is None else f" {len(found)} times instead of {_times}"
            raise AssertionError(f"{shown} was {'sent' if found else 'not sent'}{often}; sent was: {self}")
        return found[-1]

    def _same(self, task: str | Task, one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
        if (list(one[0]), one[1]) == (list(other[0]), other[1]):
            return True
        known = self.app.tasks.get(task) if isinstance(task, str) and self.app is not None else task
        body = getattr(known, "run", None)
        if body is None:
            return False
        import inspect

        try:
            bound = [inspect.signature(body).bind(*args, **kwargs) for args, kwargs in (one, other)]
        except (TypeError, ValueError):
            return False
        return bound[0].arguments == bound[1].arguments

    def assert_not_enqueued(self, task: str | Task) -> None:
        """No message of `task` was sent."""
        __tracebackhide__ = True
        if self.of(task):
            raise AssertionError(f"{_name(task)} was sent; sent was: {self}")

    def __len__(self) -> int:
        return len(self.sent)

    def __str__(self) -> str:
        return "; ".join(map(str, self.sent)) or "nothing"


def _name(task: str | Task) -> str:
    return task if isinstance(task, str) else task.name
