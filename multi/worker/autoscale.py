"""A pool that follows its load: larger when messages wait and everything is busy, smaller when part of it has been idle."""

from __future__ import annotations

import os
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError
from multi.log import get_logger

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: Seconds between two looks.
TICK = 0.5
#: What has been idle for so long (s) ends, where the variable of Celery's says nothing else.
KEEPALIVE = 30.0


def keepalive() -> float:
    """The seconds of AUTOSCALE_KEEPALIVE."""
    try:
        return max(TICK, float(os.environ.get("AUTOSCALE_KEEPALIVE") or KEEPALIVE))
    except ValueError:
        return KEEPALIVE


#: The name of Celery's, which stands for ours.
_USUAL = "celery.worker.autoscale:Autoscaler"


def scaler(path: str | None) -> type[Autoscaler]:
    """The class that the setting `worker_autoscaler` names. Raises `ConfigurationError`."""
    if not path or path == _USUAL:
        return Autoscaler
    from importlib import import_module

    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"worker_autoscaler: {path!r} can't be imported: {error}") from None
    if not isinstance(found, type) or not issubclass(found, Autoscaler):
        raise ConfigurationError(
            f"worker_autoscaler: {path!r} should be a class made of multi.worker.autoscale.Autoscaler, whose method `wanted` "
            "says how many are to run at once"
        )
    return found


class Autoscaler:
    """Keeps the capacity of one worker between `least` and `most`.

    It grows when, at two looks running, all that is there is busy and messages wait, by as many as wait and at most to the
    double; so short waits change nothing, and long ones soon have all. It shrinks to what was busy at most within the last
    `keepalive` seconds. A class made of this one may have a `wanted` of its own.
    """

    def wanted(self, capacity: int, waiting: int) -> int:
        """How many are to run at once, where `capacity` do, all of them for a while, and `waiting` messages wait."""
        return capacity + min(waiting, capacity)

    def __init__(self, worker: Worker, most: int, least: int) -> None:
        self._worker = worker
        self.most, self.least = most, least
        self._keepalive = keepalive()
        self._busy: deque[tuple[float, int]] = deque()
        self._waiting = 0
        self._pressed = False
        worker.loop.every(TICK, self.look)

    def info(self) -> dict[str, Any]:
        """As `stats` tells it."""
        size = self._worker.size
        return {
            "max": self.most,
            "min": self.least,
            "current": size.capacity,
            "qty": size.running + self._waiting,
        }

    def update(self, most: int | None, least: int | None) -> tuple[int, int]:
        """Change the limits, now. Raises `ValueError`."""
        most, least = self.most if most is None else most, self.least if least is None else max(1, least)
        size = self._worker.size
        if most < least:
            raise ValueError(f"max={most} is less than min={least}")
        if most > size.room:
            raise ValueError(
                f"there is room for {size.room} at once in this worker: start it with a higher --autoscale"
            )
        self.most, self.least = most, least
        self._worker.show_limits(most, least)
        size.resize(min(max(size.capacity, least), most))
        return most, least

    def look(self) -> None:
        """What is to be done now?"""
        worker = self._worker
        if worker.stopping or not worker.said_ready:
            return
        size, now = worker.size, monotonic()
        busy = size.running
        self._busy.append((now, busy))
        while self._busy[0][0] < now - self._keepalive:
            self._busy.popleft()
        if busy >= size.capacity and size.capacity < self.most:
            worker.watch.depth(self._found)
            return
        self._waiting, self._pressed = 0, False
        needed = max(self.least, *(count for _, count in self._busy))
        if needed < size.capacity and now - self._busy[0][0] >= self._keepalive - 2 * TICK:
            logger.info("Scaling down %d processes.", size.capacity - needed)
            size.resize(needed)

    def _found(self, waiting: int) -> None:
        """So many messages wait while all is busy."""
        worker, size = self._worker, self._worker.size
        self._waiting = waiting
        before, self._pressed = self._pressed, waiting > 0
        if not before or not waiting or worker.stopping or size.running < size.capacity:
            return
        more = min(self.wanted(size.capacity, waiting), self.most, size.room) - size.capacity
        if more > 0:
            logger.info("Scaling up %d processes.", more)
            size.resize(size.capacity + more)
