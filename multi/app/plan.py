"""What is known of a task's runs before there is one: resolved once for each type, and again when a setting changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

import msgspec

from multi.app import middleware
from multi.app.limits import Limit, limit
from multi.app.pacing import Pace, pace
from multi.app.task import Task
from multi.app.unique import unique
from multi.codecs import Codec, accepted
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.backends.base import Backend

_COROUTINE = 0x80 | 0x100  # CO_COROUTINE, CO_ITERABLE_COROUTINE
#: Tasks want something provided only where somebody has imported this, for `Depends`.
_INJECTION = "multi.app.injection"
_HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


class Plan(msgspec.Struct, eq=False):
    """How one task is run."""

    task: Task
    name: str
    call: Callable[..., Any]
    is_async: bool
    acks_early: bool
    ignore_result: bool
    store_errors: bool
    track_started: bool
    time_limit: float | None
    soft_time_limit: float | None
    throws: tuple[type[BaseException], ...]
    acks_failure: bool
    acks_timeout: bool
    max_deliveries: int
    backend: Backend | None
    pace: Pace | None
    limit: Limit | None
    hooked: frozenset[str]
    custom_call: bool


class Executor:
    """An app's plans, and what all of them share."""

    def __init__(self, app: App) -> None:
        conf = app.conf
        self.app = app
        self.accept: dict[str, Codec] = accepted(conf.accept_content)
        self.limited: bool = not conf.worker_disable_rate_limits
        self.deduplicate: bool = conf.worker_deduplicate_successful_tasks
        self.zone: tzinfo = zone(conf.timezone)
        self.extended: bool = conf.result_extended
        self.inherit_priority: bool = conf.task_inherit_parent_priority
        self.tasks = app.tasks
        self._plans: dict[str, Plan] = {}
        #: the result backends of tasks that have one of their own
        self.elsewhere: dict[str, Backend] = {}

    def plan(self, name: str) -> Plan | None:
        """The plan of a registered task, None for a name that isn't one."""
        found = self._plans.get(name)
        if found is None:
            task = self.tasks.get(name)
            if task is None:
                return None
            task.annotate()
            found = self._plans[name] = make(task)
            if found.backend is not None:
                self.elsewhere[name] = found.backend
            if not self.limited:
                found.pace = None
        return found

    def forget(self, name: str) -> None:
        """Work out the plan of this task anew when it is needed next."""
        self._plans.pop(name, None)

    def plan_all(self) -> None:
        """Plan every task that is registered."""
        for name in self.tasks:
            self.plan(name)


def executor(app: App) -> Executor:
    """The executor of `app`."""
    found: Executor | None = app.executor
    if found is None:
        found = app.executor = Executor(app)
    return found


def make(task: Task) -> Plan:
    """The plan of `task`. Raises `ConfigurationError`."""
    _refuse_halves(task)
    kind = type(task)
    custom = kind.__call__ is not Task.__call__
    body: Any = task.run
    code = getattr(getattr(body, "__func__", body), "__code__", None)
    is_async = bool(code is not None and code.co_flags & _COROUTINE)
    call: Callable[..., Any] = task if custom else body
    if _INJECTION in sys.modules:
        from multi.app.injection import injecting

        call = injecting(task, call, is_async)
    return Plan(
        task=task,
        name=task.name,
        call=middleware.around(task.app, task.name, call, is_async),
        is_async=is_async,
        acks_early=task.acks_early,
        ignore_result=bool(task.effective("ignore_result")),
        store_errors=bool(task.effective("store_errors_even_if_ignored")),
        track_started=bool(task.effective("track_started")),
        time_limit=task.effective("time_limit"),
        soft_time_limit=task.effective("soft_time_limit"),
        throws=tuple(task.throws),
        acks_failure=task.acknowledges("failure"),
        acks_timeout=task.acknowledges("timeout"),
        max_deliveries=task.effective("max_deliveries") or 0,
        backend=task.own_backend,
        pace=pace(task),
        limit=limit(task),
        hooked=_hooked(task, kind),
        custom_call=custom,
    )


def _refuse_halves(task: Task) -> None:
    """A key of which nothing is counted: whoever gave it believes that something is."""
    if task.unique_for is None and task.unique_key is not None:
        raise ConfigurationError(f"task {task.name}: unique_key says nothing without unique_for, the seconds it holds")
    if task.concurrency_limit is None and task.concurrency_key is not None:
        raise ConfigurationError(f"task {task.name}: concurrency_key says nothing without concurrency_limit")


def _hooked(task: Task, kind: type[Task]) -> frozenset[str]:
    """The handlers that a task has, and `unique_start` where its lock ends when it begins."""
    found = [hook for hook in _HOOKS if getattr(kind, hook) is not getattr(Task, hook)]
    if task.unique_for is not None:
        unique(task)
        if task.unique_until == "start":
            found.append("unique_start")
    return frozenset(found)


def zone(name: str | None) -> tzinfo:
    """The time zone of that name, UTC if there is none. Raises `ConfigurationError`."""
    if not name or name.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(
            f"timezone: no time zone is called {name!r}, or the system's time zone data is missing (pip install tzdata)"
        ) from None
