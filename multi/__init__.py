"""Task workers: started, watched, deployed and stopped by one command, with the task queue they run.

Everything that a program needs is importable from here. Nothing of it is loaded before it is used, so that
`import multi` costs next to nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # what type checkers take for true; importing `typing` for it would cost more than all the rest
if TYPE_CHECKING:
    from typing import Any

    from multi import errors as exceptions
    from multi import signals
    from multi.app import states
    from multi.app.abortable import AbortableAsyncResult, AbortableTask
    from multi.app.app import App
    from multi.app.app import App as Celery
    from multi.app.awaiting import allow_join_result
    from multi.app.canvas import (
        Signature,
        StampingVisitor,
        chain,
        chord,
        chunks,
        group,
        maybe_signature,
        signature,
        xmap,
        xstarmap,
    )
    from multi.app.canvas import signature as subtask
    from multi.app.eager import EagerResult
    from multi.app.events.snapshot import Polaroid
    from multi.app.frameworks.commits import on_commit
    from multi.app.injection import Depends
    from multi.app.middleware import Middleware
    from multi.app.panel import Panel, control_command, inspect_command
    from multi.app.progress import Progress
    from multi.app.result import AsyncResult
    from multi.app.resultset import GroupResult, ResultSet, result_from_tuple
    from multi.app.schedules import (
        BaseSchedule,
        BeatLazyFunc,
        ParseException,
        crontab,
        crontab_parser,
        maybe_schedule,
        schedstate,
        schedule,
        solar,
    )
    from multi.app.shared import current_app, current_task, shared_task
    from multi.app.task import Task
    from multi.errors import (
        DuplicateTask,
        Ignore,
        MaxRetriesExceededError,
        MultiError,
        NotRegistered,
        Reject,
        Retry,
        SoftTimeLimitExceeded,
        TaskRevokedError,
        TimeLimitExceeded,
        TimeoutError,  # noqa: A004 - Celery's name
        WorkerLostError,
    )
    from multi.identity import new_id as uuid
    from multi.log import get_task_logger
    from multi.topology import Broadcast, Exchange, Queue, binding, worker_direct

_PLACES = {
    "App": "multi.app.app",
    "Broadcast": "multi.topology",
    "Exchange": "multi.topology",
    "Queue": "multi.topology",
    "binding": "multi.topology",
    "worker_direct": "multi.topology",
    "Celery": "multi.app.app:App",
    "AsyncResult": "multi.app.result",
    "EagerResult": "multi.app.eager",
    "Depends": "multi.app.injection",
    "Middleware": "multi.app.middleware",
    "Polaroid": "multi.app.events.snapshot",
    "Panel": "multi.app.panel",
    "control_command": "multi.app.panel",
    "inspect_command": "multi.app.panel",
    "Progress": "multi.app.progress",
    "Signature": "multi.app.canvas",
    "Task": "multi.app.task",
    "GroupResult": "multi.app.resultset",
    "ResultSet": "multi.app.resultset",
    "allow_join_result": "multi.app.awaiting",
    "result_from_tuple": "multi.app.resultset",
    "AbortableAsyncResult": "multi.app.abortable",
    "AbortableTask": "multi.app.abortable",
    "StampingVisitor": "multi.app.canvas",
    "chain": "multi.app.canvas",
    "chord": "multi.app.canvas",
    "chunks": "multi.app.canvas",
    "group": "multi.app.canvas",
    "maybe_signature": "multi.app.canvas",
    "on_commit": "multi.app.frameworks.commits",
    "xmap": "multi.app.canvas",
    "xstarmap": "multi.app.canvas",
    "BaseSchedule": "multi.app.schedules",
    "BeatLazyFunc": "multi.app.schedules",
    "ParseException": "multi.app.schedules",
    "crontab": "multi.app.schedules",
    "crontab_parser": "multi.app.schedules",
    "maybe_schedule": "multi.app.schedules",
    "schedstate": "multi.app.schedules",
    "schedule": "multi.app.schedules",
    "solar": "multi.app.schedules",
    "current_app": "multi.app.shared",
    "current_task": "multi.app.shared",
    "get_task_logger": "multi.log",
    "shared_task": "multi.app.shared",
    "subtask": "multi.app.canvas:signature",
    "uuid": "multi.identity:new_id",
    "signature": "multi.app.canvas",
    "DuplicateTask": "multi.errors",
    "Ignore": "multi.errors",
    "MaxRetriesExceededError": "multi.errors",
    "MultiError": "multi.errors",
    "NotRegistered": "multi.errors",
    "Reject": "multi.errors",
    "Retry": "multi.errors",
    "SoftTimeLimitExceeded": "multi.errors",
    "TaskRevokedError": "multi.errors",
    "TimeLimitExceeded": "multi.errors",
    "TimeoutError": "multi.errors",
    "WorkerLostError": "multi.errors",
}
_MODULES = {"exceptions": "multi.errors", "signals": "multi.signals", "states": "multi.app.states"}

__all__ = [
    "AbortableAsyncResult",
    "AbortableTask",
    "App",
    "AsyncResult",
    "BaseSchedule",
    "BeatLazyFunc",
    "Broadcast",
    "Celery",
    "Depends",
    "DuplicateTask",
    "EagerResult",
    "Exchange",
    "GroupResult",
    "Ignore",
    "MaxRetriesExceededError",
    "Middleware",
    "MultiError",
    "NotRegistered",
    "Panel",
    "ParseException",
    "Polaroid",
    "Progress",
    "Queue",
    "Reject",
    "ResultSet",
    "Retry",
    "Signature",
    "SoftTimeLimitExceeded",
    "StampingVisitor",
    "Task",
    "TaskRevokedError",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
    "allow_join_result",
    "binding",
    "chain",
    "chord",
    "chunks",
    "control_command",
    "crontab",
    "crontab_parser",
    "current_app",
    "current_task",
    "exceptions",
    "get_task_logger",
    "group",
    "inspect_command",
    "maybe_schedule",
    "maybe_signature",
    "on_commit",
    "result_from_tuple",
    "schedstate",
    "schedule",
    "shared_task",
    "signals",
    "signature",
    "solar",
    "states",
    "subtask",
    "uuid",
    "worker_direct",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        found: Any = import_module(_MODULES[name])
    elif name in _PLACES:
        module, _, attribute = _PLACES[name].partition(":")
        found = getattr(import_module(module), attribute or name)
    else:
        raise AttributeError(f"module 'multi' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
