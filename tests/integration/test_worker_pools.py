"""What each pool promises: many at once, every kind of task in every pool, and at most once where it is asked for."""

from __future__ import annotations

import os
import signal

import pytest
from support.project import Project
from support.wait import until
from support.workers import bench

from multi.errors import WorkerLostError

POOLS = ["prefork", "threads", "asyncio", "solo"]


@pytest.mark.parametrize(("pool", "task", "many"), [("threads", "sleep", 20), ("asyncio", "nap", 200)])
def test_many_tasks_run_at_once(project: Project, broker: str, pool: str, task: str, many: int) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-P", pool, "-c", str(many), quiet=True)
        results = made.app.send_many([(getattr(made.tasks, task), (1, f"t{i}"), {}) for i in range(many + 10)])

        def begun() -> int:
            return sum(note.startswith("begin") for note in made.notes())

        until(lambda: begun() >= many, 15, what=f"{many} tasks begun")
        assert begun() == many
        assert not any(note.startswith("end") for note in made.notes())
        assert [result.get(timeout=20) for result in results] == [f"t{i}" for i in range(many + 10)]
        assert len(worker.children()) == 1


@pytest.mark.parametrize("pool", POOLS)
def test_every_kind_of_task_runs_in_every_pool(project: Project, redis_url: str, pool: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-P", pool, "-c", "2")
        assert made.tasks.add.delay(1, 2).get(timeout=10) == 3
        assert made.tasks.nap.delay(0.01, "n").get(timeout=10) == "n"
        assert made.tasks.sleep.delay(0.01, "s").get(timeout=10) == "s"
        with pytest.raises(ValueError, match="bad"):
            made.tasks.fail.delay().get(timeout=10)
        with pytest.raises(SystemExit):
            made.tasks.bow_out.delay().get(timeout=10)
        assert made.tasks.pid.delay().get(timeout=10) in worker.children()
        assert worker.stop() == 0


def test_plain_tasks_in_the_asyncio_pool_do_not_hold_up_coroutines(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        made.start("-P", "asyncio", "-c", "10")
        plain = [made.tasks.sleep.delay(1, f"p{i}") for i in range(5)]
        for i in range(5):
            made.wait_begun(f"p{i}")
        assert made.tasks.nap.delay(0.01, "n").get(timeout=0.8) == "n"
        assert not any(result.ready() for result in plain)
        assert [result.get(timeout=20) for result in plain] == [f"p{i}" for i in range(5)]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_at_most_once_is_kept_when_the_child_is_killed_and_its_caller_learns_it(
    project: Project, broker: str, pool: str
) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-P", pool, "-c", "1")
        result = made.tasks.die_once.delay("t")
        with pytest.raises(WorkerLostError, match="at most once"):
            result.get(timeout=10)
        assert made.tasks.add.delay(1, 2).get(timeout=10) == 3
        assert made.begun("t") == 1
        assert made.depth() == 0
        assert made.dead() == []
        assert worker.stop() == 0


def test_at_most_once_is_kept_when_the_node_is_killed(project: Project, broker: str) -> None:
    with bench(project, broker, broker, worker_lease=0.6) as made:
        worker = made.start("-c", "1")
        made.tasks.sleep_once.delay(20, "t")
        made.wait_begun("t")
        worker.kill_node()
        second = made.start("-c", "1")
        # a task of another node, to be taken back, shows that the second one does take back what is overdue
        late = made.tasks.sleep.delay(0.01, "late")
        assert late.get(timeout=20) == "late"
        until(lambda: second.processor_time() > 0)
        assert made.depth() == 0
        assert second.stop() == 0
        assert made.begun("t") == 1


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_results_of_early_acknowledged_tasks_are_recorded(project: Project, broker: str, pool: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-P", pool, "-c", "2")
        result = made.tasks.sleep_once.delay(0.5, "t")
        made.wait_begun("t")
        # nobody holds a claim any more
        assert result.get(timeout=10) == "t"
        assert [made.tasks.sleep_once.delay(0, f"t{i}").get(timeout=10) for i in range(5)] == [
            f"t{i}" for i in range(5)
        ]


def test_an_early_acknowledged_task_survives_a_warm_shutdown(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        result = made.tasks.sleep_once.delay(0.5, "t")
        made.wait_begun("t")
        assert worker.stop() == 0
        assert result.get(timeout=1) == "t"


def test_a_killed_child_of_threads_returns_all_that_it_ran(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-P", "threads", "-c", "4")
        results = made.app.send_many([(made.tasks.linger, (f"t{i}", 20), {}) for i in range(4)])
        for i in range(4):
            made.wait_begun(f"t{i}")
        os.kill(worker.children()[0], signal.SIGKILL)
        assert [result.get(timeout=10) for result in results] == [True] * 4
        assert made.dead() == []
