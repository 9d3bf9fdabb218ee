"""How a run ends other than well: what is stored of it, and what follows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from multi.app import aftermath, life, retry
from multi.app.saferepr import saferepr
from multi.errors import Ignore, Reject, Retry, SerializationError
from multi.outcome import Outcome, Part
from multi.signals import RUNS

if TYPE_CHECKING:
    from types import TracebackType

    from multi.app.job import Job


def ended(job: Job, error: BaseException) -> Outcome:
    """The outcome of a run that has raised `error`."""
    if isinstance(error, Exception) and job.task.autoretry_for and not isinstance(error, Retry | Ignore | Reject):
        error = retry.automatic(job.task, error) or error
    if isinstance(error, Retry):
        outcome = _retried(job, error)
    elif isinstance(error, Ignore):
        outcome = _outcome(job, "IGNORED", None, record=False)
        outcome.publications, outcome.stores = list(job.pending), job.stores
        if RUNS.any:
            tell(job, outcome)
    elif isinstance(error, Reject):
        outcome = _rejected(job, error)
    else:
        outcome = failed(job, error, text(error))
        if not job.plan.acks_failure:
            outcome.verb = "bury"
            outcome.reason = f"it failed with {saferepr(error)} (acks_on_failure=False)"
    # the frames of the task hold its variables, and an outcome may live for a while
    error.__traceback__ = None
    return outcome


def failed(
    job: Job,
    error: BaseException,
    traceback: str | None,
    *,
    verb: str = "ack",
    reason: str = "",
    hook: str = "on_failure",
) -> Outcome:
    """FAILURE: recorded for the task and for the rest of its chain; errbacks follow."""
    record = not job.ignore_result or job.plan.store_errors
    outcome = _outcome(job, "FAILURE", error, record=record)
    outcome.traceback = traceback
    outcome.verb, outcome.reason = verb, reason
    outcome.expected = bool(job.plan.throws) and isinstance(error, job.plan.throws)
    outcome.publications = list(job.pending)
    embed = job.embed
    if embed:
        outcome.fallen, waited_for = aftermath.fallen(embed.get("chain"))
        outcome.parts = aftermath.parts_of(waited_for, "FAILURE", error, job.root_id)
        if embed.get("chord") and outcome.group_id:
            outcome.parts.append(place(job, "FAILURE", error))
        if embed.get("errbacks"):
            try:
                following, recorded, raised = aftermath.after_failure(
                    job.app, embed, job.id, job.root_id, job.request, error, traceback
                )
            except SerializationError as unsendable:
                following, recorded, raised = [], [], [unsendable]
            outcome.publications += following
            outcome.stores = recorded
            for trouble in raised:
                complain(job, trouble)
    if job.plan.hooked or RUNS.any:
        tell(job, outcome, hook)
    return outcome


def place(job: Job, state: str, result: Any) -> Part:
    """The place of this run in its chord, filled."""
    headers = job.headers
    return Part(headers["group"], headers.get("group_index"), job.id, state, result, job.embed["chord"], job.root_id)


def _retried(job: Job, error: Retry) -> Outcome:
    outcome = _outcome(job, "RETRY", error.exc, record=not job.ignore_result)
    outcome.traceback = text(error)
    outcome.reason = str(error)
    outcome.publications = list(job.pending)
    if job.plan.hooked or RUNS.any:
        tell(job, outcome, "on_retry")
    return outcome


def _rejected(job: Job, error: Reject) -> Outcome:
    reason = f"rejected by the task: {error.reason}" if error.reason is not None else "rejected by the task"
    if not error.requeue and not job.request.is_eager:
        # it will never run again: whoever waits for it is to know; the task itself does
        return failed(job, error, None, verb="bury", reason=reason, hook="")
    outcome = _outcome(job, "REJECTED", None, record=False)
    outcome.verb, outcome.reason = "requeue", reason
    outcome.publications = list(job.pending)
    if RUNS.any:
        tell(job, outcome)
    return outcome


def _outcome(job: Job, state: str, result: Any, *, record: bool) -> Outcome:
    headers = job.headers
    outcome = Outcome(job.id, job.name, state, result, record=record)
    outcome.group_id = headers.get("group")
    outcome.parent_id = headers.get("parent_id")
    outcome.reply_to = job.message.properties.get("reply_to")
    if job.children:
        outcome.children = tuples(job.children)
    if job.executor.extended:
        outcome.extended = extended(job)
    return outcome


def tuples(children: Iterable[Any]) -> list[Any]:
    """Results in the form in which they stand in records."""
    return [child.as_tuple() if hasattr(child, "as_tuple") else child for child in children]


def extended(job: Job) -> dict[str, Any]:
    """What `result_extended` adds to a record."""
    return {
        "name": job.name,
        "args": _storable(job, job.args),
        "kwargs": _storable(job, job.kwargs),
        "worker": job.hostname,
        "retries": job.headers.get("retries") or 0,
        "queue": job.queue,
    }


def _storable(job: Job, value: Any) -> Any:
    try:
        job.app.recorder.dump(value)
    except SerializationError:
        return saferepr(value)
    return value


def text(error: BaseException) -> str:
    """The traceback of a task's exception, without the frames of ours that called the task."""
    from traceback import format_exception

    tb = found = error.__traceback__
    while tb is not None and _between(tb.tb_frame.f_globals.get("__name__", "")):
        tb = tb.tb_next
    tb = tb or found
    return "".join(format_exception(type(error), error, tb))


