"""Time limits: soft ones interrupt, hard ones end the child; both are answers, never redeliveries."""

from __future__ import annotations

import time

import pytest
from support.project import Project
from support.wait import until
from support.workers import bench

from multi.errors import SoftTimeLimitExceeded, TimeLimitExceeded


@pytest.mark.parametrize("task", ["limited", "limited_once"])
def test_a_hard_limit_is_a_failure_and_costs_one_child(project: Project, broker: str, task: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        before = worker.children()
        result = getattr(made.tasks, task).delay()
        began = time.monotonic()
        with pytest.raises(TimeLimitExceeded, match=r"0\.3"):
            result.get(timeout=10)
        assert time.monotonic() - began < 10
        assert made.tasks.pid.delay().get(timeout=10) not in before
        assert made.depth() == 0
        assert made.dead() == []
        assert worker.said().count("Hard time limit (0.3s) exceeded") == 1
        assert worker.stop() == 0


def test_a_hard_limit_ends_foreign_code_too(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-c", "1")
        result = made.tasks.spin.apply_async((20, "t"), time_limit=0.4)
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=20)
        assert made.tasks.add.delay(1, 2).get(timeout=10) == 3
        assert made.begun("t") == 1


def test_a_soft_limit_is_raised_in_the_task_which_may_tidy_up(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        before = worker.children()
        assert made.tasks.softly.delay().get(timeout=10) == "SoftTimeLimitExceeded"
        assert made.tasks.pid.delay().get(timeout=10) in before


def test_a_soft_limit_that_is_not_caught_is_the_tasks_failure(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        before = worker.children()
        result = made.tasks.sleep.apply_async((20, "t"), soft_time_limit=0.2)
        with pytest.raises(SoftTimeLimitExceeded):
            result.get(timeout=10)
        assert made.tasks.pid.delay().get(timeout=10) in before
        assert "end t" not in made.notes()


def test_limits_of_the_command_line_hold_for_tasks_without_their_own(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        made.start("-c", "2", "--time-limit", "1.0", "--soft-time-limit", "0.4")
        soft = made.tasks.sleep.delay(20, "soft")
        hard = made.tasks.spin.delay(20, "hard")
        with pytest.raises(SoftTimeLimitExceeded):
            soft.get(timeout=20)
        with pytest.raises(TimeLimitExceeded):
            hard.get(timeout=20)
        # a message's own limits come first
        assert made.tasks.sleep.apply_async((1.2, "own"), time_limit=20, soft_time_limit=19).get(timeout=20) == "own"


def test_a_soft_limit_of_one_task_does_not_strike_the_next_one(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        made.start("-c", "1")
        calls = [made.tasks.sleep.apply_async((0.199 + i / 2000, str(i)), soft_time_limit=0.2) for i in range(6)]
        others = [made.tasks.add.delay(i, i) for i in range(6)]
        for i, call in enumerate(calls):
            try:
                assert call.get(timeout=10) == str(i)
            except SoftTimeLimitExceeded:
                pass
        assert [other.get(timeout=10) for other in others] == [0, 2, 4, 6, 8, 10]


def test_limits_cancel_coroutines_in_the_asyncio_pool_and_spare_the_others(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-P", "asyncio", "-c", "10")
        before = worker.children()
        lasting = made.tasks.nap.delay(1.5, "lasting")
        limited = made.tasks.nap_limited.delay()
        softly = made.tasks.nap_softly.delay()
        asked = made.tasks.nap.apply_async((20, "asked"), time_limit=0.2)
        with pytest.raises(TimeLimitExceeded):
            limited.get(timeout=20)
        with pytest.raises(TimeLimitExceeded):
            asked.get(timeout=20)
        assert softly.get(timeout=20) == "SoftTimeLimitExceeded"
        assert not lasting.ready()
        assert lasting.get(timeout=20) == "lasting"
        assert worker.children() == before


def test_limits_of_the_command_line_hold_in_the_asyncio_pool(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        made.start("-P", "asyncio", "-c", "10", "--time-limit", "0.3")
        with pytest.raises(TimeLimitExceeded):
            made.tasks.nap.delay(20).get(timeout=20)


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_limit_that_cannot_be_enforced_is_told_once(project: Project, redis_url: str, pool: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-P", pool, "-c", "4")
        for _ in range(3):
            assert made.tasks.roomy.delay().get(timeout=10) == "done"
        until(lambda: "limit of" in worker.said(), 2, what="a line about the limit")
        assert worker.said().count(f"{made.module}.roomy") >= 3
        assert worker.said().count("is not enforced") == 1


def test_threads_refuse_limits(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        done = project.multi("worker", "-A", made.module, "-P", "threads", "--time-limit", "5", code=2)
        assert "no thread can be ended by force" in done.stderr
        assert "use -P prefork" in done.stderr
