"""Commands that change how tasks are run, and what is told of them."""

from __future__ import annotations

import math
from secrets import token_hex
from typing import Any

from multi.app import rates
from multi.app.options import check_values
from multi.app.pacing import place
from multi.errors import MultiError
from multi.log import get_logger
from multi.worker.panel.shown import shown
from multi.worker.panel.state import State, nok, ok, own_control

logger = get_logger("multi.worker")

#: So long (s) it is known who has won an election.
_ELECTED = 600.0


@own_control(
    args=[("task_name", str), ("rate_limit", str)], signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>"
)
def rate_limit(state: State, task_name: str, rate_limit: Any, **_: Any) -> dict[str, Any]:
    """Change how often a task may run, until the worker is started again."""
    try:
        limited = bool(rates.interval(rate_limit))
    except ValueError as error:
        return nok(f"Invalid rate limit string: {error}")
    if task_name not in state.app.tasks:
        logger.error("Rate limit attempt for unknown task %s", shown(task_name))
        return nok("unknown task")
    if limited and state.app.conf.worker_disable_rate_limits:
        return nok("rate limits aren't applied here: the setting worker_disable_rate_limits says so")
    before = rates.interval(state.app.tasks[task_name].effective("rate_limit"))
    state.worker.directives.limit_rate(state.app, task_name, rate_limit)
    if before > rates.interval(rate_limit):
        # their turns were given by the old rate, and may be hours ahead
        state.parked.bring_back()
    if not limited:
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


@own_control(
    args=[("task_name", str), ("soft", float), ("hard", float)], signature="<task_name> <soft_secs> [hard_secs]"
)
def time_limit(state: State, task_name: str | None = None, hard: Any = None, soft: Any = None, **_: Any) -> Any:
    """Change how long a task may run, until the worker is started again."""
    if task_name not in state.app.tasks:
        logger.error("Change time limit attempt for unknown task %s", shown(task_name))
        return nok("unknown task")
    assert task_name is not None
    if state.worker.pool.loop == "threads" and (soft or hard):
        return nok("no time limit is enforced in the pool threads, as no thread can be ended by force; -P prefork can")
    limits = {"soft_time_limit": _limit("soft", soft), "time_limit": _limit("hard", hard)}
    check_values(limits)  # a soft one above the hard one would never come
    state.worker.directives.limit_time(state.app, task_name, limits["soft_time_limit"], limits["time_limit"])
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


def _limit(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or number < 0 or not math.isfinite(number):
        raise ValueError(f"{name}={value!r} should be a number of seconds, or None for no limit")
    return number or None


@own_control(args=[("id", str), ("topic", str), ("action", str)], signature="<id> <topic> [action]")
def election(state: State, id: str, topic: str, action: Any = None, **_: Any) -> Any:
    """Have one worker of all act: `topic` "task" sends the task whose signature is `action`."""
    if topic != "task":
        return nok(f"nothing is known here of the topic {topic!r}; there is 'task', whose action is a signature")
    if not isinstance(action, dict) or not isinstance(action.get("task"), str):
        return nok("the action of an election is the signature of a task")
    app = state.app
    keeper = place(app)[0]
    if keeper is None:
        return nok("an election needs Redis or the embedded file as broker or as result backend")
    try:
        # by another holder each time: an election is won once
        if keeper.lock(f"election:{id}", f"{state.worker.owner}/{token_hex(8)}", _ELECTED):
            return None
        logger.info("Elected for %s: the task %s is sent", shown(id), shown(action["task"]))
        from multi.app.canvas.signatures import maybe_signature

        call = maybe_signature(action, app=app)
        assert call is not None  # it was looked at above
        call.apply_async()
    except MultiError as error:
        return nok(str(error))
    return None


# -- events -----------------------------------------------------------------------------------------------------------


def _no_events(state: State) -> bool:
    return getattr(state.worker, "events", None) is None


@own_control()
def enable_events(state: State, **_: Any) -> dict[str, Any]:
    """Have the worker send events about tasks."""
    if _no_events(state):
        return nok("event dispatcher unavailable")
    if state.worker.events.enabled:
        return ok("task events already enabled")
    state.worker.events.enable()
    logger.info("Events of group {task} enabled by remote.")
    return ok("task events enabled")


@own_control()
def disable_events(state: State, **_: Any) -> dict[str, Any]:
    """Have the worker send no more events about tasks."""
    if _no_events(state):
        return nok("event dispatcher unavailable")
    if not state.worker.events.enabled:
        return ok("task events already disabled")
    state.worker.events.disable()
    logger.info("Events of group {task} disabled by remote.")
    return ok("task events disabled")


@own_control()
def heartbeat(state: State, **_: Any) -> None:
    """Have the worker send a heartbeat event now."""
    if not _no_events(state):
        state.worker.events.heartbeat()
