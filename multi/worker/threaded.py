"""The child of the threads pool: many tasks at once, each in a thread of its own."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread

from multi.app.execute import Job
from multi.brokers.base import Delivery
from multi.worker.child import ChildPlan
from multi.worker.courier import CourierChild

Work = tuple[int, Delivery, Job]


class ThreadedChild(CourierChild):
    """The main thread talks to the broker; threads are made as they are needed, up to the concurrency."""

    def __init__(self, plan: ChildPlan) -> None:
        super().__init__(plan)
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[Thread] = []

    def begin(self, index: int, delivery: Delivery, job: Job) -> None:
        if len(self._threads) < min(self.concurrency, len(self._running)):
            thread = Thread(target=self._serve, name=f"Task-{len(self._threads) + 1}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.put((index, delivery, job))

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            index, delivery, job = work
            try:
                outcome = job.run()
            except BaseException as error:  # a KeyboardInterrupt of the task's own making, say
                outcome = self.interrupted(delivery, error)
            self.finished(index, delivery, job, outcome)

    def end(self) -> None:
        for _ in self._threads:
            self._work.put(None)
