"""The child of the asyncio pool: many `async def` tasks at once on one event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

from multi import stacks
from multi.app.execute import Job
from multi.brokers.base import Delivery
from multi.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from multi.outcome import Outcome
from multi.worker.child import WorkerGone, logger
from multi.worker.courier import CourierChild


class LoopingChild(CourierChild):
    """The event loop has the main thread; another one talks to the broker, so that a slow broker delays no task.

    A task that is no coroutine runs in a thread, where no limit can reach it. A soft time limit is raised inside a
    coroutine, a hard one cancels it.
    """

    def serve(self) -> None:
        try:
            asyncio.run(self._live())
        finally:
            if self._failure is not None:
                raise self._failure

    _failure: BaseException | None = None

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(self.concurrency, "Task"))
        self._threads = self.concurrency
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        stacks.listen_with_tasks(_about)
        courier = Thread(target=self._courier, name="Courier", daemon=True)
        courier.start()
        await self._over.wait()
        courier.join()

    def _courier(self) -> None:
        try:
            self.carry()
        except BaseException as error:
            self._failure = error
            if not isinstance(error, WorkerGone):
                logger.critical("The child's talk with the broker has ended", exc_info=True)
        finally:
            self.end()

    def run_at_once(self, concurrency: int) -> None:
        if concurrency > self._threads:
            # the threads there are end when they have nothing left to do
            self._threads = concurrency
            self._loop.call_soon_threadsafe(self._loop.set_default_executor, ThreadPoolExecutor(concurrency, "Task"))
        super().run_at_once(concurrency)

    def begin(self, index: int, delivery: Delivery, job: Job) -> None:
        self._loop.call_soon_threadsafe(self._spawn, index, delivery, job)

    def _spawn(self, index: int, delivery: Delivery, job: Job) -> None:
        task = self._loop.create_task(self._run(index, delivery, job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, index: int, delivery: Delivery, job: Job) -> None:
        try:
            if job.is_async:
                outcome = await self._limited(delivery, job)
            else:
                outcome = await self._loop.run_in_executor(None, job.run)
        except BaseException as error:  # a cancellation or a KeyboardInterrupt of the task's own making, say
            outcome = self.interrupted(delivery, error)
        self.finished(index, delivery, job, outcome)

    def limitable(self, job: Job) -> bool:
        return job.is_async

    async def _limited(self, delivery: Delivery, job: Job) -> Outcome:
        soft, hard = job.soft_time_limit, job.time_limit
        if not soft and not hard:
            return await job.arun()
        run = asyncio.ensure_future(self._guarded(delivery, job))
        reached: list[BaseException] = []

        def cancel(error: BaseException) -> None:
            reached.append(error)
            run.cancel()

        def warn(error: BaseException) -> None:
            if not job.interrupt(error):
                cancel(error)

        timers = []
        if soft:
            timers.append(self._loop.call_later(soft, warn, SoftTimeLimitExceeded(soft)))
        if hard:
            timers.append(self._loop.call_later(hard, cancel, TimeLimitExceeded(hard)))
        try:
            outcome = await run
        except asyncio.CancelledError as error:
            return self.interrupted(delivery, reached[-1] if reached else error)
        finally:
            for timer in timers:
                timer.cancel()
        return outcome

    async def _guarded(self, delivery: Delivery, job: Job) -> Outcome:
        try:
            return await job.arun()
        except KeyboardInterrupt as error:  # out of a task of asyncio's it would end the whole loop
            return self.interrupted(delivery, error)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)


def _about(task: asyncio.Task[Any]) -> str:
    """Which run a task of the loop is."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    job = frame.f_locals.get("job") if frame is not None else None
    return f"{job.name}[{job.id}]" if isinstance(job, Job) else task.get_name()
