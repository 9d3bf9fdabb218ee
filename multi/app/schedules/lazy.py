"""Arguments of periodic tasks that are worked out when they are sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class BeatLazyFunc:
    """An argument of an entry that is a call, made each time the entry is sent: `BeatLazyFunc(datetime.now)`."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def delay(self) -> Any:
        return self._func(*self._args, **self._kwargs)

    __call__ = delay

    def __repr__(self) -> str:
        """The function that is called; what with may be secret."""
        name = getattr(self._func, "__qualname__", None) or type(self._func).__qualname__
        module = getattr(self._func, "__module__", None)
        whole = f"{module}.{name}" if module and module != "builtins" else name
        return f"BeatLazyFunc({whole}{', …' if self._args or self._kwargs else ''})"


def evaluated(value: Any) -> Any:
    """What an argument is at this moment."""
    return value() if isinstance(value, BeatLazyFunc) else value