def _between(module: str) -> bool:
    """Whether a frame of this module stands between the worker and a task: ours, and asyncio's of an `async def` task."""
    return module.startswith(("multi.app.", "asyncio."))


class Einfo:
    """What hooks get as `einfo`: the exception, and its traceback as text."""

    def __init__(self, exception: BaseException | None, traceback: str | None) -> None:
        self.type = type(exception)
        self.exception = exception
        self.traceback = traceback or ""

    #: Whether it is an error of the worker's own, never of a task.
    internal = False

    @property
    def tb(self) -> TracebackType | None:
        """The traceback itself, as long as the handlers run."""
        return None if self.exception is None else self.exception.__traceback__

    @property
    def exc_info(self) -> tuple[type, BaseException | None, TracebackType | None]:
        """As `sys.exc_info()` has it."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback


def tell(job: Job, outcome: Outcome, hook: str = "") -> None:
    """Call the task's own methods for this end, and tell the signals; what methods raise is logged and changes nothing."""
    task, hooked = job.task, job.plan.hooked
    einfo = Einfo(outcome.result, outcome.traceback) if hook != "on_success" else None
    if hook in hooked:
        try:
            if hook == "on_success":
                task.on_success(outcome.result, job.id, job.args, job.kwargs)
            elif hook == "on_failure":
                task.on_failure(outcome.result, job.id, job.args, job.kwargs, einfo)
            else:
                task.on_retry(outcome.result, job.id, job.args, job.kwargs, einfo)
        except Exception as trouble:  # a project's own code; the task's end stands
            complain(job, trouble)
    if RUNS.any:
        life.ends(job, outcome)
    if hook in ("on_success", "on_failure") and "after_return" in hooked:
        try:
            task.after_return(outcome.state, outcome.result, job.id, job.args, job.kwargs, einfo)
        except Exception as trouble:  # as above
            complain(job, trouble)
    if RUNS.any:
        life.over(job, outcome)


def complain(job: Job, trouble: BaseException) -> None:
    """Log what went wrong beside the task, which changes nothing about its end."""
    import logging

    logging.getLogger("multi.task").error(
        "Task %s[%s]: beside the task itself, %r was raised", job.name, job.id, trouble, exc_info=trouble
    )
    if RUNS.any:
        life.troubled(job, trouble)
