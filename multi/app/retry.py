"""`task.retry`: the same message again, later."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from multi.app.options import check_values
from multi.app.request import running
from multi.errors import MaxRetriesExceededError, Reject, Retry

if TYPE_CHECKING:
    from multi.app.task import Task


def retry(
    task: Task,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    exc: BaseException | None,
    throw: bool,
    eta: Any,
    countdown: float | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """See `Task.retry`."""
    request = task.request
    run: Any = running.get()
    if request.called_directly:
        _raise(exc or Retry("Task can be retried", None))
    check_values({**options, "countdown": countdown})
    retries = request.retries + 1
    limit = task.max_retries if max_retries is None else max_retries
    args = tuple((request.args if args is None else args) or ())
    kwargs = request.kwargs if kwargs is None else kwargs
    if limit is not None and retries > limit:
        if exc is not None:
            _raise(exc)
        raise MaxRetriesExceededError(
            f"Can't retry {task.name}[{request.id}] args:{args} kwargs:{kwargs}", task_args=args, task_kwargs=kwargs
        )
    if eta is None and countdown is None:
        countdown = task.default_retry_delay
    again = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager)
    if request.is_eager:
        run.retrying = (args, kwargs)
    else:
        try:
            run.retry_with(args, kwargs, {**options, "eta": eta, "countdown": countdown, "retries": retries})
        except Exception as error:
            # a message that can't be made: the task can't be run again, and must not be lost without a trace
            raise Reject(error, requeue=False) from error
    if throw:
        raise again
    return again


def _raise(error: BaseException) -> NoReturn:
    """Raise the exception that is being handled if there is one, else `error`, as Celery does."""
    import sys

    present = sys.exc_info()[1]
    if present is None or present is error:
        raise error
    raise error from present


def automatic(task: Task, error: BaseException) -> BaseException | None:
    """What `autoretry_for` makes of `error`: a `Retry`, the error to fail with, or None if it doesn't apply."""
    if not task.autoretry_for or not isinstance(error, task.autoretry_for):
        return None
    if task.dont_autoretry_for and isinstance(error, task.dont_autoretry_for):
        return None
    options = dict(task.retry_kwargs)
    if task.retry_backoff:
        options["countdown"] = backoff(
            int(max(1.0, task.retry_backoff)), task.request.retries, task.retry_backoff_max, task.retry_jitter
        )
    try:
        return retry(
            task,
            options.pop("args", None),
            options.pop("kwargs", None),
            error,
            False,
            options.pop("eta", None),
            options.pop("countdown", None),
            options.pop("max_retries", None),
            options,
        )
    except BaseException as decided:  # the error itself, MaxRetriesExceededError or Reject: it decides the outcome
        return decided


def backoff(factor: int, retries: int, maximum: int, jitter: bool) -> int:
    """Seconds before the next attempt: doubling, limited, and with `jitter` anywhere between 0 and that."""
    countdown: int = min(maximum, factor * 2**retries)
    if jitter:
        countdown = random.randrange(countdown + 1)
    return max(0, countdown)
