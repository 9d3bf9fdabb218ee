"""The message of a due run."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from multi.app.app import App
from multi.app.execute import SENT_AGAIN
from multi.app.keys import Key
from multi.app.schedules.entry import Entry
from multi.app.schedules.lazy import evaluated
from multi.app.task import Task
from multi.app.timetable.runs import moment
from multi.errors import DuplicateTask
from multi.outcome import Publication

#: Of the ids of due runs.
_IDS = UUID("6d756c74-6974-4173-8b65-626561740001")
#: Headers that tell a task why it runs: the name of the entry (as django-celery-beat has it), and the moment it was due.
NAME, MOMENT = "periodic_task_name", "scheduled_for"


class NotWanted(Exception):
    """A unique task that waits or runs already: nothing is to be sent, and that is no trouble."""


def task_id(shelf: str, name: str, due: float) -> str:
    """The id of an entry's run: the same, whoever sends it."""
    return str(uuid5(_IDS, f"{shelf}\0{name}\0{due:.6f}"))


def message(app: App, shelf: str, entry: Entry, due: float, *, again: bool = False) -> Publication:
    """What is sent for the run that was due at that time, checked as any call is. Raises whatever is wrong with it."""
    task = app.tasks.get(entry.task)
    args = tuple(evaluated(each) for each in entry.args or ())
    kwargs = {name: evaluated(each) for name, each in (entry.kwargs or {}).items()}
    options = dict(entry.options or {})
    app.check_options(options)
    if task is not None and task.typing and app.strict_typing:
        task.check_arguments(args, kwargs)
    if task is not None and "shadow" not in options and type(task).shadow_name is not Task.shadow_name:
        options["shadow"] = task.shadow_name(args, kwargs, options)
    found = options.pop("task_id", None) or task_id(shelf, entry.name, due)
    headers = {**(options.get("headers") or {}), NAME: entry.name, MOMENT: moment(due).isoformat()}
    if again:
        headers[SENT_AGAIN] = True
    if task is not None and task.unique_for is not None:
        headers |= _lock(app, task, args, kwargs, found)
    options["headers"] = headers
    return app.publisher.build(entry.task, task, found, args, kwargs, options)


def _lock(app: App, task: Task, args: Any, kwargs: Any, found: str) -> dict[str, str]:
    """Take the lock of a unique task. It is this run's: whichever scheduler sends it."""
    from multi.app.pacing import place
    from multi.app.unique import HEADER, unique

    key: Key = unique(task).key
    name = key(args, kwargs)
    how = task.unique_on_conflict
    other = place(app)[0].lock(name, found, task.unique_for, take=how == "replace")
    if other:
        text = f"{task.name} waits or runs already with this key, as {other}"
        if how == "raise":
            raise DuplicateTask(text, task_id=other)
        if how == "ignore":
            raise NotWanted(text)
        app.control.revoke(other)
    return {HEADER: name}
