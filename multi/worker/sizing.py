"""How many tasks of a worker run at once: changed while it runs, by signals, by remote control, and by its load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.log import get_logger
from multi.worker.child import GO
from multi.worker.slots import RUNNING

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")


class Sizing:
    """Of one worker: children in the pools that run one task at a time in each, threads or coroutines in the others."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def _by_children(self) -> bool:
        return self._worker.pool.loop == "serial"

    @property
    def capacity(self) -> int:
        """How many tasks may run at once."""
        return self._worker.wanted if self._by_children else self._worker.options.concurrency

    @property
    def running(self) -> int:
        """How many do now."""
        return sum(member.slot.states().count(RUNNING) for member in self._worker.members.values())

    @property
    def room(self) -> int:
        """The largest capacity that this worker can be given."""
        worker = self._worker
        if self._by_children:
            return worker.page.rows
        return min((member.slot.entries for member in worker.members.values()), default=worker.options.concurrency)

    def resize(self, capacity: int) -> None:
        """Have so many run at once. Raises `ValueError` for what can't be; nothing is changed then."""
        worker, now = self._worker, self.capacity
        if capacity == now:
            return
        if worker.pool.name == "solo":
            raise ValueError("the pool solo runs one task at a time; start the worker with -P prefork")
        if capacity < 1:
            raise ValueError(f"{now} run at once now, and the last one stays")
        if capacity > self.room:
            raise ValueError(
                f"there is room for {self.room} at once in this worker: start it with a higher -c, or with --autoscale"
            )
        if not self._by_children:
            worker.options.concurrency = capacity
            worker.directives.run_at_once(worker.app, capacity)
            worker.page.node(concurrency=capacity)
            for member in worker.members.values():
                member.tell(GO)
            logger.info("%d tasks at once, after %d", capacity, now)
            return
        while worker.wanted < capacity:
            worker.grow()
        while worker.wanted > capacity:
            worker.shrink()

    def grow(self) -> None:
        """One child more."""
        worker = self._worker
        if not self._by_children:
            self._by_one(1)
        elif worker.wanted < worker.page.rows:
            worker.wanted += 1
            worker.page.node(concurrency=worker.wanted)
            logger.info("One child more: %d", worker.wanted)
            worker.populate()
        else:
            logger.warning(
                "There are %d children, and there is no room for more: start the worker with a higher -c", worker.wanted
            )

    def shrink(self) -> None:
        """One child fewer, by a warm end; the last one stays."""
        worker = self._worker
        if not self._by_children:
            self._by_one(-1)
        elif worker.wanted > 1:
            worker.wanted -= 1
            worker.page.node(concurrency=worker.wanted)
            logger.info("One child fewer: %d", worker.wanted)
            members = [member for member in worker.members.values() if not member.stopping]
            members.sort(key=lambda member: (not member.idle, -member.number))
            if len(members) > worker.wanted:
                worker.dismiss(members[0])

    def _by_one(self, step: int) -> None:
        try:
            self.resize(self.capacity + step)
        except ValueError as error:
            logger.warning("%s", error)

    def renew(self) -> None:
        """Replace every child by a fresh one, as soon as it has nothing to do."""
        for member in list(self._worker.members.values()):
            if not member.stopping:
                self._worker.dismiss(member)
