"""Unique tasks: of calls with one key only one waits or runs at a time.

The lock lies in the broker, or where that can't keep one, in the result backend. It is taken before the message is sent, and
given back when the task begins (`unique_until="start"`) or has come to its end; after `unique_for` seconds it ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.keys import Key, key
from multi.app.pacing import place
from multi.errors import ConfigurationError, DuplicateTask, MultiError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.result import AsyncResult
    from multi.app.task import Task

#: The header that says which lock a message holds: the lock's name.
HEADER = "unique_lock"
UNTIL = ("success", "start")
CONFLICTS = ("ignore", "raise", "replace")


def check(name: str, attributes: Mapping[str, Any]) -> None:
    """Refuse what makes no sense. Raises `ValueError`."""
    seconds = attributes.get("unique_for")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
        raise ValueError(f"unique_for should be a number of seconds above 0, not {seconds!r}")
    for option, values in (("unique_until", UNTIL), ("unique_on_conflict", CONFLICTS)):
        value = attributes.get(option)
        if value is not None and value not in values:
            raise ValueError(f"{option} should be one of {', '.join(map(repr, values))}, not {value!r}")


class Unique:
    """How the calls of one task are kept from being several; made once for each."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.key: Key = key(task, task.unique_key, "unique_key")
        if place(task.app)[0] is None:
            raise ConfigurationError(
                f"task {task.name}: unique_for needs Redis or the embedded file as broker or as result backend"
            )

    def send(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        send: Callable[[dict[str, Any]], AsyncResult],
    ) -> AsyncResult:
        """Send, or do what is to be done about the one that is there already."""
        task, app = self.task, self.task.app
        task_id = options["task_id"] = options.get("task_id") or identity.new_id()
        name = self.key(args, kwargs)
        lock = place(app)[0]
        how = task.unique_on_conflict
        other = lock.lock(name, task_id, task.unique_for, take=how == "replace")
        if other:
            if how == "raise":
                raise DuplicateTask(f"{task.name} waits or runs already with this key, as {other}", task_id=other)
            if how == "ignore":
                return task.AsyncResult(other)
            app.control.revoke(other)
        try:
            return send({**options, "headers": {**(options.get("headers") or {}), HEADER: name}})
        except BaseException:
            lock.unlock(name, task_id)
            raise


def unique(task: Task) -> Unique:
    """How the calls of a unique task are kept from being several."""
    found: Unique | None = task.__dict__.get("_unique")
    if found is None:
        found = task.__dict__["_unique"] = Unique(task)
    return found


def over(app: App, headers: Mapping[str, Any], task_id: str) -> None:
    """Give back the lock that a message holds; a store that is away is told nothing: the lock ends by itself."""
    lock = place(app)[0]
    if lock is not None:
        try:
            lock.unlock(headers[HEADER], task_id)
        except MultiError as error:
            import logging

            logging.getLogger("multi.task").warning(
                "The lock of the unique task %s could not be given back, it ends by itself: %s", task_id, error
            )
