"""The end of a chord: what the part that completes it sends, or records where a part has failed.

A part is put to its chord before its message is acknowledged, and what follows goes out together with the
acknowledgement. So the body is sent once, whichever worker dies when: a part that comes again fills the place that it has,
and only the part that completed the chord is told of it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multi.app import exceptions
from multi.app.aftermath import after_failure, fallen, parts_of
from multi.app.canvas.dispatch import Dispatch
from multi.app.canvas.signatures import listed
from multi.app.request import Context
from multi.app.states import EXCEPTION_STATES, PROPAGATE_STATES
from multi.errors import ChordError, MultiError
from multi.outcome import Outcome, Part, Publication
from multi.store import Store

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.backends.base import Joined


def close(app: App, outcome: Outcome) -> None:
    """Fill the places of `outcome` in chords; what follows from those that are complete is added to it.

    Raises `BackendUnavailable`, and can be called again then.
    """
    backend = app.backend
    assert backend is not None  # else the message would have been set aside
    waiting = list(outcome.parts)
    publications: list[Publication] = []
    stores: list[Store] = []
    while waiting:
        part = waiting.pop(0)
        success = part.state == "SUCCESS"
        joined = backend.join_chord(part.group_id, part.index, part.task_id, _encoded(app, part), success=success)
        if joined is None:
            continue
        dispatch = Dispatch(app, {"parent_id": part.task_id, "root_id": part.root_id})
        try:
            dispatch.lay(part.body, (_values(app, joined),))
        except ChordError as error:
            found = error
        except MultiError as error:
            found = ChordError(f"Callback error: {error!r}")
            found.__cause__ = error
        else:
            publications += dispatch.publications
            stores += dispatch.stores
            continue
        following, recorded, parts = _failed(app, part, found)
        publications += following
        stores += recorded
        waiting += parts
    outcome.publications = [*outcome.publications, *publications]
    outcome.stores = [*outcome.stores, *stores]
    outcome.parts = []


def fail(app: App, body: dict[str, Any], group_id: str, error: ChordError) -> None:
    """Have the body of a chord fail now, with all that follows from it."""
    part = Part(group_id, None, "", "FAILURE", error, body, "")
    outcome = Outcome("", body["task"], "FAILURE", error, record=False)
    outcome.publications, outcome.stores, outcome.parts = _failed(app, part, error)
    if outcome.parts:
        close(app, outcome)
    assert app.backend is not None
    app.backend.store(outcome.stores)
    if outcome.publications:
        app.broker.publish(outcome.publications)


def _encoded(app: App, part: Part) -> bytes:
    result = part.result
    if part.state in EXCEPTION_STATES and isinstance(result, BaseException):
        result = exceptions.to_wire(result, app.recorder.codec)
    return app.recorder.dump([1, part.task_id, part.state, result])


def _values(app: App, joined: Joined) -> list[Any]:
    """The results of all parts in their order and structure. Raises the `ChordError` of the first that has failed."""
    found: list[tuple[str, Any]] = []
    for text in joined.parts:
        _, task_id, state, value = app.recorder.load(text)
        if state in EXCEPTION_STATES:
            value = exceptions.from_wire(value)
        if state in PROPAGATE_STATES:
            error = ChordError(f"Dependency {task_id} raised {value!r}")
            error.__cause__ = value if isinstance(value, BaseException) else None
            raise error
        found.append((task_id, value))
    if joined.tree is None:
        return [value for _, value in found]
    values = dict(found)
    _, members = app.recorder.load(joined.tree)["result"]
    return [*_structured(members, values), *values.values()]  # those that were added later come last


def _structured(members: Any, values: dict[str, Any]) -> list[Any]:
    found = []
    for (task_id, _), below in members:
        found.append(values.pop(task_id, None) if below is None else _structured(below, values))
    return found


def _failed(app: App, part: Part, error: ChordError) -> tuple[list[Publication], list[Store], list[Part]]:
    """The body, and what comes after it, fail: recorded for each task, told to the errbacks and to the chords around."""
    body = part.body
    backend = app.backend
    assert backend is not None
    tasks, waited_for = fallen([body, *((body.get("options") or {}).get("chain") or ())])
    failure = Outcome("", body["task"], "FAILURE", error)
    stores = [
        backend.encode(task_id, app.recorder.fallen(failure, task_id, group_id, parent_id), reply_to=None)
        for task_id, group_id, parent_id in tasks
    ]
    publications: list[Publication] = []
    for task_id, errbacks in _errbacks(body):
        request = Context(id=task_id, root_id=part.root_id, parent_id=part.task_id, errbacks=errbacks)
        request.called_directly = False
        sent, recorded, raised = after_failure(app, {"errbacks": errbacks}, task_id, part.root_id, request, error, None)
        publications += sent
        stores += recorded
        for trouble in raised:
            _complain(task_id, trouble)
    return publications, stores, parts_of(waited_for, "FAILURE", error, part.root_id)


def _errbacks(body: Any) -> list[tuple[str, list[Any]]]:
    """Whom to tell of the failure of a body that never began, and by which id."""
    kind, options, kwargs = body.get("subtask_type"), body.get("options") or {}, body.get("kwargs") or {}
    own = listed(options.get("link_error"))
    if kind == "chord":
        return [(task_id, [*own, *known]) for task_id, known in _errbacks(kwargs["body"])]
    if kind == "group":
        return [
            (task_id, [*known, *(errback for errback in own if errback not in known)])
            for member in kwargs["tasks"]
            for task_id, known in _errbacks(member)
        ]
    return [(str(options.get("task_id") or ""), own)]


def _complain(task_id: str, trouble: BaseException) -> None:
    import logging

    logging.getLogger("multi.task").error(
        "Chord body %s: beside its failure, an errback raised %r", task_id, trouble, exc_info=trouble
    )
