"""What people are told of a task: how it is called, and what its options are where they are not the usual ones."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi.masking import is_secret

if TYPE_CHECKING:
    from multi.app.task import Task

#: In the order in which they are told.
OPTIONS = (
    *("bind", "queue", "exchange", "routing_key", "priority", "rate_limit", "rate_limit_scope", "time_limit"),
    *("soft_time_limit", "max_retries", "default_retry_delay", "autoretry_for", "retry_backoff", "acks_late"),
    *("max_deliveries", "ignore_result", "track_started", "serializer", "compression", "expires", "throws"),
    *("unique_for", "unique_until", "concurrency_limit", "pydantic", "typing"),
)
#: Under this name workers tell `signature` beside the attributes of a task.
PARAMETERS = "parameters"
_SIMPLE = (int, float, bool, str, type(None))
#: In place of a default that can't be written down, or must not be.
_SOME = "..."


def signature(task: Task) -> str:
    """The parameters that callers give, as in "(x: int, y=1)"; "(...)" of a task written in C."""
    try:
        if "multi.app.injection" in sys.modules:
            from multi.app import injection

            found = injection.visible(task, injection.of(task))
        else:
            found = inspect.signature(task.run)
    except (TypeError, ValueError):
        return "(...)"
    parts: list[str] = []
    last: Any = None
    for each in found.parameters.values():
        if last is inspect.Parameter.POSITIONAL_ONLY and each.kind is not last:
            parts.append("/")
        if each.kind is each.KEYWORD_ONLY and last not in (each.KEYWORD_ONLY, each.VAR_POSITIONAL):
            parts.append("*")
        parts.append(_parameter(each))
        last = each.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    return f"({', '.join(parts)})"


def _parameter(each: inspect.Parameter) -> str:
    stars = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
    text = f"{stars}{each.name}"
    if each.annotation is not each.empty:
        hint = each.annotation if isinstance(each.annotation, str) else inspect.formatannotation(each.annotation)
        text += f": {hint}"
    if each.default is each.empty:
        return text
    shown = _SOME
    if isinstance(each.default, _SIMPLE) and not (is_secret(each.name) and isinstance(each.default, str)):
        shown = repr(each.default)
    return f"{text} = {shown}" if ": " in text else f"{text}={shown}"


def options(task: Task) -> dict[str, Any]:
    """The options of a task that are set for it, in words that JSON knows."""
    from multi.app.task import Task as Base

    found: dict[str, Any] = {}
    for name in OPTIONS:
        value = task._bound if name == "bind" else getattr(task, name)
        usual = False if name == "bind" else getattr(Base, name)
        if value != usual:
            found[name] = _told(value)
    return found


def _told(value: Any) -> Any:
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, tuple | list | set | frozenset):
        return [_told(each) for each in value]
    if isinstance(value, type):
        return value.__name__
    return str(value)


def misfit(written: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Why a call doesn't fit a signature as `signature` writes it, "" where it does or nobody can tell."""
    try:
        (function,) = ast.parse(f"def task{written}: pass").body
    except (SyntaxError, ValueError):
        return ""
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    without = len(positional) - len(given.defaults)
    parameters = [
        _bare(
            each,
            inspect.Parameter.POSITIONAL_ONLY
            if number < len(given.posonlyargs)
            else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            number >= without,
        )
        for number, each in enumerate(positional)
    ]
    if given.vararg is not None:
        parameters.append(_bare(given.vararg, inspect.Parameter.VAR_POSITIONAL, False))
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        parameters.append(_bare(each, inspect.Parameter.KEYWORD_ONLY, default is not None))
    if given.kwarg is not None:
        parameters.append(_bare(given.kwarg, inspect.Parameter.VAR_KEYWORD, False))
    try:
        bound = inspect.Signature(parameters).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    except ValueError:
        return ""
    # Python 3.13.0 doesn't miss it where `**more` takes a keyword of its name
    missing = [each.name for each in parameters[: len(given.posonlyargs)] if each.default is each.empty]
    left_out = next((name for name in missing if name not in bound.arguments), None)
    return "" if left_out is None else f"missing a required positional-only argument: {left_out!r}"


def _bare(each: ast.arg, kind: Any, has_default: bool) -> inspect.Parameter:
    return inspect.Parameter(each.arg, kind, default=None if has_default else inspect.Parameter.empty)
