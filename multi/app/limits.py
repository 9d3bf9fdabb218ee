"""Concurrency limits: of runs with one key only so many go on at a time, in the whole fleet.

A message for which there is no place waits in the broker and asks again. Places are leases that the process of the run renews,
so that those of a dead one come free.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from random import random
from typing import TYPE_CHECKING, Any

from multi.app.keys import Key, key
from multi.app.pacing import place
from multi.errors import ConfigurationError, MultiError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task

#: Seconds that a place is kept for a process that has fallen silent.
LEASE = 30.0
#: Seconds before a message asks again: the first one that waits, each one more, and at most.
SOON, EACH, LATEST = 0.1, 0.01, 30.0


def check(name: str, attributes: Mapping[str, Any]) -> None:
    """Refuse what makes no sense. Raises `ValueError`."""
    limit = attributes.get("concurrency_limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"concurrency_limit should be a whole number from 1 on, not {limit!r}")


class Limit:
    """The limit of one task."""

    def __init__(self, task: Task) -> None:
        if place(task.app)[0] is None:
            raise ConfigurationError(
                f"task {task.name}: concurrency_limit needs Redis or the embedded file as broker or as result backend"
            )
        self.task = task
        self.most: int = task.concurrency_limit or 1
        self.key: Key | None = None
        if task.concurrency_key is not None:
            self.key = key(task, task.concurrency_key, "concurrency_key")

    def hold(self, app: App, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
        """0 if the run may begin, which then has a place; else when its message may ask again (seconds since the epoch)."""
        try:
            name = self._name(args, kwargs)
            waiting: int = place(app)[0].enter(name, task_id, self.most, LEASE)
        except (MultiError, TypeError) as error:
            import logging

            logging.getLogger("multi.task").error(
                "The concurrency limit of task %s can't be asked for, it waits a second: %s", self.task.name, error
            )
            return time.time() + 1.0
        if not waiting:
            holder(app).take(task_id, name, self.most)
            return 0.0
        return time.time() + min(LATEST, SOON + EACH * waiting) * (0.5 + random())

    def vacate(self, app: App, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Free the place of a run whose process is gone, without waiting for its lease to end."""
        place(app)[0].leave(self._name(args, kwargs), task_id)

    def _name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        return self.task.name if self.key is None else self.key(args, kwargs)


def limit(task: Task) -> Limit | None:
    """The limit of `task`, None where there is none. Raises `ConfigurationError`."""
    return None if task.concurrency_limit is None else Limit(task)


class Holder:
    """The places that this process has; a thread renews them, from the first one on."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._pid = os.getpid()
        self._places: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self, task_id: str, name: str, limit: int) -> None:
        """Renew this place from now on."""
        with self._lock:
            self._places[task_id] = (name, limit)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew, name="Places", daemon=True)
                self._thread.start()

    def leave(self, task_id: str) -> None:
        """The run is over: free its place, if it has one."""
        with self._lock:
            found = self._places.pop(task_id, None)
        if found is not None:
            try:
                place(self._app)[0].leave(found[0], task_id)
            except MultiError as error:
                import logging

                logging.getLogger("multi.task").warning(
                    "A place under a concurrency limit could not be freed, it comes free by itself: %s", error
                )

    def _renew(self) -> None:
        while True:
            time.sleep(LEASE / 3)
            with self._lock:
                places = list(self._places.items())
                if not places:
                    self._thread = None
                    return
            for task_id, (name, limit) in places:
                try:
                    full = place(self._app)[0].enter(name, task_id, limit, LEASE)
                except MultiError:
                    continue  # it is tried again before the lease ends
                with self._lock:
                    gone = task_id not in self._places
                if gone and not full:
                    self._free_again(name, task_id)

    def _free_again(self, name: str, task_id: str) -> None:
        """It has ended while its place was being renewed."""
        try:
            place(self._app)[0].leave(name, task_id)
        except MultiError:
            pass  # the lease ends by itself


def holder(app: App) -> Holder:
    """The places of this process."""
    found: Holder | None = app.holder
    if found is None or found._pid != os.getpid():
        found = app.holder = Holder(app)
    return found


def over(app: App, task_id: str) -> None:
    """A run is over, or won't begin."""
    if app.holder is not None and app.holder._pid == os.getpid():
        app.holder.leave(task_id)
