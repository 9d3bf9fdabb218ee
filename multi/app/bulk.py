"""Many messages at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.canvas.signatures import Signature
from multi.app.task import Task
from multi.outcome import Publication

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.result import AsyncResult

_STOCK = 256


def build_many(app: App, calls: Iterable[Any]) -> list[Publication]:
    """The messages of `App.send_many`. Raises `TypeError` for what is no call."""
    publisher = app.publisher
    tasks = app.tasks
    found: list[Publication] = []
    stock: list[str] = []
    for call in calls:
        if not stock:
            stock = identity.new_ids(_STOCK)
        if isinstance(call, Signature):
            if call.get("subtask_type") or call["task"] == "celery.chunks":
                raise TypeError(f"send_many takes calls of single tasks; send this one by its apply_async: {call!r}")
            options = dict(call.options)
            app.check_options(options)
            task_id = options.pop("task_id", None) or stock.pop()
            name = call["task"]
            task = tasks.get(name)
            args, kwargs = call.args, call.kwargs
            if task is not None and task.unique_for is not None:
                raise _is_unique(task)
            if task is not None and task.typing and app.strict_typing:
                task.check_arguments(args, kwargs)
            if options:
                found.append(publisher.build(name, task, task_id, args, kwargs, options))
            else:
                found.append(publisher.plain(name, task, task_id, args, kwargs))
            continue
        target, args, kwargs = _parts(call)
        if isinstance(target, Task):
            name, task = target.name, target
            if task.typing and app.strict_typing:
                task.check_arguments(args, kwargs)
        else:
            name, task = target, tasks.get(target)
        if task is not None and task.unique_for is not None:
            raise _is_unique(task)
        found.append(publisher.plain(name, task, stock.pop(), args, kwargs))
    return found


def _is_unique(task: Task) -> TypeError:
    return TypeError(f"send_many can't send {task.name}, which is unique: call its delay or apply_async")


def apply_many(app: App, calls: Iterable[Any]) -> list[AsyncResult]:
    """The same where `task_always_eager` is set: every call is made here and now."""
    found: list[AsyncResult] = []
    for call in calls:
        if isinstance(call, Signature):
            found.append(call.apply())
        else:
            target, args, kwargs = _parts(call)
            task = target if isinstance(target, Task) else app.tasks[target]
            found.append(task.apply(args, kwargs))
    return found


def _parts(call: Any) -> tuple[Any, Sequence[Any], dict[str, Any]]:
    try:
        target, args = call[0], call[1]
        kwargs = call[2] if len(call) > 2 else {}
    except (TypeError, IndexError, KeyError):
        target = args = kwargs = None
    if not isinstance(target, Task | str) or not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise TypeError(f"send_many takes signatures, or tuples (task, args) or (task, args, kwargs), not {call!r}")
    return target, args, kwargs
