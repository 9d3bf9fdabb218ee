"""The real Flower before a mixed fleet: it shows the workers of either engine alike, and its buttons work on both."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.flower import Flower
from support.mixed import ENGINES, Fleet, ask
from support.servers import Redis, free_port
from support.wait import until

QUEUES = {"celery": "theirs", "multi": "ours"}
HOST = socket.gethostname()
TIMEOUT = 30


class Watched:
    """A worker of each engine, and Flower looking at them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        for engine, queue in QUEUES.items():
            fleet.worker(engine, engine, queue, "-c", "2", "-E", worker_pool_restarts=True)
        for worker in fleet.workers:
            worker.wait_ready()
        self.flower = Flower(fleet)

    def name(self, engine: str) -> str:
        return f"{engine}@{HOST}"

    def worker(self, engine: str) -> dict[str, Any]:
        """All that Flower knows of a worker, asked for now."""
        found = self.flower.get("/api/workers", refresh=1, workername=self.name(engine))
        return dict(found[self.name(engine)])

    def tasks(self, **query: Any) -> dict[str, Any]:
        return dict(self.flower.get("/api/tasks", **query))


@pytest.fixture(scope="module")
def watched(redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    fleet = Fleet(tmp_path_factory.mktemp("flower"), redis_server.fresh())
    made: Watched | None = None
    try:
        made = Watched(fleet)
        until(lambda: set(made.flower.get("/api/workers", refresh=1)) >= {made.name(each) for each in ENGINES}, TIMEOUT)
        yield made
    finally:
        if made is not None:
            made.flower.stop()
        fleet.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_is_online_with_its_pool_queues_tasks_and_configuration(watched: Watched, engine: str) -> None:
    name = watched.name(engine)
    until(lambda: watched.flower.get("/api/workers", status=1).get(name), TIMEOUT, what="the worker to be online")
    found = watched.worker(engine)
    assert found.keys() >= {
        "stats",
        "active_queues",
        "registered",
        "scheduled",
        "active",
        "reserved",
        "revoked",
        "conf",
    }
    assert [queue["name"] for queue in found["active_queues"]] == [QUEUES[engine]]
    assert any(task.startswith("fleet.add") for task in found["registered"])
    assert found["stats"]["pool"]["max-concurrency"] == 2
    assert len(found["stats"]["pool"]["processes"]) == 2
    assert found["stats"]["broker"]["transport"] == "redis"
    assert found["conf"]["worker_pool_restarts"] is True
    page = watched.flower.page(f"/worker/{name}")
    for told in (
        name,
        QUEUES[engine],
        "fleet.add",
        "worker_pool_restarts",
        "max-concurrency".replace("-", " ").title(),
    ):
        assert told.lower() in page.lower(), told
    [row] = [row for row in watched.flower.get("/workers", json=1)["data"] if row["hostname"] == name]
    assert row["status"] is True
    assert row["sw_ver" if "sw_ver" in row else "loadavg"]


@pytest.mark.parametrize("engine", ENGINES)
def test_tasks_are_shown_with_how_they_went(watched: Watched, engine: str) -> None:
    client = watched.fleet.clients["multi"]
    good = ask(client, "add", (2, 40), {}, queue=QUEUES[engine])
    bad = ask(client, "add", (2, "x"), {}, queue=QUEUES[engine])
    good.get(timeout=TIMEOUT), bad.get(timeout=TIMEOUT, propagate=False)

    def seen(id: str, state: str) -> dict[str, Any] | None:
        task = watched.tasks(workername=watched.name(engine)).get(id)
        return task if task and task["state"] == state else None

    shown = until(lambda: seen(good.id, "SUCCESS"), TIMEOUT)
    assert (shown["name"], shown["args"], shown["result"]) == ("fleet.add", "[2, 40]", "42")
    assert shown["received"] and shown["started"] and shown["runtime"] is not None
    shown = until(lambda: seen(bad.id, "FAILURE"), TIMEOUT)
    assert shown["exception"].startswith("TypeError(")
    page = watched.flower.page(f"/task/{bad.id}")
    assert "Traceback" in page and watched.name(engine) in page
    assert watched.flower.get(f"/api/task/result/{good.id}")["result"] == 42


@pytest.mark.parametrize("engine", ENGINES)
def test_the_buttons_of_a_worker_work(watched: Watched, engine: str) -> None:
    name, flower = watched.name(engine), watched.flower

    def pool() -> int:
        return len(_processes(watched, engine))

    def queues() -> list[str]:
        return [queue["name"] for queue in watched.worker(engine)["active_queues"]]

    assert flower.post(f"/api/worker/pool/grow/{name}", n=2)[0] == 200
    until(lambda: pool() == 4, TIMEOUT)
    assert flower.post(f"/api/worker/pool/shrink/{name}", n=2)[0] == 200
    until(lambda: pool() == 2, TIMEOUT)
    status, text = flower.post(f"/api/worker/queue/add-consumer/{name}", queue=f"more-{engine}")
    assert status == 200, text
    until(lambda: queues() == [QUEUES[engine], f"more-{engine}"], TIMEOUT)
    result = ask(watched.fleet.clients["celery"], "add", (1, 2), {}, queue=f"more-{engine}")
    assert result.get(timeout=TIMEOUT) == 3
    status, text = flower.post(f"/api/worker/queue/cancel-consumer/{name}", queue=f"more-{engine}")
    assert status == 200, text
    until(lambda: queues() == [QUEUES[engine]], TIMEOUT)
    status, text = flower.post("/api/task/rate-limit/fleet.add", workername=name, ratelimit="1000/s")
    assert status == 200, text
    status, text = flower.post("/api/task/timeout/fleet.add", workername=name, hard=300, soft=200)
    assert status == 200, text
    until(lambda: any("rate_limit=1000/s" in task for task in watched.worker(engine)["registered"]), TIMEOUT)


def test_the_pool_of_a_worker_is_restarted(watched: Watched) -> None:
    """Celery's worker doesn't outlive it: its children are replaced and take no more tasks."""
    before = set(_processes(watched, "multi"))
    assert watched.flower.post(f"/api/worker/pool/restart/{watched.name('multi')}")[0] == 200
    until(lambda: before.isdisjoint(found := _processes(watched, "multi")) and len(found) == 2, TIMEOUT)
    assert ask(watched.fleet.clients["celery"], "add", (1, 2), {}, queue="ours").get(timeout=TIMEOUT) == 3


def _processes(watched: Watched, engine: str) -> list[int]:
    return list(watched.worker(engine)["stats"]["pool"]["processes"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_task_is_sent_revoked_and_terminated(watched: Watched, engine: str) -> None:
    flower = watched.flower
    status, text = flower.post("/api/task/send-task/fleet.add", {"args": [20, 22], "queue": QUEUES[engine]})
    assert status == 200, text
    mark = uuid.uuid4().hex
    client = watched.fleet.clients["multi"]
    slow = ask(client, "slow", (), {"name": mark, "seconds": 60}, queue=QUEUES[engine])
    watched.fleet.wait_notes(mark, 1, timeout=TIMEOUT)
    until(lambda: watched.tasks().get(slow.id, {}).get("state") == "STARTED", TIMEOUT)
    assert [task["id"] for task in watched.worker(engine)["active"]] == [slow.id]
    assert flower.post(f"/api/task/revoke/{slow.id}?terminate=true")[0] == 200
    slow.get(timeout=TIMEOUT, propagate=False)
    assert slow.state == "REVOKED"
    until(lambda: watched.tasks().get(slow.id, {}).get("state") == "REVOKED", TIMEOUT)


def test_its_metrics_count_the_tasks_of_both(watched: Watched) -> None:
    client = watched.fleet.clients["celery"]
    for queue in QUEUES.values():
        ask(client, "add", (1, 2), {}, queue=queue).get(timeout=TIMEOUT)
    wanted = [
        told
        for name in map(watched.name, ENGINES)
        for told in (
            f'flower_worker_online{{worker="{name}"}} 1.0',
            f'flower_events_total{{task="fleet.add",type="task-succeeded",worker="{name}"}}',
            f'flower_task_runtime_seconds_count{{task="fleet.add",worker="{name}"}}',
        )
    ]
    until(lambda: all(told in flower_metrics(watched) for told in wanted), TIMEOUT, what=str(wanted))


def flower_metrics(watched: Watched) -> str:
    return watched.flower.page("/metrics")


def test_multi_metrics_has_what_flower_has(watched: Watched) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "multi", "metrics", "-b", watched.fleet.broker, "--listen", str(port)],
        env=watched.fleet.environment("multi", {}),
        stderr=subprocess.DEVNULL,
    )
    client = watched.fleet.clients["multi"]
    try:

        def text() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT) as answer:
                    return str(answer.read().decode())
            except OSError:
                return ""

        until(
            lambda: all(f'flower_worker_online{{worker="{watched.name(each)}"}} 1.0' in text() for each in ENGINES), 30
        )
        for queue in QUEUES.values():
            ask(client, "add", (1, 2), {}, queue=queue).get(timeout=TIMEOUT)
        wanted = series(flower_metrics(watched))
        until(lambda: series(text()) >= wanted, TIMEOUT, what=f"{wanted}")
        assert 'multi_queue_messages{queue="celery",state="waiting"} 0.0' in text()
    finally:
        process.terminate()
        assert process.wait(TIMEOUT) == 0


def series(text: str) -> set[str]:
    """The names of Flower's series about the workers, with labels; of tasks those that both have heard of."""
    found = {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("flower_")}
    of_others = ("_created", '"task-failed"')
    return {
        each
        for each in found
        if not any(part in each for part in of_others) and ('task="fleet.add"' in each or "task=" not in each)
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_that_is_shut_down_is_offline(watched: Watched, engine: str) -> None:
    """The last test: it ends the workers."""
    name = watched.name(engine)
    worker = watched.fleet.workers[ENGINES.index(engine)]
    assert watched.flower.post(f"/api/worker/shutdown/{name}")[0] == 200
    assert worker.process.wait(40) == 0
    until(lambda: watched.flower.get("/api/workers", status=1)[name] is False, TIMEOUT, what="Flower to see it gone")
