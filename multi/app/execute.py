"""From a message to a job, or to an outcome where nothing is to be run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from multi import clock
from multi.app import aftermath, ending, limits, unique
from multi.app.canvas.checks import obstacle
from multi.app.decoding import NO_EMBED, read
from multi.app.job import Job
from multi.app.plan import Executor, executor
from multi.app.records import stores
from multi.errors import (
    BackendUnavailable,
    InvalidTaskError,
    MultiError,
    NotRegistered,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)
from multi.message import Message
from multi.outcome import Outcome
from multi.store import is_final

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.backends.base import Backend

__all__ = ["SENT_AGAIN", "Job", "failure", "prepare", "stores"]

#: The header of what a scheduler sends once more, with the same id, since another one has died while it was sending it.
SENT_AGAIN = "sent_again"


def prepare(app: App, message: Message, *, queue: str, redelivered: bool, starts: int, hostname: str) -> Job | Outcome:
    """A job for `message`, or the outcome where it is not to be run.

    Not run are: what can't be read or isn't accepted, unknown tasks, and what can't be honoured whole (all buried, with
    the reason); what is revoked or has expired (REVOKED) or isn't due (parked); and what has taken `max_deliveries` processes
    with it.
    """
    ex: Executor = app.executor or executor(app)
    headers = message.headers
    try:
        headers, args, kwargs, embed = read(message, ex.accept, ex.zone)
    except MultiError as error:
        return _unreadable(message, error)
    name = headers["task"]
    task_id = headers.get("id")
    if not isinstance(name, str):
        return _unreadable(message, InvalidTaskError(f"the header task is no name but {name!r}"), headers, embed)
    if not isinstance(task_id, str) or not task_id:
        return Outcome("", name, "FAILURE", verb="bury", record=False, reason="the message has no task id")
    if embed is not NO_EMBED and any(embed.values()):
        reason = obstacle(app, embed)
        if reason:
            return Outcome(
                task_id, name, "PENDING", verb="bury", record=False, reason=f"it can't be run whole here: {reason}"
            )
    revoked = app.revoked
    if revoked is not None and revoked.memory[0] and revoked.holds(task_id, headers):
        return revocation(message, headers, embed, task_id, name, "revoked", ignored=_ignores(ex, name, headers))
    if headers.get("expires") is not None or headers.get("eta") is not None:
        outcome = _in_time(headers, embed, task_id, name, message)
        if outcome is not None:
            return outcome
    plan = ex.plan(name)
    if plan is None:
        return _unknown(message, headers, embed, task_id, name)
    if redelivered and ex.deduplicate and not plan.acks_early and _has_succeeded(plan.backend or app.backend, task_id):
        # what follows it may not have been sent before its worker died, so a task with followers is run again
        if not any(embed.values()):
            reason = "it has succeeded before (worker_deduplicate_successful_tasks)"
            return Outcome(task_id, name, "IGNORED", record=False, reason=reason)
    if SENT_AGAIN in headers and _has_succeeded(plan.backend or app.backend, task_id):
        return Outcome(
            task_id, name, "IGNORED", record=False, reason="it has succeeded, and was sent again by a scheduler"
        )
    try:
        job = Job(app, ex, plan, message, headers, task_id, args, kwargs, embed, queue, redelivered, hostname)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        return _unreadable(message, InvalidTaskError(f"its headers can't be understood: {error}"), headers, embed)
    if plan.max_deliveries and starts >= plan.max_deliveries:
        lost = WorkerLostError(
            f"the task was begun {starts} times and never came to an end: its process died, or it asked to be delivered again"
        )
        return ending.failed(job, lost, None, verb="bury", reason=f"begun {starts} times without an end")
    if plan.pace is not None:
        due = plan.pace.hold(app, task_id)
        if due:
            return Outcome(task_id, name, "PENDING", verb="park", record=False, due=due, reason="rate limit")
    if plan.limit is not None:
        due = plan.limit.hold(app, task_id, args, kwargs)
        if due:
            return Outcome(task_id, name, "PENDING", verb="park", record=False, due=due, reason="concurrency limit")
    return job


def revocation(
    message: Message,
    headers: dict[str, Any],
    embed: dict[str, Any],
    task_id: str,
    name: str,
    why: str,
    *,
    ignored: bool,
) -> Outcome:
    """REVOKED: for the task, and for what would have followed it. `why` is revoked, terminated or expired."""
    outcome = Outcome(
        task_id,
        name,
        "REVOKED",
        TaskRevokedError(why),
        record=not ignored,
        group_id=headers.get("group"),
        parent_id=headers.get("parent_id"),
        reply_to=message.properties.get("reply_to"),
    )
    return aftermath.abandon(outcome, headers, embed)


def _ignores(ex: Executor, name: str, headers: dict[str, Any]) -> bool:
    """Whether the result of a task is ignored, by its message or its type."""
    ignore = headers.get("ignore_result")
    if ignore is None:
        plan = ex.plan(name)
        return plan is not None and plan.ignore_result
    return bool(ignore)


def termination(app: App, message: Message) -> Outcome:
    """REVOKED, for a message whose run was ended by force."""
    ex: Executor = app.executor or executor(app)
    try:
        headers, _, _, embed = read(message, ex.accept, ex.zone)
    except MultiError as error:
        return _unreadable(message, error)
    name, task_id = headers["task"], str(headers.get("id") or "")
    return revocation(message, headers, embed, task_id, name, "terminated", ignored=_ignores(ex, name, headers))


def dealt_with(app: App, message: Message | None, outcome: Outcome) -> None:
    """A message won't come to run again, or not before it is delivered again: give back what its run had for itself."""
    if app.holder is not None and outcome.verb != "park":
        limits.over(app, outcome.task_id)
    if message is not None and unique.HEADER in message.headers:
        if outcome.verb in ("ack", "bury") and outcome.state != "RETRY":
            unique.over(app, message.headers, outcome.task_id)


