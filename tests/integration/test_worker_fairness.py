"""Nothing waits behind a long task: neither messages nor outcomes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from support.project import Project
from support.wait import until
from support.workers import Bench, bench


def warm_up(made: Bench) -> None:
    """Let the children's batches grow."""
    for result in made.app.send_many([(made.tasks.add, (1, 1), {}) for _ in range(400)]):
        assert result.get(timeout=20) == 2


@pytest.mark.parametrize("long", ["hold", "spin"])
def test_short_tasks_all_finish_while_a_long_one_runs(project: Project, broker: str, long: str) -> None:
    with bench(project, broker, broker) as made:
        made.start(quiet=True)
        warm_up(made)
        calls: list[Any] = [(made.tasks.add, (i, i), {}) for i in range(200)]
        calls.insert(30, (made.tasks.hold, ("long",), {}) if long == "hold" else (made.tasks.spin, (5, "long"), {}))
        results = made.app.send_many(calls)
        lasting = results.pop(30)
        made.wait_begun("long")
        assert [result.get(timeout=20) for result in results] == [2 * i for i in range(200)]
        assert not lasting.ready()
        assert "end long" not in made.notes()
        made.let_go("long")


@pytest.mark.parametrize("long", ["hold", "spin"])
def test_what_finished_before_a_long_task_is_readable_while_that_runs(project: Project, broker: str, long: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-c", "1", quiet=True)
        warm_up(made)
        # one child takes them as one batch
        results = made.app.send_many(
            [(made.tasks.add, (i, 1), {}) for i in range(5)]
            + [(made.tasks.hold, ("long",), {}) if long == "hold" else (made.tasks.spin, (2, "long"), {})]
        )
        made.wait_begun("long")
        assert [result.get(timeout=20) for result in results[:5]] == [1, 2, 3, 4, 5]
        assert "end long" not in made.notes()
        made.let_go("long")


def test_messages_behind_a_long_task_are_run_by_another_worker(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        first = made.start("-c", "1", quiet=True)
        warm_up(made)
        calls: list[Any] = [(made.tasks.add, (0, 0), {}), (made.tasks.hold, ("long",), {})]
        results = made.app.send_many(calls + [(made.tasks.pid, (), {})] * 20)
        made.wait_begun("long")
        # they are back in the queue before anybody else is there to take them
        until(lambda: made.depth() == 20, what="20 messages in the queue again")
        second = made.start("-c", "1", name="w2")
        pids = {result.get(timeout=20) for result in results[2:]}
        assert pids == set(second.children())
        assert not pids & set(first.children())
        assert "end long" not in made.notes()
        made.let_go("long")
        assert made.dead() == []


def test_outcomes_arrive_within_moments_of_their_tasks_end(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-c", "1", quiet=True)
        warm_up(made)
        slowest = []
        for _ in range(5):
            # each of them alone is too long for a batch to be worth it, all of them keep the child busy for long
            results = [made.tasks.stamp.delay(0.03) for _ in range(5)]
            slowest.append(max(until(lambda r=r: r.result and time.time() - r.result, 5) for r in results[:1]))  # type: ignore[misc]
            for result in results:
                result.get(timeout=20)
        # the figure is 10 ms; a busy machine may be late now and then
        assert sorted(slowest)[2] < 0.03, slowest
