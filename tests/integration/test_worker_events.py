"""What a worker of ours tells of itself and of its tasks, as Celery's receiver hears it; over SQLite as ours does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.heard import Heard
from support.project import Project
from support.servers import Redis, started
from support.wait import until
from support.workers import bench

NAME = "w1@test"


def of_workers(heard: Heard) -> list[tuple[str, int]]:
    return [(event["type"], event["pid"]) for event in heard.events if event["type"].startswith("worker-")]


def test_the_life_of_a_worker_over_a_kill_and_a_reload(project: Project, redis_url: str) -> None:
    heard = Heard(redis_url)
    with heard.listening(), bench(project, redis_url, redis_url) as made:
        pidfile = project.path / "w1.pid"
        worker = made.start("-E", "--heartbeat-interval", "0.2", "--pidfile", str(pidfile))
        heard.wait_types("worker-heartbeat", 2)
        # it is told of a task while that runs, and what its process has told isn't lost with it
        killed = made.tasks.linger.delay("killed", 60).id
        heard.wait(lambda event: event.get("uuid") == killed and event["type"] == "task-started")
        made.wait_begun("killed")
        os.kill(int(made.notes()[0].split()[1]), signal.SIGKILL)
        heard.wait(lambda event: event.get("uuid") == killed and event["type"] == "task-succeeded")
        assert heard.types(killed) == ["received", "started", "rejected", "received", "started", "succeeded"]
        assert [event["requeue"] for event in heard.of(killed) if event["type"] == "task-rejected"] == [True]
        # more than can be sent is dropped, and told once
        assert made.tasks.flood.delay(4000).get(timeout=30) == 4000
        until(lambda: _flooded(made.app, 4000), 30, what="the figures of all events")
        until(lambda: "events were dropped" in worker.said(), 30, what="a line about dropped events")
        assert made.tasks.flood.delay(4000).get(timeout=30) == 4000
        assert worker.said().count("events were dropped") == 1
        # the successor is the same node: nobody hears that it was gone
        kept = made.tasks.hold.delay("kept").id
        made.wait_begun("kept")
        worker.send(signal.SIGHUP)
        until(lambda: pidfile.read_text().strip() not in ("", str(worker.pid)), 30, what="the successor")
        second = int(pidfile.read_text())
        heard.wait(lambda event: event["type"] == "worker-heartbeat" and event["pid"] == second)
        made.let_go("kept")
        assert worker.process.wait(30) == 0
        heard.wait(lambda event: event.get("uuid") == kept and event["type"] == "task-succeeded")
        assert heard.state.workers[NAME].alive
        # a cold end
        last = made.tasks.hold.delay("last").id
        made.wait_begun("last")
        os.kill(second, signal.SIGQUIT)
        heard.wait_types("worker-offline")
        until(lambda: not os.path.exists(f"/proc/{second}"), 30, what="the end of the second one")
        assert heard.types(last) == ["received", "started", "cancelled"]
        told = of_workers(heard)
        assert [each for each in told if each[0] != "worker-heartbeat"] == [
            ("worker-online", worker.pid),
            ("worker-online", second),
            ("worker-offline", second),
        ]
        assert told[-1] == ("worker-offline", second)
        assert {event["freq"] for event in heard.events if event["type"].startswith("worker-")} == {0.2}
        assert not heard.state.workers[NAME].alive


def _flooded(app: Any, count: int) -> bool:
    """Whether so many events were sent or dropped, by what the worker tells of itself."""
    (stats,) = app.control.inspect(timeout=30, limit=1).stats().values()
    return stats["events"]["enabled"] is True and stats["events"]["dropped"] + stats["events"]["messages"] >= count


def _is(task_id: str, type: str, event: dict[str, Any]) -> bool:
    return event.get("uuid") == task_id and event["type"] == type


@pytest.fixture
def server() -> Iterator[Redis]:
    """A Redis that the test may kill."""
    made = started(Redis)
    assert isinstance(made, Redis)
    yield made
    made.stop()


def test_heartbeats_and_events_go_on_after_the_broker_was_gone(project: Project, server: Redis) -> None:
    url = server.fresh()
    with bench(project, url, url) as made:
        worker = made.start("-E", "--heartbeat-interval", "0.1", "-c", "1")
        server.kill()
        until(lambda: "tried again" in worker.said() or "refused" in worker.said(), 30, what="the loss of the broker")
        server.start()
        heard = Heard(url)
        with heard.listening():
            heard.wait_types("worker-heartbeat", 2)
            task_id = made.tasks.add.delay(1, 2).id
            heard.wait(lambda event: event.get("uuid") == task_id and event["type"] == "task-succeeded")
            assert heard.types(task_id) == ["received", "started", "succeeded"]
            assert worker.stop() == 0
            heard.wait_types("worker-offline")
            assert not heard.messages[0][1].get("clock")


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_other_pools_tell_the_same_and_a_worker_may_be_silent_about_itself(
    project: Project, redis_url: str, pool: str
) -> None:
    heard = Heard(redis_url)
    with heard.listening(), bench(project, redis_url, redis_url) as made:
        worker = made.start("-P", pool, "--task-events", "--without-heartbeat", "--heartbeat-interval", "0.05")
        ids = [made.tasks.nap.delay(0.3, f"n{number}").id for number in range(2)]
        ids.append(made.tasks.fail.delay().id)
        for task_id, last in zip(ids, ("succeeded", "succeeded", "failed"), strict=True):
            heard.wait(partial(_is, task_id, f"task-{last}"))
            assert heard.types(task_id) == ["received", "started", last]
        assert heard.of(ids[0])[-1]["result"] == "'n0'"
        assert heard.of(ids[0])[-1]["runtime"] >= 0.3
        assert worker.stop() == 0
        assert of_workers(heard) == []


def test_over_rabbitmq_too(project: Project, rabbitmq_url: str) -> None:
    heard = Heard(rabbitmq_url)
    with heard.listening(), bench(project, rabbitmq_url, "rpc://", event_exchange="celeryev") as made:
        worker = made.start("-E", "-c", "1", "--heartbeat-interval", "0.3")
        heard.wait_types("worker-online")
        task_id = made.tasks.add.delay(1, 2).id
        heard.wait(lambda event: event.get("uuid") == task_id and event["type"] == "task-succeeded")
        made.app.send_event("shop-paid", order=7)
        (paid,) = heard.wait_types("shop-paid")
        assert paid["order"] == 7
        heard.wait_types("worker-heartbeat")
        assert worker.stop() == 0
        heard.wait_types("worker-offline")
        assert heard.types(task_id) == ["received", "started", "succeeded"]
        assert heard.state.tasks[task_id].state == "SUCCESS"
        assert {"task.multi", "worker.online", "worker.heartbeat", "worker.offline", "shop.paid"} == {
            key for key, _, _ in heard.messages
        }


def test_over_the_sqlite_file_too_with_an_exchange_of_its_own(project: Project, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    events: list[dict[str, Any]] = []
    settings = {"event_exchange": "told", "worker_send_task_events": True}
    with bench(project, url, url, **settings) as made:
        worker = made.start("-c", "1", "--heartbeat-interval", "0.1")
        receiver = made.app.events.Receiver(handlers={"*": events.append})
        thread = threading.Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=False), daemon=True)
        thread.start()
        until(lambda: events, 30, what="a heartbeat")
        task_id = made.tasks.add.delay(1, 2).id
        made.app.send_event("shop-open", since=8)
        until(lambda: any(event["type"] == "task-succeeded" for event in events), 30, what="the end of the task")
        assert worker.stop() == 0
        until(lambda: any(event["type"] == "worker-offline" for event in events), 30, what="the end of the worker")
        receiver.should_stop = True
        thread.join(30)
        told = [event["type"] for event in events if event.get("uuid") == task_id]
        assert told == ["task-received", "task-started", "task-succeeded"]
        assert {"worker-heartbeat", "worker-offline", "shop-open"} <= {event["type"] for event in events}
