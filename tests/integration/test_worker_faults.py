"""Kill any process of a loaded worker, cut its connections, stop it any way: every task that was sent has its outcome."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.project import Project
from support.servers import Redis
from support.wait import until
from support.workers import Bench, Worker, bench

from multi.connections.redis import Address
from multi.connections.redis import Redis as Connection

TASKS = 1500
FAULTS = 12

Fault = Callable[[Bench, list[Worker], int], None]


def kill_a_child(made: Bench, workers: list[Worker], index: int) -> None:
    if children := workers[index].children():
        os.kill(random.choice(children), signal.SIGKILL)


def kill_the_worker(made: Bench, workers: list[Worker], index: int) -> None:
    workers[index].kill()
    workers[index] = made.start("-l", "WARNING", name=f"w{index}", wait=False)
    until(lambda: workers[index].children(), 20)


def stop_warm(made: Bench, workers: list[Worker], index: int) -> None:
    assert workers[index].stop(signal.SIGTERM) == 0
    workers[index] = made.start("-l", "WARNING", name=f"w{index}", wait=False)
    until(lambda: workers[index].children(), 20)


def stop_cold(made: Bench, workers: list[Worker], index: int) -> None:
    assert workers[index].stop(signal.SIGQUIT) == 1
    workers[index] = made.start("-l", "WARNING", name=f"w{index}", wait=False)
    until(lambda: workers[index].children(), 20)


def cut_connections(made: Bench, workers: list[Worker], index: int) -> None:
    connection = Connection(Address.from_url(made.broker))
    connection.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    connection.close()


def count_outcomes(made: Bench, fault: Fault) -> None:
    """Two workers under load, one fault after the other, and then every single outcome."""
    workers = [made.start("-l", "WARNING", name=f"w{i}", wait=False) for i in range(2)]
    for worker in workers:
        until(worker.children, 20)
    results = []
    times = (0, 0, 0, 0.001, 0.003, 0.02)
    for part in range(10):
        calls: list[Any] = [(made.tasks.sleep, (random.choice(times), f"{part}-{i}"), {}) for i in range(TASKS // 10)]
        results += made.app.send_many(calls)
    for number in range(FAULTS):
        fault(made, workers, number % 2)
        # some work has to happen between two faults, or it would be one long fault
        done = len(made.notes())
        until(lambda done=done: len(made.notes()) > done or len(made.notes()) >= 2 * TASKS, 40)  # type: ignore[misc]
    deadline = time.monotonic() + 60
    for result in results:
        result.get(timeout=max(0.1, deadline - time.monotonic()))
    for worker in workers:
        worker.send(signal.SIGTERM)
    assert [worker.process.wait(20) for worker in workers] == [0, 0]
    ended = {note for note in made.notes() if note.startswith("end")}
    assert len(ended) == TASKS
    assert made.app.broker.depth("celery") == 0
    assert made.app.broker.dead("celery") == []


@pytest.mark.parametrize("fault", [kill_a_child, kill_the_worker, stop_warm, stop_cold, cut_connections])
def test_on_redis_nothing_is_lost(project: Project, redis_url: str, redis_server: Redis, fault: Fault) -> None:
    if fault is cut_connections:
        server = Redis()  # its own: others' connections are cut as well
        server.start()
        try:
            with bench(project, server.url(), server.url(), worker_lease=2.0, max_deliveries=50) as made:
                count_outcomes(made, fault)
        finally:
            server.stop()
    else:
        with bench(project, redis_url, redis_url, worker_lease=2.0, max_deliveries=50) as made:
            count_outcomes(made, fault)


@pytest.mark.parametrize("fault", [kill_a_child, kill_the_worker, stop_warm, stop_cold])
def test_on_sqlite_nothing_is_lost(project: Project, fault: Fault) -> None:
    url = f"sqlite:///{project.home / 'queue.db'}"
    with bench(project, url, url, worker_lease=2.0, max_deliveries=50) as made:
        count_outcomes(made, fault)


def test_a_redis_that_dies_and_returns_loses_nothing(project: Project, redis_server: Redis) -> None:
    server = Redis("--appendonly", "yes", "--appendfsync", "always")
    server.start()
    try:
        with bench(project, server.url(), server.url()) as made:
            worker = made.start()
            results = [made.tasks.sleep.delay(0.02, str(i)) for i in range(100)]
            until(lambda: len(made.notes()) > 20)
            server.kill()
            until(lambda: "trying again" in worker.said())
            server.start()
            assert [result.get(timeout=30) for result in results] == [str(i) for i in range(100)]
            assert "Connected to" in worker.said().split("trying again")[-1]
            assert worker.stop() == 0
    finally:
        server.stop()
