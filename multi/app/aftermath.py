"""What follows a task's end: callbacks, the next task of its chain, errbacks. Celery's meaning, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from multi.app.canvas.dispatch import Dispatch
from multi.app.canvas.groups import members_of
from multi.outcome import Outcome, Part, Publication
from multi.store import Store

if TYPE_CHECKING:
    from multi.app.app import App

_VARIADIC = 0x04


def after_success(dispatch: Dispatch, embed: Mapping[str, Any], result: Any) -> list[Any]:
    """Callbacks and the next task of the chain, called with the result; returns the results to come.

    Raises `EncodeError` if that can't be sent.
    """
    children = [dispatch.lay(callback, (result,)) for callback in embed.get("callbacks") or ()]
    chain = embed.get("chain")
    if chain:
        children.append(dispatch.lay(chain[-1], (result,), chain=chain[:-1]))
    return children


def after_failure(
    app: App,
    embed: Mapping[str, Any],
    task_id: str,
    root_id: str,
    request: Any,
    error: BaseException,
    traceback: str | None,
) -> tuple[list[Publication], list[Store], list[BaseException]]:
    """Errbacks: those that take (request, exc, traceback) are called here and now, the others sent with the task's id.

    Returns the messages, what is to be recorded with them, and what the called ones have raised.
    """
    dispatch = Dispatch(app, {"parent_id": task_id, "root_id": root_id})
    raised: list[BaseException] = []
    for errback in embed.get("errbacks") or ():
        if takes_the_error(app, errback):
            try:
                call_here(app, errback, request, error, traceback)
            except Exception as failure:  # an errback of anybody's; the task's own failure is what counts
                raised.append(failure)
        else:
            dispatch.lay(errback, (task_id,))
    return dispatch.publications, dispatch.stores, raised


def takes_the_error(app: App, errback: Mapping[str, Any]) -> bool:
    """Whether an errback takes (request, exc, traceback): those are called where the task has failed."""
    task = app._tasks.get(errback["task"]) if not errback.get("subtask_type") else None
    return task is not None and not task._bound and _takes_more(task.run, errback)


def call_here(app: App, errback: Mapping[str, Any], request: Any, error: Any, traceback: str | None) -> None:
    """Call such an errback."""
    given = tuple(errback.get("args") or ())
    args = given if errback.get("immutable") else (request, error, traceback, *given)
    app._tasks[errback["task"]](*args, **(errback.get("kwargs") or {}))


def _takes_more(function: Any, errback: Mapping[str, Any]) -> bool:
    """Whether an errback takes more than one argument besides those it carries already."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    if code.co_flags & _VARIADIC:
        return True
    taken = 0
    if not errback.get("immutable"):
        names = code.co_varnames[: code.co_argcount]
        taken = len(errback.get("args") or ()) + sum(1 for key in errback.get("kwargs") or {} if key in names)
    return bool(code.co_argcount - taken > 1)


def leaves(call: Mapping[str, Any], counted: bool = True) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The tasks of a signature, each with whether it ends what the whole is a part of: those of a header don't."""
    kind, kwargs = call.get("subtask_type"), call.get("kwargs") or {}
    if kind in ("chain", "group"):
        for task in members_of(kwargs.get("tasks")):
            yield from leaves(task, counted)
    elif kind == "chord":
        for task in members_of(kwargs.get("header")):
            yield from leaves(task, False)
        if kwargs.get("body"):
            yield from leaves(kwargs["body"], counted)
    else:
        yield call, counted


def fallen(calls: Iterable[Any] | None) -> tuple[list[tuple[str, str | None, str | None]], list[Mapping[str, Any]]]:
    """The tasks that will not run after a failure, (id, group, parent) of those whose id is known; and the options of
    those that are parts of a chord, which waits for them."""
    found, waited_for = [], []
    for call in calls or ():
        for leaf, counted in leaves(call):
            options = leaf.get("options") or {}
            if options.get("task_id"):
                found.append((options["task_id"], options.get("group_id"), options.get("parent_id")))
                if counted and options.get("chord") and options.get("group_id"):
                    waited_for.append(options)
    return found, waited_for


def parts_of(waited_for: Iterable[Mapping[str, Any]], state: str, result: Any, root_id: str) -> list[Part]:
    """The places in chords of tasks that have ended before they began."""
    return [
        Part(
            options["group_id"],
            options.get("group_index"),
            options["task_id"],
            state,
            result,
            options["chord"],
            root_id,
        )
        for options in waited_for
    ]


def abandon(outcome: Outcome, headers: Mapping[str, Any], embed: Mapping[str, Any]) -> Outcome:
    """Complete the outcome of a task that ended before it began: the rest of its chain ends with it, and a chord whose
    part it is hears of it."""
    outcome.fallen, waited_for = fallen(embed.get("chain"))
    chord, group_id = embed.get("chord"), headers.get("group")
    if chord and group_id:
        place = {"group_id": group_id, "group_index": headers.get("group_index"), "task_id": outcome.task_id}
        waited_for.append({**place, "chord": chord})
    if waited_for:
        outcome.parts = parts_of(waited_for, outcome.state, outcome.result, headers.get("root_id") or outcome.task_id)
    return outcome
