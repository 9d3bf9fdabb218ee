"""Tasks one after the other, each called with the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi.app.canvas.groups import Group, single
from multi.app.canvas.signatures import Signature, kind, listed, signature

if TYPE_CHECKING:
    from multi.app.app import App

#: Options of a chain that are meant for its last task; links are, too, and errbacks for all; others for the first.
OF_THE_LAST = ("task_id", "group_id", "group_index", "chord")


@kind("chain", "celery.chain")
class Chain(Signature):
    """`add.s(1, 2) | mul.s(3)`; what hangs on a chain hangs on its last task, and an errback on all of them."""

    def __init__(self, *tasks: Any, app: App | None = None, **options: Any) -> None:
        if len(tasks) == 1 and isinstance(tasks[0], Mapping) and _is_chain(tasks[0]):
            fields = dict(tasks[0])
            steps = [signature(step, app=app) for step in _tasks_of(fields)]
            fields["kwargs"] = {**fields["kwargs"], "tasks": steps}
            fields["options"] = {**(fields.get("options") or {}), **options}
            super().__init__(fields, app=app or _app_of(steps))
            return
        if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
            tasks = tuple(tasks[0])
        steps = []
        for task in tasks:
            for step in _steps(signature(task, app=app)):
                _add(steps, single(step) if steps else step)
        # the app of the tasks is meant, which need not be the current one
        super().__init__("celery.chain", (), {"tasks": steps}, options, app=app or _app_of(steps), subtask_type="chain")

    @property
    def tasks(self) -> list[Signature]:
        found: list[Signature] = self["kwargs"]["tasks"]
        return found

    @tasks.setter
    def tasks(self, steps: Iterable[Signature]) -> None:
        self["kwargs"]["tasks"] = list(steps)

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature:
        copy = super().clone(args, kwargs, **options)
        copy["kwargs"] = {**copy["kwargs"], "tasks": [step.clone() for step in self.tasks]}
        return copy

    def unchain_tasks(self) -> list[Signature]:
        """Copies of its tasks, with all that hangs on the chain hung on them."""
        return [step.clone() for step in _with_links(self, [step.clone() for step in self.tasks])]

    def steps(self) -> list[Signature]:
        """Its tasks as they are run, in order: chains in it taken apart, a group that something follows made a chord."""
        found: list[Signature] = []
        for step in self.tasks:
            for part in _spliced(step) if isinstance(step, Chain) else [single(step)]:
                if isinstance(part, Group) and not part.tasks:
                    continue
                _add(found, part)
        _with_links(self, found)
        if found:
            own = self.options
            first = found[0]
            for key, value in own.items():
                if key not in OF_THE_LAST and key not in ("link", "link_error", "chain", "reply_to"):
                    first.options[key] = value
            if self.args and not first.immutable:
                first["args"] = (*self.args, *first.args)
        return found

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Mapping[str, Any] | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give all tasks their ids, and the last one its place; the result is that of the last one."""
        steps = self.steps()
        if not steps:
            raise ValueError("an empty chain can't be sent")
        own = self.options
        self["kwargs"] = {**self["kwargs"], "tasks": steps}
        self["args"] = ()
        # errbacks stay beside those of the tasks: as the body of a chord it may fail before any of them begins
        kept = (*OF_THE_LAST, "chain", "reply_to", "link_error")
        self["options"] = {key: own[key] for key in kept if own.get(key) is not None}
        own = self["options"]
        result: Any = None
        for index, step in enumerate(steps):
            if index < len(steps) - 1:
                found = step.freeze(root_id=root_id, parent_id=parent_id if index == 0 else None)
            else:
                found = step.freeze(
                    own.get("task_id") or _id,
                    group_id=own.get("group_id") or group_id,
                    chord=chord or own.get("chord"),
                    root_id=root_id,
                    group_index=own.get("group_index") if group_index is None else group_index,
                )
            if index == 0 and root_id is None:
                root_id = step.options.get("task_id")
                step.options.setdefault("root_id", root_id)
            top = found
            while top.parent is not None:
                top = top.parent
            top.parent = result
            result = found
        own["task_id"] = result.id
        return result

    _freeze = freeze

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send the first task, with the others behind it; returns the result of the last one, None if it is empty."""
        from multi.app.canvas.dispatch import send

        if not self.tasks:
            return None
        return send(self, args, kwargs, options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run all of them here and now."""
        copy = self.clone(**options)
        assert isinstance(copy, Chain)
        last: Any = None
        given, named = tuple(args or ()), kwargs
        for step in copy.steps():
            result = step.clone(given, named).apply()
            result.parent = last
            last, named = result, None
            if not result.successful():
                break
            given = (result.get(disable_sync_subtasks=False),)
        return last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return " | ".join(repr(task) for task in self.tasks)


def joined(left: Signature, right: Any) -> Any:
    """`left | right`: a chain; a chord where a group is followed by something."""
    from multi.app.canvas.chords import Chord

    if not isinstance(right, Signature):
        return NotImplemented
    right = single(right)
    if isinstance(right, Group) and not right.tasks:
        return left
    if isinstance(left, Group):
        return Chord(left, right, app=left._app)
    if isinstance(left, Chord) and not isinstance(right, Chain | Chord):
        copy = left.clone()
        assert isinstance(copy, Chord)
        copy.body = joined(copy.body, right)
        return copy
    app = left._app or right._app
    return Chain(*[step.clone() for step in (*_steps(left), *_steps(right))], app=app)


def _add(steps: list[Signature], step: Signature) -> None:
    """Add a step; a group before it becomes the header of a chord with this body."""
    from multi.app.canvas.chords import Chord

    if steps and isinstance(steps[-1], Group):
        steps[-1] = Chord(steps[-1], step, app=step._app)
    else:
        steps.append(step)


def _steps(item: Signature) -> list[Signature]:
    if isinstance(item, Chain):
        own = item.options
        if not own and not item.args:
            return list(item.tasks)
        if not own.keys() - {"link", "link_error"} and not item.args:
            return item.unchain_tasks()
    return [item]


def _spliced(inner: Chain) -> list[Signature]:
    """The steps of a chain that is a step of another one; what it is given as a whole goes to its last one."""
    steps = inner.steps()
    own = inner.options
    if steps and any(own.get(key) is not None for key in OF_THE_LAST):
        steps[-1].freeze(own.get("task_id"), own.get("group_id"), own.get("chord"), group_index=own.get("group_index"))
    return steps


def _with_links(chain: Chain, steps: list[Signature]) -> list[Signature]:
    own = chain.options
    if steps:
        for callback in listed(own.get("link")):
            steps[-1].link(callback)
        for errback in listed(own.get("link_error")):
            for step in steps:
                step.link_error(errback)
    return steps


def _is_chain(fields: Mapping[str, Any]) -> bool:
    return fields.get("subtask_type") == "chain" or fields.get("task") == "celery.chain"


def _tasks_of(fields: Mapping[str, Any]) -> list[Any]:
    tasks = (fields.get("kwargs") or {}).get("tasks")
    if isinstance(tasks, Mapping):  # a group in the place of the list
        tasks = (tasks.get("kwargs") or {}).get("tasks")
    if not isinstance(tasks, list | tuple):
        raise TypeError(f"a {fields.get('task')} has a list of tasks, not {tasks!r}")
    for task in tasks:
        if not isinstance(task, Mapping):
            raise TypeError(f"a {fields.get('task')} consists of signatures, not of {task!r}")
    return list(tasks)


def _app_of(steps: Iterable[Signature]) -> App | None:
    return next((step._app for step in steps if step._app is not None), None)
