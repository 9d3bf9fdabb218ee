"""Every way to stop a worker, and what becomes of its tasks."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.project import Project
from support.servers import Redis
from support.wait import until
from support.workers import Bench, bench


def grow_batches(made: Bench) -> None:
    for result in made.app.send_many([(made.tasks.add, (1, 1), {}) for _ in range(400)]):
        result.get(timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_warm_shutdown_finishes_what_runs_and_hands_back_the_rest_at_once(
    project: Project, broker: str, number: int
) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        grow_batches(made)
        long = made.tasks.hold.delay("long")
        made.wait_begun("long")
        rest = made.app.send_many([(made.tasks.sleep, (0, f"r{i}"), {}) for i in range(20)])
        worker.send(number)
        until(lambda: "Warm shutdown" in worker.said())
        until(lambda: made.depth() == 20, what="20 messages in the queue again")
        assert "end long" not in made.notes()
        made.let_go("long")
        assert worker.process.wait(20) == 0
        assert long.get(timeout=1) == "long"
        assert made.begun("long") == 1
        assert made.depth() == 20
        made.start("-c", "1")
        assert [result.get(timeout=10) for result in rest] == [f"r{i}" for i in range(20)]


def test_a_warm_shutdown_in_the_middle_of_a_batch_keeps_the_order(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1", quiet=True)
        grow_batches(made)
        results = made.app.send_many([(made.tasks.tick, (f"t{i}",), {}) for i in range(200)])
        made.wait_begun("t5")
        assert worker.stop() == 0
        begun = made.notes()
        assert begun == [f"begin t{i}" for i in range(len(begun))]
        assert made.depth() == 200 - len(begun)
        made.start("-c", "1", quiet=True)
        for result in results:
            result.get(timeout=10)
        assert made.notes() == [f"begin t{i}" for i in range(200)]


def test_after_the_drain_deadline_what_runs_is_handed_back(project: Project, broker: str) -> None:
    with bench(project, broker, broker, drain_timeout=0.4, max_deliveries=1) as made:
        worker = made.start("-c", "1")
        result = made.tasks.sleep.delay(1, "t")
        made.wait_begun("t")
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 2
        assert made.depth() == 1
        assert "drain deadline of 0.4 s has passed" in worker.said()
        # not counted: with one delivery allowed it would be dead otherwise
        made.start("-c", "1")
        made.wait_begun("t", 2)
        result.get(timeout=10)
        assert made.dead() == []


@pytest.mark.parametrize(
    "numbers", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM, signal.SIGQUIT]]
)
def test_a_cold_shutdown_hands_everything_back_uncounted(
    project: Project, broker: str, numbers: list[signal.Signals]
) -> None:
    with bench(project, broker, broker, max_deliveries=1) as made:
        worker = made.start("-c", "2")
        results = made.app.send_many([(made.tasks.sleep, (1 if i < 2 else 0, f"t{i}"), {}) for i in range(10)])
        made.wait_begun("t0")
        made.wait_begun("t1")
        began = time.monotonic()
        for number in numbers[:-1]:
            worker.send(number)
            until(lambda: "Warm shutdown" in worker.said())
        assert worker.stop(numbers[-1]) == 1
        assert time.monotonic() - began < 0.9
        assert made.depth() == 10
        assert "end t0" not in made.notes()
        made.start("-c", "2")
        assert [result.get(timeout=10) for result in results] == [f"t{i}" for i in range(10)]
        assert made.dead() == []


def test_a_soft_shutdown_gives_running_tasks_their_time_before_the_cold_one(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url, worker_soft_shutdown_timeout=1.0) as made:
        worker = made.start("-c", "2")
        short, long = made.tasks.sleep.delay(0.5, "short"), made.tasks.sleep.delay(20, "long")
        made.wait_begun("short")
        made.wait_begun("long")
        assert worker.stop(signal.SIGQUIT) == 1
        assert "Soft shutdown: running tasks have 1 s" in worker.said()
        assert short.get(timeout=5) == "short"
        assert (long.state, made.depth()) == ("PENDING", 1)


def test_signals_to_the_whole_group_do_not_hurt_running_tasks(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "1")
        result = made.tasks.sleep.delay(0.8, "t")
        made.wait_begun("t")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.killpg(worker.pid, number)
        assert worker.process.wait(10) == 0
        assert result.get(timeout=1) == "t"
        assert made.begun("t") == 1


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_pools_with_many_tasks_at_once_stop_warm_and_cold(project: Project, broker: str, pool: str) -> None:
    with bench(project, broker, broker, max_deliveries=1) as made:
        worker = made.start("-P", pool, "-c", "4")
        task = made.tasks.nap if pool == "asyncio" else made.tasks.sleep
        results = made.app.send_many([(task, (0.7 if i < 4 else 0, f"t{i}"), {}) for i in range(10)])
        for i in range(4):
            made.wait_begun(f"t{i}")
        assert worker.stop() == 0
        assert [result.get(timeout=1) for result in results[:4]] == [f"t{i}" for i in range(4)]
        assert made.depth() == 6
        results += made.app.send_many([(task, (1, f"u{i}"), {}) for i in range(4)])
        worker = made.start("-P", pool, "-c", "4")
        made.wait_begun("u0")
        assert worker.stop(signal.SIGQUIT) == 1
        made.start("-P", pool, "-c", "4")
        assert [result.get(timeout=20) for result in results[4:]] == [f"t{i}" for i in range(4, 10)] + [
            f"u{i}" for i in range(4)
        ]
        assert made.dead() == []


@pytest.mark.parametrize(
    ("trouble", "number"), [("gone", signal.SIGTERM), ("gone", signal.SIGQUIT), ("frozen", signal.SIGQUIT)]
)
def test_a_stop_while_the_broker_is_away_ends_in_bounded_time(
    project: Project, redis_server: Redis, trouble: str, number: int
) -> None:
    server = Redis()
    server.start()
    try:
        with bench(project, server.url(), server.url()) as made:
            worker = made.start("-c", "2")
            made.tasks.sleep.delay(0.3, "t")
            made.wait_begun("t")
            if trouble == "gone":
                server.kill()
                until(lambda: "trying again" in worker.said())
            else:
                server.freeze()
            until(lambda: "end t" in made.notes())
            assert worker.stop(number, timeout=15) == (0 if number == signal.SIGTERM else 1)
            if trouble == "frozen":
                server.thaw()
    finally:
        server.stop()


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_children_die_with_their_worker(project: Project, redis_url: str, pool: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-P", pool, "-c", "2")
        made.tasks.spin.delay(20, "t")
        made.wait_begun("t")
        children = worker.children()
        worker.kill()
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), 2, what="the children's end")
