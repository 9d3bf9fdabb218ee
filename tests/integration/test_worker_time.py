"""Tasks with a time: parked in the broker until they are due, run on time, dropped when they have expired."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from support.project import Project
from support.wait import until
from support.workers import bench

from multi.errors import TaskRevokedError


@pytest.mark.parametrize("seconds", [0.3, 1.3])
def test_a_countdown_is_waited_for_in_the_broker(project: Project, broker: str, seconds: float) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        sent = time.time()
        results = [made.tasks.stamp.apply_async((0,), countdown=seconds) for _ in range(5)]
        until(lambda: worker.said().count("parked in the broker") == 5)
        assert made.depth() == 0
        late = [result.get(timeout=10) - sent - seconds for result in results]
        assert min(late) >= 0
        assert max(late) < 0.5, late


def test_parking_counts_as_no_start(project: Project, broker: str) -> None:
    with bench(project, broker, broker, max_deliveries=1) as made:
        made.start("-c", "1")
        result = made.tasks.redelivered.apply_async((), countdown=0.3)
        assert result.get(timeout=10) is False
        assert made.dead() == []


def test_an_eta_runs_on_time_whatever_its_zone(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-c", "1")
        due = datetime.now(UTC) + timedelta(seconds=0.8)
        result = made.tasks.stamp.apply_async((0,), eta=due)
        assert 0 <= result.get(timeout=10) - due.timestamp() < 0.5
        past = made.tasks.add.apply_async((1, 2), eta=datetime.now(UTC) - timedelta(hours=1))
        assert past.get(timeout=20) == 3


def test_parked_tasks_survive_a_restart_and_a_killed_node(project: Project, broker: str) -> None:
    with bench(project, broker, broker, worker_lease=1.0) as made:
        worker = made.start("-c", "1")
        sent = time.time()
        result = made.tasks.stamp.apply_async((0,), countdown=2)
        until(lambda: "parked in the broker" in worker.said())
        assert worker.stop() == 0
        worker = made.start("-c", "1")
        until(lambda: made.depth() == 0)
        worker.kill_node()
        made.start("-c", "1")
        assert 0 <= result.get(timeout=10) - sent - 2 < 0.5


def test_the_last_worker_to_stop_puts_back_what_is_parked(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        first = made.start("-c", "1")
        second = made.start("-c", "1", name="w2")
        result = made.tasks.stamp.apply_async((0,), countdown=30)
        until(lambda: "parked" in first.said() + second.said())
        assert first.stop() == 0
        assert made.depth() == 0
        assert second.stop() == 0
        # where a Celery worker would find it, too
        assert made.depth() == 1
        third = made.start("-c", "1")
        until(lambda: "parked in the broker" in third.said())
        assert made.depth() == 0
        assert not result.ready()


def test_a_task_that_has_expired_is_not_run(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        result = made.tasks.sleep.apply_async((0, "t"), expires=datetime.now(UTC) - timedelta(seconds=1))
        with pytest.raises(TaskRevokedError):
            result.get(timeout=10)
        in_time = made.tasks.sleep.apply_async((0, "u"), expires=60)
        assert in_time.get(timeout=10) == "u"
        # expires while it is parked
        parked = made.tasks.sleep.apply_async((0, "v"), countdown=0.6, expires=0.3)
        with pytest.raises(TaskRevokedError):
            parked.get(timeout=10)
        assert made.begun("t") == made.begun("v") == 0
        assert "Discarding revoked task" in worker.said()
