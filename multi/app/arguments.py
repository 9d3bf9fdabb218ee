"""Calls checked against the parameters of a task, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

_EMPTY: CodeType = (lambda: None).__code__
_ARGUMENTS, _KEYWORDS, _VARIADIC = 0x04, 0x08, 0x04 | 0x08


def head(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the parameters of `function` and an empty body: calling it checks arguments, fast.

    `inspect.signature` would do, but its import costs a producer several milliseconds.
    """
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType):
        return _accept_all
    code = plain.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & _ARGUMENTS) + bool(code.co_flags & _KEYWORDS)
    empty = _EMPTY.replace(
        co_argcount=code.co_argcount,
        co_posonlyargcount=code.co_posonlyargcount,
        co_kwonlyargcount=code.co_kwonlyargcount,
        co_nlocals=count,
        co_varnames=code.co_varnames[:count],
        co_flags=(_EMPTY.co_flags & ~_VARIADIC) | (code.co_flags & _VARIADIC),
        co_name=code.co_name,
        co_qualname=code.co_name,
    )
    head = FunctionType(empty, {}, plain.__name__, plain.__defaults__)
    head.__kwdefaults__ = plain.__kwdefaults__
    return head


def _accept_all(*args: Any, **kwargs: Any) -> None:
    """For callables whose parameters can't be told cheaply: the worker will find out."""
