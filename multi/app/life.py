"""Tells the signals of a task's life. Called only where somebody listens (`signals.RUNS.any`, `signals.PUBLISHING.any`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from multi import signals
from multi.errors import NotRegistered
from multi.outcome import Outcome, Publication

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.job import Job
    from multi.message import Message


def begins(job: Job) -> None:
    """A task is about to run."""
    signals.task_prerun.send(job.task, task_id=job.id, task=job.task, args=job.args, kwargs=job.kwargs)


def ends(job: Job, outcome: Outcome) -> None:
    """A run has come to its end, however it ended."""
    task, state = job.task, outcome.state
    if state == "SUCCESS":
        signals.task_success.send(task, result=outcome.result, runtime=outcome.runtime)
    elif state == "FAILURE":
        from multi.app.ending import Einfo

        signals.task_failure.send(
            task,
            task_id=job.id,
            exception=outcome.result,
            args=job.args,
            kwargs=job.kwargs,
            traceback=getattr(outcome.result, "__traceback__", None),
            einfo=Einfo(outcome.result, outcome.traceback),
        )
    elif state == "RETRY":
        from multi.app.ending import Einfo

        einfo = Einfo(outcome.result, outcome.traceback)
        signals.task_retry.send(task, request=job.request, reason=outcome.result, einfo=einfo)


def over(job: Job, outcome: Outcome) -> None:
    """The last word about a run, after the task's own handlers."""
    signals.task_postrun.send(
        job.task,
        task_id=job.id,
        task=job.task,
        args=job.args,
        kwargs=job.kwargs,
        retval=outcome.result,
        state=outcome.state,
    )


def troubled(job: Job, trouble: BaseException) -> None:
    """Something beside the task itself has raised: a handler of it, a backend."""
    from multi.app.ending import Einfo

    signals.task_internal_error.send(
        job.task,
        task_id=job.id,
        args=job.args,
        kwargs=job.kwargs,
        request=job.request,
        exception=trouble,
        traceback=trouble.__traceback__,
        einfo=Einfo(trouble, None),
    )


def received(app: App, message: Message | None, job: Job | Outcome) -> None:
    """A message was claimed: it will be run, or `job` is the outcome that says why not."""
    if not isinstance(job, Outcome):
        signals.task_received.send(app, request=job.request)
        return
    error = job.result if isinstance(job.result, BaseException) else None
    if job.state == "REVOKED":
        task = app.tasks.get(job.name)
        revoked(app, message, job, expired=str(error) == "expired", sender=task)
    elif isinstance(error, NotRegistered):
        signals.task_unknown.send(app, message=message, exc=error, name=job.name, id=job.task_id)
    elif job.verb == "bury":
        signals.task_rejected.send(app, message=message, exc=error)


def revoked(
    app: App,
    message: Message | None,
    outcome: Outcome,
    *,
    sender: Any = None,
    expired: bool = False,
    terminated: bool = False,
    signum: int | None = None,
) -> None:
    """A task will not run, or was ended, because it was called off or came too late."""
    from multi.app.request import Context

    headers = dict(message.headers) if message is not None else {}
    request = Context(headers, id=outcome.task_id, task=outcome.name, headers=headers, called_directly=False)
    signals.task_revoked.send(
        sender if sender is not None else app.tasks.get(outcome.name),
        request=request,
        terminated=terminated,
        signum=signum,
        expired=expired,
    )


def sent(app: App, publications: Iterable[Publication]) -> None:
    """Messages are with the broker."""
    if app.publisher.tells_sent:
        from multi.app.events.sent import tell_sent

        publications = list(publications)
        tell_sent(app, publications)
    if app.middleware:
        from multi.app.middleware import published

        publications = list(publications)
        published(app, publications)
    if not signals.after_task_publish.receivers:
        return
    from multi.app.decoding import read
    from multi.app.plan import executor
    from multi.codecs import accepted

    for publication in publications:
        message = publication.message
        headers, args, kwargs, embed = read(message, accepted([message.content_type]), executor(app).zone)
        signals.after_task_publish.send(
            headers["task"],
            headers=headers,
            body=(args, kwargs, embed),
            exchange=publication.exchange,
            routing_key=publication.queue,
        )