def limited(app: App, name: str) -> bool:
    """Whether runs of this task have places under a concurrency limit."""
    plan = (app.executor or executor(app)).plan(name)
    return plan is not None and plan.limit is not None


def vacate(app: App, message: Message) -> None:
    """Free the place of a run whose process is gone; whatever its key or the store raises is the caller's."""
    ex: Executor = app.executor or executor(app)
    headers, args, kwargs, _ = read(message, ex.accept, ex.zone)
    plan = ex.plan(headers["task"])
    if plan is not None and plan.limit is not None:
        plan.limit.vacate(app, str(headers.get("id") or ""), args, kwargs)


def _has_succeeded(backend: Backend | None, task_id: str) -> bool:
    """Whether the backend has a success of this task; no answer is none."""
    if backend is None or backend.expects:
        return False
    try:
        (found,) = backend.fetch([task_id])
    except BackendUnavailable:
        return False
    return found is not None and is_final(found)


def failure(app: App, message: Message, exc: BaseException, *, verb: str = "ack", reason: str = "") -> Outcome:
    """The FAILURE of a message whose process is gone: with its errbacks, and the end of its chain."""
    ex: Executor = app.executor or executor(app)
    try:
        headers, args, kwargs, embed = read(message, ex.accept, ex.zone)
    except MultiError as error:
        return _unreadable(message, error)
    name, task_id = headers["task"], str(headers.get("id") or "")
    plan = ex.plan(name)
    if plan is None:
        outcome = Outcome(task_id, name, "FAILURE", exc, verb=verb, reason=reason, record=bool(task_id))
        return aftermath.abandon(outcome, headers, embed)
    queue = (message.properties.get("delivery_info") or {}).get("routing_key") or ""
    if isinstance(exc, TimeLimitExceeded) and not plan.acks_timeout:
        reason = f"{exc}; it is delivered again (acks_on_timeout=False)"
        return Outcome(task_id, name, "REJECTED", verb="requeue", record=False, reason=reason)
    job = Job(app, ex, plan, message, headers, task_id, args, kwargs, embed, queue, True, "")
    return ending.failed(job, exc, None, verb=verb, reason=reason)


def _in_time(
    headers: dict[str, Any], embed: dict[str, Any], task_id: str, name: str, message: Message
) -> Outcome | None:
    """REVOKED if it has expired, parked if it isn't due yet, None if now is the time."""
    try:
        if headers.get("expires") is not None and clock.to_epoch(headers["expires"]) <= time.time():
            ignored = bool(headers.get("ignore_result"))
            return revocation(message, headers, embed, task_id, name, "expired", ignored=ignored)
        due = clock.to_epoch(headers["eta"]) if headers.get("eta") is not None else 0.0
    except (ValueError, TypeError):
        reason = f"eta or expires is no time: {headers.get('eta')!r}, {headers.get('expires')!r}"
        return _unreadable(message, InvalidTaskError(reason), headers, embed)
    if due > time.time():
        return Outcome(task_id, name, "PENDING", verb="park", record=False, due=due)
    return None


def _unreadable(
    message: Message, error: MultiError, headers: dict[str, Any] | None = None, embed: dict[str, Any] = NO_EMBED
) -> Outcome:
    """Set aside; its sender learns why, if the headers say who that is, and so does what waits for it, if that is known."""
    headers = message.headers if headers is None else headers
    task_id, name = headers.get("id"), headers.get("task")
    known = isinstance(task_id, str) and bool(task_id)
    outcome = Outcome(
        task_id if known and task_id else "",
        str(name or ""),
        "FAILURE",
        error,
        verb="bury",
        record=known,
        reason=str(error),
        group_id=headers.get("group"),
        parent_id=headers.get("parent_id"),
        reply_to=message.properties.get("reply_to"),
    )
    return aftermath.abandon(outcome, headers, embed) if known else outcome


def _unknown(message: Message, headers: dict[str, Any], embed: dict[str, Any], task_id: str, name: str) -> Outcome:
    outcome = Outcome(
        task_id,
        name,
        "FAILURE",
        NotRegistered(name),
        verb="bury",
        reason=f"no task is registered as {name!r} here; is its module in include, and was the worker restarted since?",
        group_id=headers.get("group"),
        parent_id=headers.get("parent_id"),
        reply_to=message.properties.get("reply_to"),
    )
    return aftermath.abandon(outcome, headers, embed)
