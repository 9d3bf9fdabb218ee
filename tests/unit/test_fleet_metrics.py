"""Metrics of a fleet, from events as its workers send them."""

from __future__ import annotations

from typing import Any

import pytest

from multi.monitor import metrics
from multi.monitor.metrics import FleetMetrics

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [NOW]
    for module in ("multi.monitor.metrics", "multi.app.events.tracked"):
        monkeypatch.setattr(f"{module}.time", lambda: now[0])
    return now


@pytest.fixture
def fleet() -> FleetMetrics:
    return FleetMetrics()


def tell(fleet: FleetMetrics, kind: str, worker: str = "w1@a", at: float = NOW, **fields: Any) -> None:
    fleet.event({"type": kind, "hostname": worker, "timestamp": at, "local_received": at, "clock": 1, **fields})


def value(fleet: FleetMetrics, name: str, **labels: str) -> float | None:
    return fleet.registry.get_sample_value(name, labels)


def test_a_worker_is_online_until_it_says_otherwise_or_falls_silent(fleet: FleetMetrics, clock: list[float]) -> None:
    tell(fleet, "worker-online", freq=2.0, active=0, processed=0)
    tell(fleet, "worker-heartbeat", worker="w2@a", freq=2.0, active=3, processed=0)
    assert value(fleet, "flower_worker_online", worker="w1@a") == 1
    assert value(fleet, "flower_worker_number_of_currently_executing_tasks", worker="w2@a") == 3
    tell(fleet, "worker-offline", freq=2.0, active=0, processed=0)
    assert value(fleet, "flower_worker_online", worker="w1@a") == 0
    clock[0] += 10
    assert value(fleet, "flower_worker_online", worker="w2@a") == 0
    assert value(fleet, "flower_worker_number_of_currently_executing_tasks", worker="w2@a") == 0


def test_a_task_is_counted_by_its_events_and_timed(fleet: FleetMetrics) -> None:
    tell(fleet, "task-received", uuid="a", name="proj.add", eta=None)
    labels = {"worker": "w1@a", "task": "proj.add"}
    assert value(fleet, "flower_worker_prefetched_tasks", **labels) == 1
    tell(fleet, "task-started", uuid="a", at=NOW + 0.5)
    assert value(fleet, "flower_worker_prefetched_tasks", **labels) == 0
    assert value(fleet, "flower_task_prefetch_time_seconds", **labels) == 0.5
    tell(fleet, "task-succeeded", uuid="a", at=NOW + 2, runtime=1.5, result="3")
    assert value(fleet, "flower_task_prefetch_time_seconds", **labels) == 0
    assert value(fleet, "flower_task_runtime_seconds_sum", **labels) == 1.5
    for kind in ("task-received", "task-started", "task-succeeded"):
        assert value(fleet, "flower_events_total", type=kind, **labels) == 1


def test_a_task_that_waits_for_its_time_is_not_one_that_a_worker_holds_back(fleet: FleetMetrics) -> None:
    tell(fleet, "task-received", uuid="a", name="proj.add", eta="2030-01-01T00:00:00")
    assert value(fleet, "flower_worker_prefetched_tasks", worker="w1@a", task="proj.add") is None


def test_a_client_is_no_worker(fleet: FleetMetrics) -> None:
    tell(fleet, "task-sent", worker="shell", uuid="a", name="proj.add")
    assert value(fleet, "flower_worker_online", worker="shell") is None
    assert value(fleet, "flower_events_total", worker="shell", type="task-sent", task="proj.add") == 1


def test_what_has_been_gone_for_an_hour_is_forgotten(fleet: FleetMetrics, clock: list[float]) -> None:
    tell(fleet, "worker-online", freq=2.0)
    tell(fleet, "task-received", uuid="a", name="proj.add")
    clock[0] += 3601
    tell(fleet, "worker-online", worker="w2@a", at=clock[0], freq=2.0)
    assert 'worker="w1@a"' not in fleet.text()
    assert value(fleet, "flower_worker_online", worker="w2@a") == 1


def test_names_that_anybody_makes_up_do_not_fill_the_memory(
    fleet: FleetMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_TASKS", 10)
    monkeypatch.setattr(metrics, "MOST_WORKERS", 10)
    for number in range(100):
        tell(fleet, "task-received", uuid=str(number), name=f"proj.{number}")
        tell(fleet, "worker-online", worker=f"w{number}@b", freq=2.0)
    assert value(fleet, "flower_events_total", worker="w1@a", type="task-received", task="(others)") == 90
    assert fleet.text().count("flower_worker_online{") == 9
