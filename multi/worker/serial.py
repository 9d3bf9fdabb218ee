"""The child of the prefork and solo pools: one task at a time, in the main thread.

It claims in batches that grow while tasks are short and shrink when they are long. An outcome waits at most 5 ms for
others to travel with it; what a long task leaves waiting, outcomes and messages not begun, the worker takes over.
"""

from __future__ import annotations

import gc
import os
import signal
from time import monotonic, time

from multi.brokers.base import Delivery, Settlement
from multi.errors import SoftTimeLimitExceeded
from multi.outcome import Outcome
from multi.worker.child import AWAKE, IDLE, LARGEST_BATCH, PATIENCE, Child, ChildPlan, called_with
from multi.worker.events.ring import WANTED

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class SerialChild(Child):
    """See the module."""

    def __init__(self, plan: ChildPlan) -> None:
        super().__init__(plan)
        self._done: list[tuple[int, Settlement]] = []
        self._oldest = 0.0
        self._batch = 1
        self._soft = 0.0  # when the running task is to be interrupted (monotonic s), 0 for never
        self._soft_limit = 0.0

    def serve(self) -> None:
        signal.signal(signal.SIGUSR1, self._interrupt)
        while True:
            self.slot.claiming = True
            deliveries = self._settle(min(self._batch, self.left))
            if deliveries:
                began = monotonic()
                ran = self._work(deliveries)
                self._adapt(ran, monotonic() - began)
                self.hear()
            elif self.stopping:
                return
            else:
                self.slot.claiming = False
                self.row.task(0, 0.0, b"")
                self.tell(IDLE)
                self.wait()

    def _adapt(self, ran: int, seconds: float) -> None:
        """As many messages next time as would run in 5 ms, but at most twice as many as now."""
        if ran:
            fitting = int(PATIENCE * ran / seconds) if seconds > 0 else LARGEST_BATCH
            self._batch = max(1, min(LARGEST_BATCH, 2 * self._batch, fitting))
        limit = self.options.max_memory_per_child
        if self.left <= 0 or (limit and resident() > limit):
            self.retire = True

    def _settle(self, claim: int) -> list[Delivery]:
        """Settle what is done and claim; free the entries then."""
        done, self._done = self._done, []
        slot = self.slot
        kept = set(slot.send([index for index, _ in done])) if done else set()
        deliveries = self.exchange([settlement for index, settlement in done if index in kept], claim)
        slot.free([index for index, _ in done if index in kept])
        if done:
            slot.rewind()
        return deliveries

    def _work(self, deliveries: list[Delivery]) -> int:
        """Run a batch; returns how many were run here."""
        slot = self.slot
        for index, delivery in enumerate(deliveries):
            message = delivery.message
            task = message.headers.get("task") if message is not None else None
            slot.put(index, delivery.tag, delivery.fence, delivery.queue, str(task or ""))
        slot.claiming = False
        if len(deliveries) > 1 and slot.asleep:
            self.tell(AWAKE)
        ran = 0
        for index, delivery in enumerate(deliveries):
            if slot.draining:
                self._hand_back(index, deliveries)
                break
            if self._one(index, delivery):
                ran += 1
            if self._done and monotonic() - self._oldest > PATIENCE and index + 1 < len(deliveries):
                # entries still claimed stay where they are; only what is done leaves
                self._flush()
        return ran

    def _flush(self) -> None:
        done, self._done = self._done, []
        kept = set(self.slot.send([index for index, _ in done]))
        self.exchange([settlement for index, settlement in done if index in kept], 0)
        self.slot.free(sorted(kept))
        self.slot.rewind()

    def _hand_back(self, start: int, deliveries: list[Delivery]) -> None:
        for index in range(start, len(deliveries)):
            delivery = deliveries[index]
            if self.slot.start(index, monotonic(), None, None):
                back = Settlement(delivery.tag, delivery.fence, delivery.queue, "requeue", started=False)
                self._finish(index, back)

    def _one(self, index: int, delivery: Delivery) -> bool:
        """One message from claim to outcome; False when it was taken away before it began."""
        slot = self.slot
        job = self.job(delivery)
        now = monotonic()
        if isinstance(job, Outcome):
            if not slot.start(index, now, None, None):
                return False
            self.tell_outcome(delivery, job)
            self._finish(index, self.settlement(delivery, job, ran=False))
            return True
        soft, hard = job.soft_time_limit, job.time_limit
        if not slot.start(index, now, soft, hard):
            self.forgo(job)
            return False
        if (soft or hard) and slot.asleep:
            self.tell(AWAKE)
        self.left -= 1
        if (place := self.places.get(job.name)) is not None:
            self.counts[place] += 1
        if self.lines.info:
            self.lines.received(job.name, job.id)
        self.row.task(1, time(), job.name.encode(), job.id.encode("utf-8", "replace"), called_with(job.headers))
        if self._header[WANTED]:
            self.tell_start(job)
        if job.acks_early:
            slot.bequeath(index, job.message)
            self.exchange([Settlement(delivery.tag, delivery.fence, delivery.queue)], 0)
        if soft:
            self._soft, self._soft_limit = now + soft, soft
        try:
            outcome = job.run()
            self._soft = 0.0
        except BaseException as error:
            # a limit that struck beside the task's own code, or a KeyboardInterrupt of its own making: no signal does
            # that here
            self._soft = 0.0
            outcome = self.interrupted(delivery, error)
        self.tell_outcome(delivery, outcome)
        settlement = self.settlement(delivery, outcome)
        if job.acks_early:
            self.record_directly(settlement)
            settlement = Settlement(delivery.tag, delivery.fence, delivery.queue)
        self._finish(index, settlement)
        return True

    def _finish(self, index: int, settlement: Settlement) -> None:
        if not self._done:
            self._oldest = monotonic()
        self._done.append((index, settlement))
        if not self.slot.finish(index, settlement):
            self._flush()

    def _interrupt(self, *_: object) -> None:
        """The worker's USR1. It may come late, when the next task runs already: the deadline tells."""
        if self.slot.struck:
            self.slot.spare()
            raise SoftTimeLimitExceeded("terminated by SIGUSR1")
        if self._soft and monotonic() >= self._soft:
            self._soft = 0.0
            raise SoftTimeLimitExceeded(self._soft_limit)


def resident() -> int:
    """The resident memory of this process in KiB."""
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[1])
    return pages * _PAGE_KIB


def freeze() -> None:
    """Before forking: keep the collector away from what all children share, so that the pages stay shared."""
    gc.collect()
    gc.freeze()
