"""A call to be made later: task, arguments, options. A dict, as it travels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.result import AsyncResult

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task


class Signature(dict[str, Any]):
    """`add.s(2)`: calling it, or linking it to another task, completes the arguments in front."""

    _app: App | None = None

    def __init__(
        self,
        task: Task | str | Mapping[str, Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        app: App | None = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        **more: Any,
    ) -> None:
        if isinstance(task, Mapping):
            super().__init__(task)
        else:
            super().__init__(
                task=task if isinstance(task, str) else task.name,
                args=tuple(args or ()),
                kwargs=dict(kwargs or {}),
                options={**(options or {}), **more},
                subtask_type=subtask_type,
                immutable=immutable,
            )
        object.__setattr__(self, "_app", app)

    @property
    def app(self) -> App:
        if self._app is None:
            from multi.app import current

            return current.get()
        return self._app

    @property
    def task(self) -> str:
        name: str = self["task"]
        return name

    name = task

    @property
    def type(self) -> Task:
        return self.app.tasks[self["task"]]

    @property
    def id(self) -> str | None:
        return self.options.get("task_id")

    @property
    def args(self) -> Any:
        return self.get("args") or ()

    @property
    def kwargs(self) -> dict[str, Any]:
        return self.get("kwargs") or {}

    @property
    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = self.setdefault("options", {})
        return found

    @property
    def immutable(self) -> bool:
        return bool(self.get("immutable"))

    def merged(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Arguments and options of a call with more of them: in front, and on top; only options if immutable."""
        merged_options = {**self.options, **(options or {})}
        if self.immutable:
            return tuple(self.args), dict(self.kwargs), merged_options
        return (*args, *self.args), {**self.kwargs, **(kwargs or {})}, merged_options

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature:
        """A copy with more arguments."""
        new_args, new_kwargs, new_options = self.merged(args, kwargs, options)
        copy = type(self)({**self, "args": new_args, "kwargs": new_kwargs, "options": new_options}, app=self._app)
        for key in ("link", "link_error"):
            if isinstance(new_options.get(key), list):
                new_options[key] = list(new_options[key])
        return copy

    partial = clone

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """Change options in place: `add.s(2).set(queue="slow")`."""
        if immutable is not None:
            self["immutable"] = immutable
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        self["immutable"] = immutable

    def link(self, callback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `callback` with the result of this one."""
        _append(self.options, "link", callback)
        return callback

    def link_error(self, errback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `errback` if this one fails."""
        _append(self.options, "link_error", errback)
        return errback

    def on_error(self, errback: Mapping[str, Any]) -> Signature:
        self.link_error(errback)
        return self

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send it to a worker."""
        new_args, new_kwargs, new_options = self.merged(args, kwargs, options)
        app = self.app
        task = app.tasks.get(self["task"])
        if task is None:
            return app.send_task(self["task"], new_args, new_kwargs, **new_options)
        return task.apply_async(new_args, new_kwargs, **new_options)

    def apply(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run it here and now."""
        new_args, new_kwargs, new_options = self.merged(args, kwargs, options)
        return self.type.apply(new_args, new_kwargs, **new_options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        new_args, new_kwargs, _ = self.merged(args, kwargs)
        return self.type(*new_args, **new_kwargs)

    def freeze(self, _id: str | None = None, **options: Any) -> AsyncResult:
        """Give it its id now, and options such as root_id, parent_id or group_id; returns the result to come."""
        self.options.update((key, value) for key, value in options.items() if value is not None)
        task_id: str = self.options.setdefault("task_id", _id or identity.new_id())
        self.options.setdefault("reply_to", identity.oid())  # whoever sends it: this is who asks for the result
        self.app.expect([task_id])
        return AsyncResult(task_id, self.app)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Signature):
            return NotImplemented
        return Chain(*_steps(self), *_steps(other), app=self._app)

    def __reduce__(self) -> Any:
        return _revive, (dict(self),)

    def __repr__(self) -> str:
        parts = [repr(arg) for arg in self.args] + [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{self['task']}({', '.join(parts)})"


class Chain(Signature):
    """`add.s(1, 2) | mul.s(3)`: tasks one after the other, each called with the result of the one before."""

    def __init__(self, *tasks: Any, app: App | None = None, **options: Any) -> None:
        if len(tasks) == 1 and isinstance(tasks[0], Mapping) and tasks[0].get("subtask_type") == "chain":
            super().__init__(tasks[0], app=app)
            return
        if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
            tasks = tuple(tasks[0])
        steps = [step for task in tasks for step in _steps(signature(task, app=app))]
        # the app of the tasks is meant, which need not be the current one
        app = app or next((step._app for step in steps if isinstance(step, Signature) and step._app), None)
        super().__init__("celery.chain", (), {"tasks": steps}, options, app=app, subtask_type="chain")

    @property
    def tasks(self) -> list[Signature]:
        return [signature(step, app=self._app) for step in self["kwargs"]["tasks"]]

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send the first task, with the others behind it; returns the result of the last one."""
        from multi.app.aftermath import chain_steps, refuse_unknown

        app = self.app
        refuse_unknown(self)
        steps = chain_steps({**self, "options": {**self.options, **options}, "args": (*args, *self.args)})
        if not steps:
            raise ValueError("an empty chain can't be sent")
        if app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        first = steps[0]
        root_id: str = first["options"]["task_id"]
        parent: AsyncResult | None = None
        for step in steps:
            step["options"].setdefault("root_id", root_id)
            step["options"].setdefault("reply_to", identity.oid())  # most of them are sent by a worker
            parent = AsyncResult(step["options"]["task_id"], app, parent)
        app.expect([step["options"]["task_id"] for step in steps])
        call = Signature(first, app=app)
        more = {**(kwargs or {})} if not first.get("immutable") else {}
        call.apply_async((), more, chain=[dict(step) for step in reversed(steps[1:])] or None)
        return parent

    def apply(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run all of them here and now."""
        last: Any = None
        given = tuple(args)
        for step in self.tasks:
            result = step.clone(given).apply()
            result.parent = last
            last = result
            if not result.successful():
                break
            given = (result.result,)
        return last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return " | ".join(repr(task) for task in self.tasks)


def _steps(item: Mapping[str, Any]) -> list[Any]:
    if item.get("subtask_type") == "chain" and not item.get("options"):
        return list(item["kwargs"]["tasks"])
    return [item]


def _append(options: dict[str, Any], key: str, item: Any) -> None:
    present = options.get(key)
    listed = [] if not present else list(present) if isinstance(present, list | tuple) else [present]
    if item not in listed:
        listed.append(item)
    options[key] = listed


def _revive(fields: dict[str, Any]) -> Signature:
    return signature(fields)


def signature(
    task: Any, args: Any = None, kwargs: Any = None, options: Any = None, app: App | None = None, **more: Any
) -> Signature:
    """A signature of a task, a name, or a signature's dict as it comes out of a message."""
    if isinstance(task, Signature):
        return task
    if isinstance(task, Mapping):
        return Chain(task, app=app) if task.get("subtask_type") == "chain" else Signature(task, app=app)
    return Signature(task, args, kwargs, options, app, **more)


def chain(*tasks: Any, **options: Any) -> Chain:
    """`chain(a.s(1), b.s(), c.s())`: the same as `a.s(1) | b.s() | c.s()`."""
    return Chain(*tasks, **options)
