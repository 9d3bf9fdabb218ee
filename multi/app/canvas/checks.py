"""What a signature must be, whoever wrote it: asked by senders before they send and by workers before they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from multi.app.canvas.signatures import revived
from multi.errors import MultiError

if TYPE_CHECKING:
    from multi.app.app import App

#: How deep signatures may stand in one another; a message from elsewhere must not exhaust the stack of a worker.
DEEPEST = 200


def refuse_circles(call: Mapping[str, Any]) -> None:
    """Raise `ValueError` if a signature contains itself, which would have no end."""
    found = _circle(call, set(), 0)
    if found:
        raise ValueError(found)


def _circle(call: Mapping[str, Any], above: set[int], depth: int) -> str:
    if id(call) in above:
        return f"circular canvas: {call.get('task')} is among the tasks that it consists of, or that follow it"
    if depth > DEEPEST:
        return f"the canvas is nested more than {DEEPEST} levels deep"
    above.add(id(call))
    for inner in inside(call):
        found = _circle(inner, above, depth + 1)
        if found:
            return found
    above.discard(id(call))
    return ""


def inside(call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every signature that stands in this one: what it consists of, and what follows it."""
    yield from members(call)
    yield from _linked(call)


def members(call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The signatures that this one consists of: tasks, header, body."""
    kwargs = call.get("kwargs")
    if call.get("subtask_type") in ("chain", "group", "chord") and isinstance(kwargs, Mapping):
        for key in ("tasks", "header", "body"):
            yield from _signatures(kwargs.get(key))


def _linked(call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those that follow it: callbacks, errbacks, the rest of a chain, the body of a chord."""
    options = call.get("options")
    if isinstance(options, Mapping):
        for key in ("link", "link_error", "chain", "chord"):
            yield from _signatures(options.get(key))


def _signatures(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, Mapping):
                yield item


def obstacle(app: App, embed: Mapping[str, Any]) -> str:
    """Why a message with these callbacks, errbacks, chain and chord can't be honoured whole here; "" if it can."""
    chord = embed.get("chord")
    try:
        for call in (*(embed.get("callbacks") or ()), *(embed.get("errbacks") or ()), *(embed.get("chain") or ())):
            if not _plain(call):
                _look(call)
        if chord and not _plain(chord):
            _look(chord)
    except (TypeError, AttributeError, KeyError, ValueError, RecursionError, MultiError) as error:
        return f"its callbacks, errbacks, chain or chord are no signatures: {error}"
    if chord:
        backend = app.backend
        if backend is None or not backend.chords:
            return "it is part of a chord, and there is no result backend here that can complete one"
    return ""


def _plain(call: Any) -> bool:
    """Whether this is the call of one task with nothing linked to it: most are, and a long chain has many of them."""
    try:
        options = call["options"]
        return (
            not call["subtask_type"]
            and type(call["task"]) is str
            and not call["task"].startswith("celery.")
            and type(call["args"]) is list
            and type(call["kwargs"]) is dict
            and type(options) is dict
            and not (options.get("link") or options.get("link_error") or options.get("chord") or options.get("chain"))
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _look(call: Any, depth: int = 0, *, whole: bool = False) -> None:
    """Raise for what is no signature, in it or linked to it; `whole`: it was taken apart with what it stands in."""
    if not isinstance(call, Mapping):
        raise TypeError(f"a signature is a mapping, not {call!r}")
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    if not whole:
        revived(call)
    for inner in members(call):
        _look(inner, depth + 1, whole=True)
    for inner in _linked(call):
        _look(inner, depth + 1)
