"""What a task's attributes do in a real worker: pace, acknowledgement after failures, progress."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from support.project import Project
from support.wait import until
from support.workers import bench

from multi.errors import TimeLimitExceeded, WorkerLostError

#: Seconds between two runs of a task with rate_limit="20/s".
PAUSE = 0.05


def _at_pace(began: float, starts: list[float]) -> None:
    """No more have started by any moment than may have."""
    for count, start in enumerate(sorted(starts)):
        assert start - began >= count * PAUSE - 0.01, starts


def test_rate_limits_hold_for_each_worker_or_for_all(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        workers = [made.start("-c", "2", name=name) for name in ("w1", "w2")]
        began = time.time()
        everywhere = made.tasks.paced_everywhere.send_many([()] * 12)
        found = [result.get(timeout=20) for result in everywhere]
        _at_pace(began, [start for _, start in found])
        began = time.time()
        each = made.tasks.paced.send_many([()] * 12)
        # what is limited holds up nothing else
        assert made.tasks.add.delay(1, 2).get(timeout=10) == 3
        found = [result.get(timeout=20) for result in each]
        for worker in {worker for worker, _ in found}:
            _at_pace(began, [start for name, start in found if name == worker])
        assert any("waits for its turn at" in worker.said() for worker in workers)
        assert made.depth() == 0
        assert made.dead() == []


def test_what_becomes_of_a_message_after_a_failure_is_the_tasks_choice(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        aside = made.tasks.fail_aside.delay()
        assert isinstance(aside.get(timeout=10, propagate=False), ValueError)
        (letter,) = made.dead()
        assert letter.task_id == aside.id
        assert letter.reason == "it failed with ValueError('aside') (acks_on_failure=False)"
        assert "ValueError: aside" in letter.detail
        lost = made.tasks.die_failing.delay("lost")
        error = lost.get(timeout=10, propagate=False)
        assert isinstance(error, WorkerLostError)
        assert "reject_on_worker_lost=False" in str(error)
        assert made.begun("lost") == 1
        again = made.tasks.limited_again.delay("again")
        error = again.get(timeout=20, propagate=False)
        # delivered again until its deliveries are used up, then set aside
        assert isinstance(error, WorkerLostError)
        assert made.begun("again") == 3
        assert {letter.task_id for letter in made.dead()} == {aside.id, again.id}
        assert "it is delivered again (acks_on_timeout=False)" in worker.said()
        once = made.tasks.limited.delay()
        assert isinstance(once.get(timeout=10, propagate=False), TimeLimitExceeded)
        assert worker.stop() == 0


def test_a_file_for_results_is_made_by_the_worker_whatever_the_broker_is(
    project: Project, redis_url: str, tmp_path: Path
) -> None:
    with bench(project, redis_url, f"sqlite:///{tmp_path}/results.db") as made:
        worker = made.start("-c", "1")
        assert made.tasks.add.delay(2, 3).get(timeout=20) == 5
        assert worker.stop() == 0


def test_progress_is_seen_while_the_task_runs(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-c", "2")
        here = project.path

        def go(name: str, step: int) -> None:
            until((here / f"{name}-{step}").exists, 10)
            time.sleep(0.1)  # reports that follow each other faster are passed over
            (here / f"{name}-go-{step}").touch()

        result = made.tasks.steps.delay(3, "a")
        seen = []
        for step in result.follow(timeout=20):
            seen.append(str(step))
            if step.current < 3:
                go("a", int(step.current))
        assert seen[-1] in ("2/3 (67 %) steps", "3/3 (100 %) steps")
        assert seen[:3] == ["0/3 (0 %) steps", "1/3 (33 %) steps", "2/3 (67 %) steps"]
        assert result.get(timeout=10) == 3

        async def watch() -> tuple[list[Any], Any]:
            sent = await made.tasks.steps.adelay(2, "b")
            told = []
            async for step in sent.afollow(timeout=20):
                told.append(step.current)
                if step.current < 2:
                    await asyncio.to_thread(go, "b", int(step.current))
            return told, await sent.aget(timeout=10)

        told, value = asyncio.run(watch())
        assert told[:2] == [0, 1]
        assert value == 2
