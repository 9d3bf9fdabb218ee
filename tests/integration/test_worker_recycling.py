"""Children come and go: by count, by memory, by signal; what they do is on the stats page and, when asked, in the log."""

from __future__ import annotations

import os
import re
import signal

import pytest
from support.project import Project
from support.wait import until
from support.workers import bench


def test_a_child_is_replaced_after_so_many_tasks(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1", "--max-tasks-per-child", "5")
        results = made.app.send_many([(made.tasks.pid, (), {}) for _ in range(23)])
        pids = [result.get(timeout=20) for result in results]
        runs = [pids.count(pid) for pid in dict.fromkeys(pids)]
        assert runs == [5, 5, 5, 5, 3]
        assert "exit code" not in worker.said()
        assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_child_of_many_tasks_at_once_is_replaced_too(project: Project, redis_url: str, pool: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-P", pool, "-c", "4", "--max-tasks-per-child", "5")
        results = made.app.send_many([(made.tasks.pid, (), {}) for _ in range(23)])
        pids = [result.get(timeout=20) for result in results]
        assert sorted(pids.count(pid) for pid in set(pids)) == [3, 5, 5, 5, 5]
        assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_child_that_has_grown_is_replaced_after_its_task(project: Project, redis_url: str, pool: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        made.start("-P", pool, "-c", "1", "--max-memory-per-child", "150000")
        small = made.tasks.pid.delay().get(timeout=10)
        assert made.tasks.pid.delay().get(timeout=10) == small
        assert made.tasks.fill.delay(200).get(timeout=10) == small
        assert made.tasks.pid.delay().get(timeout=10) != small


def test_ttin_and_ttou_change_the_number_of_children(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-c", "1", run_dir=True)
        worker.send(signal.SIGTTIN)
        until(lambda: len(worker.children()) == 2)
        results = [made.tasks.sleep.delay(0.5, f"t{i}") for i in range(2)]
        made.wait_begun("t0")
        made.wait_begun("t1")
        assert made.notes()[:2] != ["begin t0", "end t0"]
        worker.send(signal.SIGTTOU)
        until(lambda: len(worker.children()) == 1)
        assert [result.get(timeout=20) for result in results] == ["t0", "t1"]
        worker.send(signal.SIGTTOU)
        until(lambda: "One child fewer: 1" in worker.said())
        assert worker.stats().concurrency == 1
        # the last one stays
        assert made.tasks.add.delay(1, 2).get(timeout=20) == 3
        assert worker.stop() == 0


def test_more_children_than_there_is_room_for_are_refused_with_a_word(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-c", "1", run_dir=True)
        for number in range(2, 18):
            worker.send(signal.SIGTTIN)
            until(lambda number=number: f"One child more: {number}" in worker.said())  # type: ignore[misc]
        worker.send(signal.SIGTTIN)
        until(lambda: "there is no room" in worker.said())
        assert worker.stats().concurrency == 17


def test_a_child_that_is_killed_is_replaced_at_once_and_told_of(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-c", "2")
        victim = worker.children()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(worker.children()) == 2 and victim not in worker.children(), 5)
        assert f"(pid {victim}) was killed by SIGKILL (out of memory?)" in worker.said()
        assert made.tasks.add.delay(1, 2).get(timeout=20) == 3


def test_the_stats_page_tells_what_runs_and_what_has_run(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "2", run_dir=True)
        page = worker.stats()
        assert (page.state, page.pid, page.pool, page.concurrency) == ("ready", worker.pid, "prefork", 2)
        assert page.queues == ["celery"]
        for _ in range(3):
            made.tasks.add.delay(1, 2).get(timeout=20)
        failing = made.tasks.fail.delay()
        with pytest.raises(ValueError, match="bad"):
            failing.get(timeout=20)
        made.tasks.sleep.delay(1.5, "t")
        made.wait_begun("t")
        later = until(lambda: worker.stats() if worker.stats().active == 1 else None)
        (busy,) = [child for child in later.children if child.active]
        assert busy.name.endswith(".sleep")
        assert busy.pid in worker.children()
        assert (later.succeeded, later.failed, later.retried) == (3, 1, 0)
        os.kill(busy.pid, signal.SIGKILL)
        until(lambda: made.begun("t") == 2)
        assert worker.stats().active == 1
        assert worker.stop() == 0
        assert worker.run_dir is not None
        assert not (worker.run_dir / "stats.1").exists()  # no keeper is there to clear up behind it


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_the_stats_page_counts_tasks_that_run_at_once(project: Project, redis_url: str, pool: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-P", pool, "-c", "5", run_dir=True)
        task = made.tasks.nap if pool == "asyncio" else made.tasks.sleep
        results = [task.delay(1, f"t{i}") for i in range(4)]
        until(lambda: worker.stats().active == 4, 5, what="4 active tasks")
        for result in results:
            result.get(timeout=20)
        until(lambda: (worker.stats().active, worker.stats().succeeded) == (0, 4), 5)


def test_usr1_writes_the_stacks_of_worker_and_children_to_the_log(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-c", "2")
        made.tasks.spin.delay(3, "stuck")
        made.tasks.sleep.delay(3, "asleep")
        made.wait_begun("stuck")
        made.wait_begun("asleep")
        worker.send(signal.SIGUSR1)
        # of the worker, of one in Python's code, and of one in foreign code
        for place in (r"loop\.py\", line \d+ in turn", r" in sleep\b", r" in spin\b"):
            until(lambda place=place: re.search(place, worker.said()), 2, what=f"{place} in the log")  # type: ignore[misc]
        assert worker.process.poll() is None
        assert len(worker.children()) == 2


def test_usr2_reopens_the_log(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        log = project.path / "own.log"
        worker = made.start("-c", "1", "-f", str(log), wait=False)
        until(lambda: log.exists() and " ready." in log.read_text(), 20)
        log.rename(project.path / "own.log.1")
        assert made.tasks.add.delay(1, 2).get(timeout=20) == 3
        assert not log.exists()
        worker.send(signal.SIGUSR2)
        until(log.exists)

        def logged() -> bool:
            made.tasks.add.delay(1, 2).get(timeout=20)
            return "succeeded" in log.read_text()

        until(logged, what="lines of the child in the new file")
        assert worker.stop() == 0
        assert "Warm shutdown" in log.read_text()
