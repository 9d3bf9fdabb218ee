"""One task for many items: `map`, `starmap`, `chunks`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from multi.app.canvas.groups import Group
from multi.app.canvas.signatures import Signature, kind, signature
from multi.app.routes import DESTINATION

if TYPE_CHECKING:
    from multi.app.app import App


def routed(call: Mapping[str, Any], options: Mapping[str, Any], app: App) -> dict[str, Any]:
    """The route of the task that a `map` or `starmap` is to run, where the call itself names no destination."""
    routes = app.publisher.routes
    task = (call.get("kwargs") or {}).get("task")
    if not routes.any or not isinstance(task, Mapping) or any(options.get(key) is not None for key in DESTINATION):
        return {}
    name = task["task"]
    return routes.told(name, task=app.tasks.get(name))


class _Batch(Signature):
    """A call of a built-in task that runs another one for each item."""

    builtin = ""

    def __init__(self, task: Any, it: Iterable[Any] = (), app: App | None = None, **options: Any) -> None:
        if isinstance(task, Mapping) and task.get("task") == self.builtin:
            super().__init__({**task, "options": {**(task.get("options") or {}), **options}}, app=app)
            return
        call = signature(task, app=app)
        super().__init__(
            self.builtin, (), {"task": dict(call), "it": list(it)}, options, app=app or call._app, immutable=True
        )

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it where the task would be sent."""
        return super().apply_async((), None, **{**routed(self, {**self.options, **options}, self.app), **options})

    def __repr__(self) -> str:
        return f"{self.builtin}({self['kwargs']['task']['task']}, {self['kwargs']['it']!r})"


@kind("celery.map", "xmap")
class xmap(_Batch):  # noqa: N801 - Celery's name
    """`add.map([1, 2])`: one message, whose worker calls the task with each item, one after the other."""

    builtin = "celery.map"


@kind("celery.starmap", "xstarmap")
class xstarmap(_Batch):  # noqa: N801 - Celery's name
    """`add.starmap([(1, 2), (3, 4)])`: the same with each item as the arguments."""

    builtin = "celery.starmap"


@kind("celery.chunks", "chunks")
class chunks(Signature):  # noqa: N801 - Celery's name
    """`add.chunks(zip(range(100), range(100)), 10)`: ten messages, with ten calls in each."""

    def __init__(self, task: Any, it: Iterable[Any] = (), n: int = 0, app: App | None = None, **options: Any) -> None:
        if isinstance(task, Mapping) and task.get("task") == "celery.chunks":
            super().__init__({**task, "options": {**(task.get("options") or {}), **options}}, app=app)
            return
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"chunks have a size of 1 or more, not {n!r}")
        call = signature(task, app=app)
        given = {"task": dict(call), "it": list(it), "n": n}
        super().__init__("celery.chunks", (), given, options, app=app or call._app, immutable=True)

    def group(self) -> Group:
        """The messages as they are sent: a group of `starmap`s."""
        if self["task"] == "celery.group":  # it was frozen
            return Group(dict(self), app=self._app)
        kwargs = self["kwargs"]
        items, size = iter(kwargs["it"]), int(kwargs["n"])
        calls = []
        while part := list(islice(items, size)):
            calls.append(xstarmap(signature(kwargs["task"], app=self._app), part, app=self._app))
        return Group(calls, app=self._app, **self.options)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        return self.group().apply_async(args, kwargs, **options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return self.group().apply(args, kwargs, **options)

    def freeze(self, _id: str | None = None, *args: Any, **kwargs: Any) -> Any:
        group = self.group()
        result = group.freeze(_id, *args, **kwargs)
        self.clear()
        self.update(group)
        return result

    def __call__(self, **options: Any) -> Any:
        return self.apply_async(**options)
