"""A task that has another one run in its place, or beside it in its chord."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multi.app.canvas.chains import Chain, joined
from multi.app.canvas.checks import refuse_circles
from multi.app.canvas.dispatch import Dispatch
from multi.app.canvas.groups import Group
from multi.app.canvas.signatures import Signature, listed, signature
from multi.app.request import running
from multi.errors import ConfigurationError, Ignore

if TYPE_CHECKING:
    from multi.app.task import Task


def replace(task: Task, call: Any) -> Any:
    """See `Task.replace`."""
    request, app = task.request, task.app
    call = signature(call, app=app).clone()
    refuse_circles(call)
    if "chord" in call.options:
        raise ConfigurationError(
            "what replaces a task must not be part of a chord already: it takes the task's place in its"
        )
    if isinstance(call, Chain) and not call.tasks:
        raise ConfigurationError("a task can't be replaced by an empty chain")
    accumulate = app.tasks["celery.accumulate"].s(index=0)
    if isinstance(call, Group):
        # a group has no end of its own: a chord has, whose body gives the results back
        call = joined(call, accumulate)
    elif isinstance(call, Chain) and isinstance(call.tasks[-1], Group):
        call.tasks = [*call.tasks[:-1], joined(call.tasks[-1], accumulate)]
    for callback in listed(request.callbacks):
        call.link(signature(callback, app=app))
    for errback in listed(request.errbacks):
        call.link_error(signature(errback, app=app))
    call.freeze(
        request.id,
        group_id=request.group,
        chord=request.chord,
        root_id=request.root_id,
        group_index=request.group_index,
    )
    nesting = (request.replaced_task_nesting or 0) + 1
    inner = call.tasks if isinstance(call, Chain) else [call]
    for step in inner:
        step.options["replaced_task_nesting"] = nesting
    chain = []
    for item in request.chain or []:
        step = signature(item, app=app)
        step.options["replaced_task_nesting"] = nesting
        chain.append(step)
    if chain:
        call.options["chain"] = chain
    return task.on_replace(call)


def send(task: Task, call: Signature) -> Any:
    """See `Task.on_replace`."""
    run: Any = running.get()
    if task.request.is_eager:
        run.replaced = call.apply()
        raise Ignore(f"replaced by another task in the place of {task.request.id}")
    dispatch = Dispatch(task.app, {"parent_id": task.request.parent_id} if task.request.parent_id else None)
    dispatch.lay(call)
    run.pending += dispatch.publications
    run.stores += dispatch.stores
    raise Ignore(f"replaced by another task in the place of {task.request.id}")


def add_to_chord(task: Task, call: Any, lazy: bool) -> Any:
    """See `Task.add_to_chord`."""
    request, app = task.request, task.app
    if not request.chord or not request.group:
        raise ValueError("this task is not part of a chord, so nothing can be added to it")
    added = signature(call, app=app).clone()
    result = added.freeze(
        group_id=request.group, chord=request.chord, root_id=request.root_id, group_index=request.group_index
    )
    backend = app.backend
    assert backend is not None
    backend.extend_chord(request.group)
    if lazy:
        return added
    added.apply_async()
    return result


__all__ = ["add_to_chord", "replace", "send"]
