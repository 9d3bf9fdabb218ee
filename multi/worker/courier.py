"""What children that run many tasks at once have in common: one thread that talks to the broker for all of them.

It claims only as many messages as can begin at once, so nothing waits behind a running task, and settles outcomes as
they come, together with the next claim.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import deque
from select import POLLIN, poll
from time import monotonic, time

from multi.app.execute import Job
from multi.brokers.base import Delivery, Settlement
from multi.outcome import Outcome
from multi.worker.child import GO, IDLE, Child, ChildPlan, called_with, logger
from multi.worker.serial import resident


class CourierChild(Child):
    """Claims and settles; subclasses run a job somewhere and call `finished` from there."""

    def __init__(self, plan: ChildPlan) -> None:
        super().__init__(plan)
        self.concurrency = plan.options.concurrency
        self._free = list(range(plan.entries))
        self._finished: deque[tuple[int, Delivery, Job, Outcome]] = deque()
        self._running: dict[int, tuple[float, Job]] = {}
        self._told_idle = False
        self._unlimited: set[str] = set()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @abstractmethod
    def begin(self, index: int, delivery: Delivery, job: Job) -> None:
        """Start to run `job` elsewhere and return at once."""

    @abstractmethod
    def end(self) -> None:
        """All runs are over: stop whatever ran them."""

    def limitable(self, job: Job) -> bool:
        """Whether a time limit of this job is enforced here."""
        return False

    def finished(self, index: int, delivery: Delivery, job: Job, outcome: Outcome) -> None:
        """A run is over; called from anywhere."""
        self._finished.append((index, delivery, job, outcome))
        os.eventfd_write(self._bell, 1)

    def serve(self) -> None:
        try:
            self.carry()
        finally:
            self.end()

    def carry(self) -> None:
        """Claim and settle until there is no more to do."""
        while True:
            self.hear()
            if self.directives.version != self._heeded:
                self._heed()  # it may say that there is more room
            indices, settlements = self._collect()
            room = 0 if self.stopping else max(0, min(self.concurrency - len(self._running), self.left))
            self.slot.claiming = room > 0
            deliveries = self.exchange(settlements, room) if settlements or room else []
            self._release(indices)
            if deliveries:
                self._told_idle = False
                for delivery in deliveries:
                    self._begin(delivery)
                self.slot.claiming = False
                continue
            self.slot.claiming = False
            if self.stopping and not self._running and not self._finished:
                return
            if room and not self._told_idle:
                self._show()
                self._told_idle = True
                self.tell(IDLE)
            self.wait()

    def run_at_once(self, concurrency: int) -> None:
        self.concurrency = concurrency

    def hear(self) -> bytes:
        words = super().hear()
        if GO in words:
            # we count as awake now; whoever finds nothing then must say so again
            self._told_idle = False
        return words

    def _collect(self) -> tuple[list[int], list[Settlement]]:
        indices: list[int] = []
        settlements: list[Settlement] = []
        while self._finished:
            index, delivery, job, outcome = self._finished.popleft()
            self._running.pop(index, None)
            self.tell_outcome(delivery, outcome)
            settlement = self.settlement(delivery, outcome)
            if job.acks_early:
                self.record_directly(settlement)
            else:
                settlements.append(settlement)
            indices.append(index)
        if indices:
            self.slot.send(indices)
            self._show()
            limit = self.options.max_memory_per_child
            if self.left <= 0 or (limit and resident() > limit):
                self.retire = True
        return indices, settlements

    def _release(self, indices: list[int]) -> None:
        self.slot.free(indices)
        self._free += indices
        if not self._running:
            self.slot.rewind()

    def _begin(self, delivery: Delivery) -> None:
        index = self._free.pop()
        slot = self.slot
        message = delivery.message
        task = message.headers.get("task") if message is not None else None
        slot.put(index, delivery.tag, delivery.fence, delivery.queue, str(task or ""))
        job = self.job(delivery)
        # the worker enforces no limits here, so it is not told of any
        if not slot.start(index, monotonic(), None, None):
            self.forgo(job)
            self._free.append(index)
            return
        if isinstance(job, Outcome):
            self.tell_outcome(delivery, job)
            self.exchange([self.settlement(delivery, job, ran=False)], 0)
            self._release([index])
            return
        self.left -= 1
        if (place := self.places.get(job.name)) is not None:
            self.counts[place] += 1
        self.lines.received(job.name, job.id)
        if not self.limitable(job) and (job.time_limit or job.soft_time_limit) and job.name not in self._unlimited:
            self._unlimited.add(job.name)
            logger.warning(
                "The time limit of task %s is not enforced, because no thread can be ended by force: "
                "run it by a worker with -P prefork",
                job.name,
            )
        self.tell_start(job)
        if job.acks_early:
            slot.bequeath(index, job.message)
            self.exchange([Settlement(delivery.tag, delivery.fence, delivery.queue)], 0)
        self._running[index] = (time(), job)
        self._show()
        self.begin(index, delivery, job)

    def _show(self) -> None:
        """The stats page: how many run, and the one that has run longest."""
        running = self._running
        if not running:
            self.row.task(0, 0.0, b"")
            return
        # they are in the order of their starts
        since, job = next(iter(running.values()))
        self.row.task(
            len(running), since, job.name.encode(), job.id.encode("utf-8", "replace"), called_with(job.headers)
        )

    def wait(self, seconds: float | None = None) -> None:
        poller = poll()
        poller.register(self.control.fileno(), POLLIN)
        poller.register(self._bell, POLLIN)
        if (fd := self.lane.fileno()) >= 0 and len(self._running) < self.concurrency:
            poller.register(fd, POLLIN)
        poller.poll(None if seconds is None else max(0, int(seconds * 1000)))
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass
        self.hear()
