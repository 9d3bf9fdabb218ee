"""`celery.chord_unlock`: how Celery's clients have chords completed where the result backend counts no parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multi.app.canvas.barrier import fail
from multi.app.canvas.signatures import signature
from multi.app.resultset import GroupResult, result_from_tuple
from multi.errors import ChordError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task


def unlock(task: Task, app: App, group_id: str, callback: Any, interval: Any, max_retries: Any, results: Any) -> None:
    """Send the body if all parts have ended, else be retried; a chord whose retries are used up fails."""
    body = signature(callback, app=app)
    parts = GroupResult(group_id, [result_from_tuple(item, app) for item in results], app=app)
    if not parts.ready():
        if max_retries is not None and task.request.retries >= max_retries:
            fail(app, body, group_id, ChordError(f"chord {group_id} was not complete after {max_retries} looks"))
            return
        raise task.retry(countdown=interval or app.conf.result_chord_retry_interval, max_retries=max_retries)
    for part in parts.leaves():
        if not part.successful():
            error = ChordError(f"Dependency {part.id} raised {part.result!r}")
            fail(app, body, group_id, error)
            return
    body.apply_async((parts.get(disable_sync_subtasks=False),))
