"""A call to be made later: task, arguments, options. A dict, as it travels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.result import AsyncResult

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task

#: What a signature that has it doesn't let a call change, besides its stamps.
_KEPT = ("group_id", "stamped_headers")

#: The classes of the canvas, by the kind that stands in `subtask_type`, or by the built-in task that runs them.
KINDS: dict[str, type[Signature]] = {}


def kind(*names: str) -> Callable[[type[Any]], type[Any]]:
    """Make a class known as that of the signatures of this kind."""

    def register(cls: type[Any]) -> type[Any]:
        for name in names:
            KINDS[name] = cls
        return cls

    return register


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
            name = task if isinstance(task, str) else getattr(task, "name", None)
            if not isinstance(name, str):
                raise TypeError(f"a signature is made of a task, of its name, or of another signature, not of {task!r}")
            super().__init__(
                task=name,
                args=tuple(args or ()),
                kwargs=dict(kwargs or {}),
                options={**(options or {}), **more},
                subtask_type=subtask_type,
                immutable=immutable,
            )
        object.__setattr__(self, "_app", app)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], app: App | None = None) -> Signature:
        """A signature of the class that its dict names. Raises `TypeError` or `ValueError` for what is none."""
        return revived(fields, app)

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
    def parent_id(self) -> str | None:
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        return self.options.get("root_id")

    @property
    def args(self) -> Any:
        return self.get("args") or ()

    @args.setter
    def args(self, value: Sequence[Any]) -> None:
        self["args"] = value

    @property
    def kwargs(self) -> dict[str, Any]:
        return self.get("kwargs") or {}

    @kwargs.setter
    def kwargs(self, value: dict[str, Any]) -> None:
        self["kwargs"] = value

    @property
    def options(self) -> dict[str, Any]:
        found: dict[str, Any] | None = self.get("options")
        if found is None:
            found = self["options"] = {}
        return found

    @property
    def subtask_type(self) -> str | None:
        return self.get("subtask_type")

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
        own = self.options
        merged_options = dict(own)
        if options:
            kept = {*_KEPT, *(own.get("stamped_headers") or ())}
            merged_options.update((key, value) for key, value in options.items() if key not in kept or key not in own)
        if self.immutable:
            return tuple(self.args), dict(self.kwargs), merged_options
        return (*args, *self.args), {**self.kwargs, **(kwargs or {})}, merged_options

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature:
        """A copy with more arguments."""
        new_args, new_kwargs, new_options = self.merged(args, kwargs, options)
        for key in ("link", "link_error"):
            if isinstance(new_options.get(key), list | tuple):
                new_options[key] = list(new_options[key])
        return type(self)({**self, "args": new_args, "kwargs": new_kwargs, "options": new_options}, app=self._app)

    partial = clone

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature:
        """A copy with other arguments or options in the place of its own."""
        copy = self.clone()
        for key, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                copy[key] = value
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """Change options in place: `add.s(2).set(queue="slow")`."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Whether it takes no arguments from the task before it."""
        self["immutable"] = immutable

    def link(self, callback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `callback` with the result of this one."""
        append(self.options, "link", callback)
        return callback

    def link_error(self, errback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `errback` if this one fails."""
        append(self.options, "link_error", errback)
        return errback

    def on_error(self, errback: Mapping[str, Any]) -> Signature:
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Signature]:
        """This signature and all that is linked to it, and to that."""
        found = [self]
        for linked in listed(self.options.get("link")):
            found += signature(linked, app=self._app).flatten_links()
        return found

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Put stamps, headers of your own, on this call and on what is linked to it."""
        from multi.app.canvas.stamping import stamp

        stamp(self, visitor, append_stamps, headers)
        return self

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it to a worker."""
        new_args, new_kwargs, new_options = self.merged(args or (), kwargs, options)
        app = self.app
        if new_options.get("link") or new_options.get("link_error"):
            from multi.app.canvas.checks import refuse_circles

            refuse_circles(self)
        task = app.tasks.get(self["task"])
        if task is None:
            return app.send_task(self["task"], new_args, new_kwargs, **new_options)
        return task.apply_async(new_args, new_kwargs, **new_options)

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """`delay` for programs of asyncio: the loop goes on while the messages are on their way."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """`apply_async` for programs of asyncio."""
        from multi.app.coroutines import in_thread

        return await in_thread(self.apply_async, args, kwargs, **options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run it here and now."""
        new_args, new_kwargs, new_options = self.merged(args or (), kwargs, options)
        return self.type.apply(new_args, new_kwargs, **new_options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        new_args, new_kwargs, _ = self.merged(args, kwargs)
        return self.type(*new_args, **new_kwargs)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Mapping[str, Any] | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give it its id now, and its place in a group or chord; returns the result to come."""
        options = self.options
        task_id: str = options.get("task_id") or _id or identity.new_id()
        options["task_id"] = task_id
        options.setdefault("reply_to", identity.oid())  # whoever sends it: this is who asks for the result
        for key, value in (("root_id", root_id), ("parent_id", parent_id), ("group_id", group_id)):
            if value and not options.get(key):
                options[key] = value
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        self.app.expect([task_id])
        return AsyncResult(task_id, self.app)

    _freeze = freeze

    def __invert__(self) -> Any:
        """`~canvas`: send it, and wait for its result."""
        return self.apply_async().get()

    def __or__(self, other: Any) -> Any:
        from multi.app.canvas.chains import joined

        return joined(self, other)

    def __reduce__(self) -> Any:
        return revived, (dict(self),)

    def __deepcopy__(self, memo: Any) -> Signature:
        from copy import deepcopy

        copy = type(self)({key: deepcopy(value, memo) for key, value in self.items()}, app=self._app)
        memo[id(self)] = copy
        return copy

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        args, kwargs, _ = self.merged(args, kwargs)
        parts = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        return f"{self['task']}({', '.join(parts)})"

    def __repr__(self) -> str:
        return self.reprcall()


def listed(value: Any) -> list[Any]:
    """One item or several, as a list."""
    if not value:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def append(options: dict[str, Any], key: str, item: Any) -> None:
    """Add to a list among options, once; a new list, since copies of a signature share the old one."""
    present = listed(options.get(key))
    if item not in present:
        present.append(item)
    options[key] = present


def signature(
    task: Any, args: Any = None, kwargs: Any = None, options: Any = None, app: App | None = None, **more: Any
) -> Signature:
    """A signature of a task, a name, or a signature's dict as it comes out of a message."""
    if isinstance(task, Signature):
        return task
    if isinstance(task, Mapping):
        return revived(task, app)
    return Signature(task, args, kwargs, options, app, **more)


def maybe_signature(fields: Any, app: App | None = None, clone: bool = False) -> Signature | None:
    """The same of a dict or a signature; None stays None."""
    if fields is None:
        return None
    found = signature(fields, app=app)
    return found.clone() if clone else found


def revived(fields: Mapping[str, Any], app: App | None = None) -> Signature:
    """A signature from its dict, which anybody may have written. Raises `TypeError` or `ValueError`."""
    name = fields.get("task")
    if not isinstance(name, str) or not name:
        raise TypeError(f"a signature names its task by a text, not {name!r}")
    for key, wanted in (("args", list | tuple), ("kwargs", Mapping), ("options", Mapping)):
        value = fields.get(key)
        if value is not None and not isinstance(value, wanted):
            raise TypeError(f"the {key} of a signature of {name} can't be a {type(value).__name__}")
    sort = fields.get("subtask_type")
    if sort is not None and not isinstance(sort, str):
        raise TypeError(f"the subtask_type of a signature of {name} can't be {sort!r}")
    cls = KINDS.get(sort or name)
    if cls is None:
        if sort:
            raise ValueError(f"no signature is of the kind {sort!r}; there are chain, group, chord")
        cls = Signature
    return cls(fields, app=app)
