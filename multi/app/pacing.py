"""Rate limits of tasks: a message that has to wait for its turn waits in the broker, not in a worker.

`rate_limit` counts for each worker, as in Celery; with `rate_limit_scope="global"` for all that share the broker (or,
where that can't keep turns, the result backend).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from multi.app import rates
from multi.connections.turns import Turns
from multi.errors import ConfigurationError, MultiError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task


class Pace:
    """One task's pace."""

    def __init__(self, name: str, pause: float, turns: Turns | None) -> None:
        self.name = name
        self.pause = pause
        self.turns = turns
        """Those of this worker; None where the whole fleet has them in common."""

    def hold(self, app: App, member: str) -> float:
        """When the message `member` may run, in seconds since the epoch; 0 for now."""
        if self.turns is not None:
            wait = self.turns.reserve(member)
            return time.time() + wait if wait else 0.0
        keeper, own_clock = place(app)
        try:
            wait, moment = keeper.reserve(self.name, member, self.pause)
        except MultiError as error:
            import logging

            logging.getLogger("multi.task").error(
                "The rate limit of task %s can't be asked for, it waits a second: %s", self.name, error
            )
            return time.time() + 1.0
        if not wait:
            return 0.0
        return float(moment if own_clock else time.time() + wait)


def pace(task: Task) -> Pace | None:
    """The pace of `task`, None where there is no limit. Raises `ConfigurationError`."""
    rate, scope = task.effective("rate_limit"), task.rate_limit_scope
    try:
        rates.check(rate, scope)
        pause = rates.interval(rate)
    except ValueError as error:
        raise ConfigurationError(f"task {task.name}: {error}") from None
    if not pause:
        return None
    if scope == "global" and place(task.app)[0] is None:
        raise ConfigurationError(
            f'task {task.name}: rate_limit_scope="global" needs Redis or the embedded file as broker or as result backend'
        )
    if scope == "global":
        return Pace(task.name, pause, None)
    # kept when a setting changes: they were made before a worker's children were forked, which so share them
    key = (task.name, pause)
    turns = task.app.turns.get(key) or task.app.turns.setdefault(key, Turns(pause))
    return Pace(task.name, pause, turns)


def place(app: App) -> tuple[Any, bool]:
    """Where the workers of the whole fleet agree, and whether parked messages come back by its clock."""
    kept = app.worker_broker.agreements
    if kept is not None:
        return kept, True
    backend = app.backend
    return (None if backend is None else backend.agreements), False
