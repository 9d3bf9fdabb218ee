"""A worker without work costs next to nothing, with a broker and without."""

from __future__ import annotations

import time
from pathlib import Path

from support.project import Project
from support.servers import Redis
from support.wait import until
from support.workers import Worker, bench

SECONDS = 3.0


def cost(worker: Worker) -> float:
    """The share of one processor that the worker and its children use over the next seconds."""
    before, began = worker.processor_time(), time.monotonic()
    until(lambda: time.monotonic() - began > SECONDS)
    return (worker.processor_time() - before) / (time.monotonic() - began)


def asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_an_idle_worker_uses_less_than_a_hundredth_of_a_processor(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "2")
        made.tasks.add.delay(1, 2).get(timeout=20)
        assert cost(worker) < 0.01


def test_a_worker_with_one_long_task_is_nearly_idle_too(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start("-c", "2")
        made.tasks.sleep.apply_async((20, "t"), time_limit=60)
        made.wait_begun("t")
        assert cost(worker) < 0.015


def test_a_worker_whose_broker_is_away_does_not_turn_in_circles(project: Project, redis_server: Redis) -> None:
    server = Redis()
    server.start()
    try:
        with bench(project, server.url(), server.url()) as made:
            worker = made.start("-c", "2")
            made.tasks.sleep.delay(0.2, "t")
            made.wait_begun("t")
            server.kill()
            until(lambda: "trying again" in worker.said())
            until(lambda: "end t" in made.notes())
            assert cost(worker) < 0.03
            assert all(asleep(pid) for pid in worker.children())
    finally:
        server.stop()
