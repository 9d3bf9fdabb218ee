"""Leases: what a living worker runs is run by nobody else, and what a dead or frozen one held is."""

from __future__ import annotations

import time

from support.project import Project
from support.wait import until
from support.workers import bench


def test_a_task_longer_than_three_leases_is_run_once(project: Project, broker: str) -> None:
    with bench(project, broker, broker, worker_lease=1.0) as made:
        made.start("-c", "1")
        made.start("-c", "1", name="w2")
        results = [made.tasks.sleep.delay(3.5, "a"), made.tasks.spin.delay(3.5, "b")]
        assert [result.get(timeout=15) for result in results] == ["a", "b"]
        assert sorted(made.notes()) == ["begin a", "begin b", "end a", "end b"]
        until(lambda: made.depth() == 0)


def test_what_a_frozen_worker_held_is_run_elsewhere_and_its_late_outcome_counts_nothing(
    project: Project, broker: str
) -> None:
    with bench(project, broker, broker, worker_lease=1.0) as made:
        first = made.start("-c", "1")
        result = made.tasks.sleep_pid.delay(1.5, "t")
        made.wait_begun("t")
        first.freeze()
        second = made.start("-c", "1", name="w2")
        made.wait_begun("t", 2)
        assert made.begun("t") == 2
        first.thaw()
        # the first run ends while the second is still going on, with an outcome that nobody must see
        until(lambda: made.notes().count("end t") >= 1)
        assert result.get(timeout=10) == second.children()[0]
        assert made.notes().count("end t") == 2
        assert first.stop() == 0
        assert result.result == second.children()[0]
        assert made.begun("t") == 2
        assert made.depth() == 0
        assert made.dead() == []


def test_a_thawed_worker_does_not_start_what_others_have_run_meanwhile(project: Project, redis_url: str) -> None:
    # not on SQLite: what is frozen in the middle of a transaction keeps the file locked
    with bench(project, redis_url, redis_url, worker_lease=1.0) as made:
        first = made.start("-c", "1")
        for warm in made.app.send_many([(made.tasks.add, (1, 1), {}) for _ in range(300)]):
            warm.get(timeout=20)
        results = made.app.send_many([(made.tasks.tick, (f"t{i}",), {}) for i in range(60)])
        made.wait_begun("t3")
        first.freeze()
        second = made.start("-c", "1", name="w2")
        for result in results:
            result.get(timeout=10)
        first.thaw()
        assert first.stop() == 0
        # only what was running, or had ended a moment before, may have begun twice
        runs = [made.begun(f"t{i}") for i in range(60)]
        assert min(runs) == 1
        assert runs[20:] == [1] * 40, runs
        assert second.stop() == 0


def test_the_tasks_of_a_killed_node_return_within_a_lease(project: Project, broker: str) -> None:
    with bench(project, broker, broker, worker_lease=1.5) as made:
        first = made.start("-c", "2")
        results = [made.tasks.linger.delay(f"t{i}") for i in range(2)]
        for i in range(2):
            made.wait_begun(f"t{i}")
        second = made.start("-c", "2", name="w2")
        # the one that will take them back has to be there for a whole lease itself
        until(lambda: time.monotonic() - second.since > 1.6)
        first.kill_node()
        killed = time.monotonic()
        for i in range(2):
            made.wait_begun(f"t{i}", 2, timeout=5)
        assert time.monotonic() - killed < 1.5 + 1
        assert [result.get(timeout=10) for result in results] == [True, True]


def test_a_message_that_takes_whole_nodes_along_is_set_aside(project: Project, broker: str) -> None:
    with bench(project, broker, broker, worker_lease=0.6, max_deliveries=2) as made:
        result = None
        for number in (1, 2):
            worker = made.start("-c", "1", name=f"w{number}")
            result = result or made.tasks.sleep.delay(30, "t")
            made.wait_begun("t", number)
            worker.kill_node()
        made.start("-c", "1", name="w3")
        letter = until(made.dead)[0]
        assert result is not None
        assert (letter.task_id, letter.starts) == (result.id, 2)
        assert made.begun("t") == 2
        assert result.state == "FAILURE"
