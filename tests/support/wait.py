"""Waiting for a fact, with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(fact: Callable[[], T | None], timeout: float = 10.0, *, what: str = "") -> T:
    """The first true value of `fact()`; an AssertionError that names `what` when there is none in time.

    `what` may hold the thing that is waited for as a sentence; without one the function's name has to do.
    """
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what or getattr(fact, '__name__', fact)}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
