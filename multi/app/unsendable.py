"""Which argument of a call it is that a serializer can't express, or of a call that is to follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi.codecs import Codec
from multi.errors import EncodeError

if TYPE_CHECKING:
    from multi.app.task import Task


def explain(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    embed: Mapping[str, Any],
    tasks: Mapping[str, Task],
    encoder: Codec,
    error: EncodeError,
) -> EncodeError:
    """The error for a call of the task `name`: with the argument that is to blame, in the call itself or in one of those that
    follow it (`embed`: callbacks, errbacks, the rest of its chain, the body of its chord), if it can be found."""
    found = _in_call(name, args, kwargs, 0, tasks, encoder)
    if found is None:
        following = [one for value in embed.values() for one in _calls(value)]
        found = next((told for one in following if (told := _in_signature(one, tasks, encoder))), None)
    return found or EncodeError(f"the call of {name} can't be sent: {error}")


def _in_call(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    before: int,
    tasks: Mapping[str, Task],
    encoder: Codec,
) -> EncodeError | None:
    """What is wrong with these arguments, in front of which stand `before` others by the time of the call."""
    for index, value in enumerate(args):
        found = _within(value, encoder)
        if found:
            named = _parameter(tasks.get(name), index + before)
            return _told(name, f"argument {index + 1}{named}", value, found, encoder)
    for key, value in kwargs.items():
        found = _within(value, encoder)
        if found:
            return _told(name, f"argument {key!r}", value, found, encoder)
    return None


def _in_signature(call: Mapping[str, Any], tasks: Mapping[str, Task], encoder: Codec) -> EncodeError | None:
    from multi.app.canvas.checks import inside

    for inner in inside(call):
        found = _in_signature(inner, tasks, encoder)
        if found:
            return found
    if call.get("subtask_type"):
        return None  # a chain or the like: its arguments are the calls in it
    before = 0 if call.get("immutable") else 1  # the result of the task before it
    return _in_call(str(call.get("task")), call.get("args") or (), call.get("kwargs") or {}, before, tasks, encoder)


def _calls(value: Any) -> list[Mapping[str, Any]]:
    every = value if isinstance(value, list | tuple) else [value]
    return [one for one in every if isinstance(one, Mapping)]


def _told(name: str, which: str, value: Any, found: tuple[str, EncodeError], encoder: Codec) -> EncodeError:
    place, error = found
    where = f" (at {place})" if place else f", a {type(value).__name__},"
    return EncodeError(
        f"the {which} of {name}{where} can't be sent by the serializer {encoder.name!r}: {error}. Pass something that "
        "it can express (an id, say), or choose another serializer"
    )


def _within(value: Any, encoder: Codec, place: str = "", depth: int = 0) -> tuple[str, EncodeError] | None:
    """Where in `value` it is, and what the serializer says of it; None if all of it can be expressed."""
    try:
        encoder.dumps(value)
    except EncodeError as error:
        if depth < 5:  # a value may hold itself
            for step, part in _parts(value):
                found = _within(part, encoder, f"{place}[{step!r}]", depth + 1)
                if found:
                    return found
        return place, error
    return None


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _parameter(task: Task | None, index: int) -> str:
    """`" ('name')"`, where the task's parameters are known."""
    body: Any = getattr(task, "run", None)
    plain = getattr(body, "__wrapped__", body)
    code = getattr(getattr(plain, "__func__", plain), "__code__", None)
    if code is None or task is None:
        return ""
    names = code.co_varnames[: code.co_argcount]
    place = index + (1 if task._bound else 0)
    return f" ({names[place]!r})" if place < len(names) else ""
