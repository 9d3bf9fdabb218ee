"""A middleware that is named by module and class, as settings of a project do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from multi import Middleware
from multi.app.middleware import Run


class Layer(Middleware):
    """Tells around the result by which pool and way it was called."""

    def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
        return ["plain", proceed()]

    async def arun(self, run: Run, proceed: Callable[[], Awaitable[Any]]) -> Any:
        return ["async", await proceed()]
