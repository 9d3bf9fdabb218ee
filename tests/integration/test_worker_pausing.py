"""A worker that is told to take nothing from its queues, or from some of them, and to go on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project
from support.wait import until
from support.workers import Bench, bench


@pytest.fixture(params=["redis", "sqlite", "amqp"])
def made(request: pytest.FixtureRequest, project: Project, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "amqp":
        urls = (request.getfixturevalue("rabbitmq_url"), "rpc://")
    else:
        url = request.getfixturevalue("redis_url") if request.param == "redis" else f"sqlite:///{tmp_path}/queue.db"
        urls = (url, url)
    with bench(project, *urls) as found:
        yield found


def test_a_paused_queue_waits_while_the_others_go_on_and_comes_when_it_is_resumed(made: Bench) -> None:
    worker = made.start("-Q", "images,mails", run_dir=True)
    assert worker.stats().queues == ["images", "mails"]
    worker.order("pause", "images")
    worker.wait_consuming("mails")
    until(lambda: "Paused: images; tasks are taken from: mails" in worker.said())
    waiting = [made.tasks.add.apply_async((i, 1), queue="images") for i in range(20)]
    assert [made.tasks.add.apply_async((i, 1), queue="mails").get(timeout=10) for i in range(5)] == [1, 2, 3, 4, 5]
    # a child that was just about to take one hands it back
    until(lambda: made.app.broker.depth("images") == 20, what="all wait")
    worker.order("resume", "images")
    worker.wait_consuming("images", "mails")
    assert [each.get(timeout=10) for each in waiting] == list(range(1, 21))


def test_a_worker_that_is_paused_altogether_keeps_its_children_and_its_task_and_costs_nothing(made: Bench) -> None:
    worker = made.start("-Q", "images,mails", run_dir=True)
    running = made.tasks.hold.apply_async(("long",), queue="images")
    made.wait_begun("long")
    children = worker.children()
    worker.order("pause")
    worker.wait_consuming()
    waiting = [made.tasks.add.apply_async((i, 1), queue=queue) for i, queue in enumerate(["images", "mails"])]
    before, began = worker.processor_time(), time.monotonic()
    until(lambda: time.monotonic() - began > 2.0)
    assert (worker.processor_time() - before) / (time.monotonic() - began) < 0.02
    assert not running.ready()
    made.let_go("long")
    assert running.get(timeout=15) == "long"
    assert worker.children() == children
    assert [made.app.broker.depth(queue) for queue in ("images", "mails")] == [1, 1]
    worker.order("resume", "mails")
    worker.wait_consuming("mails")
    assert waiting[1].get(timeout=10) == 2
    worker.order("resume")
    worker.wait_consuming("images", "mails")
    assert waiting[0].get(timeout=10) == 1
    assert made.begun("long") == 1


def test_what_was_fetched_and_not_begun_goes_back_when_its_queue_is_paused(made: Bench) -> None:
    worker = made.start("-Q", "images,mails", "-c", "1", run_dir=True)
    quick = [made.tasks.tick.apply_async((str(i),), queue="images") for i in range(400)]
    until(lambda: sum(made.begun(str(i)) for i in range(5)) == 5)
    worker.order("pause", "images")
    worker.wait_consuming("mails")

    def standing_still() -> bool:
        before = len(made.notes())
        assert made.tasks.add.apply_async((1, 1), queue="mails").get(timeout=10) == 2
        return len(made.notes()) == before

    until(standing_still)
    ran = len(made.notes())
    assert ran < 400
    # all others are in the queue, for whoever else consumes from it
    until(lambda: made.app.broker.depth("images") == 400 - ran)
    worker.order("resume", "images")
    for each in quick:
        each.get(timeout=20)
    assert all(made.begun(str(i)) == 1 for i in range(400))


def test_a_paused_worker_stops_warm_and_one_that_begins_paused_is_ready_all_the_same(made: Bench) -> None:
    worker = made.start("-Q", "images,mails", run_dir=True, variables={"MULTI_PAUSED": "images"})
    waiting = made.tasks.add.apply_async((1, 1), queue="images")
    assert worker.stats().queues == ["mails"]
    assert made.tasks.add.apply_async((1, 2), queue="mails").get(timeout=10) == 3
    assert made.app.broker.depth("images") == 1
    assert worker.stop() == 0
    worker = made.start("-Q", "images,mails", name="w2", run_dir=True, variables={"MULTI_PAUSED": "*"})
    assert worker.stats().queues == []
    assert worker.stats().state == "ready"
    worker.order("resume", "images")
    assert waiting.get(timeout=10) == 2
    assert worker.stats().queues == ["images"]
    worker.order("pause")
    worker.wait_consuming()
    assert worker.stop() == 0
    assert worker.run_dir is not None
    assert not (worker.run_dir / "control.1").exists()


@pytest.mark.parametrize("pool", ["threads", "asyncio", "solo"])
def test_every_pool_can_be_paused(made: Bench, pool: str) -> None:
    worker = made.start("-Q", "images,mails", "-P", pool, run_dir=True)
    assert made.tasks.add.apply_async((1, 2), queue="mails").get(timeout=10) == 3
    worker.order("pause", "mails")
    worker.wait_consuming("images")
    waiting = made.tasks.add.apply_async((1, 1), queue="mails")
    assert made.tasks.add.apply_async((1, 3), queue="images").get(timeout=10) == 4
    assert made.app.broker.depth("mails") == 1
    worker.order("resume")
    assert waiting.get(timeout=10) == 2


def test_orders_that_are_none_and_unknown_ones_are_told_and_harm_nothing(project: Project, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    with bench(project, url, url) as made:
        worker = made.start("-Q", "images", run_dir=True)
        worker.order("pause", hello="NONSENSE")
        worker.order("dance")
        worker.order("pause", "other, ,")
        worker.order("resume", "")
        until(lambda: "no order" in worker.said() and "'dance'" in worker.said())
        assert made.tasks.add.apply_async((1, 2), queue="images").get(timeout=10) == 3
        assert worker.stats().queues == ["images"]
        inodes = {link for pid in worker.children() for link in _sockets(pid)}
        (own,) = _bound_to(f"{worker.run_dir}/control.1")
        assert own in _sockets(worker.pid)
        assert own not in inodes


def _sockets(pid: int) -> set[str]:
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = os.readlink(fd)
        except OSError:
            continue
        if link.startswith("socket:["):
            found.add(link[8:-1])
    return found


def _bound_to(path: str) -> list[str]:
    return [line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(f" {path}")]
