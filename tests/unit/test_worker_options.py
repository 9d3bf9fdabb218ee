"""The command line and the settings, checked against each other."""

from __future__ import annotations

import os
from typing import Any

import pytest

from multi.config.settings import Settings
from multi.errors import ConfigurationError
from multi.topology import Broadcast, Queue, Topology
from multi.worker.options import Given, WorkerOptions, combine, processors, select_queues


def made(settings: dict[str, Any] | None = None, **given: Any) -> WorkerOptions:
    return combine(Given(hostname="w1@host", **given), Settings(settings or {}))


def test_what_nobody_says_has_its_default() -> None:
    options = made()
    assert (options.hostname, options.queues, options.pool) == ("w1@host", ["celery"], "prefork")
    assert options.concurrency == processors()
    assert options.max_tasks_per_child is None
    assert options.time_limit is None


def test_the_settings_fill_what_the_command_line_leaves_open() -> None:
    options = made(
        {
            "worker_concurrency": 3,
            "worker_pool": "threads",
            "worker_max_tasks_per_child": 100,
            "worker_max_memory_per_child": 20000,
            "task_default_queue": "work",
            "drain_timeout": 5,
        }
    )
    assert (options.concurrency, options.pool, options.queues) == (3, "threads", ["work"])
    assert (options.max_tasks_per_child, options.max_memory_per_child, options.drain_timeout) == (100, 20000, 5)


def test_the_command_line_wins_over_the_settings() -> None:
    options = made(
        {"worker_concurrency": 3, "task_time_limit": 60, "drain_timeout": 5, "worker_pool": "threads"},
        concurrency=2,
        time_limit=5.0,
        drain_timeout=0.0,
        pool="prefork",
    )
    assert (options.concurrency, options.time_limit, options.drain_timeout, options.pool) == (2, 5, 0, "prefork")


@pytest.mark.parametrize("given", ["auto", 0])
def test_auto_and_zero_mean_the_number_of_processors(given: int | str) -> None:
    assert made(concurrency=given).concurrency == processors()


def test_zero_means_no_limit() -> None:
    options = made({"task_time_limit": 60, "worker_max_tasks_per_child": 7}, time_limit=0.0, max_tasks_per_child=0)
    assert options.time_limit is None
    assert options.max_tasks_per_child is None


def test_a_concurrency_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="worker_concurrency must be a number of at least 1"):
        made({"worker_concurrency": -1})


def test_processors_are_those_this_process_may_use() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_processors_follow_the_affinity() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_an_unknown_pool_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'fork'.*asyncio.*prefork.*solo.*threads"):
        made(pool="fork")


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_a_green_pool_is_answered_with_what_to_use_meanwhile(pool: str) -> None:
    with pytest.raises(ConfigurationError, match="meanwhile use -P threads"):
        made(pool=pool)


def test_an_unknown_pool_in_the_settings_is_refused_too() -> None:
    with pytest.raises(ConfigurationError, match="gevent"):
        made({"worker_pool": "gevent"})


def test_queues_are_taken_once_and_in_order() -> None:
    topology = Topology([Queue("celery")])
    assert select_queues(["b", "a", "b"], ["c"], topology, "w1@host") == ["b", "a"]
    assert select_queues(["b", "a"], ["b"], topology, "w1@host") == ["a"]
    assert select_queues(None, ["other"], topology, "w1@host") == ["celery"]


def test_without_a_queue_nothing_starts() -> None:
    with pytest.raises(ConfigurationError, match="no queue is left to consume from: celery without celery"):
        select_queues(None, ["celery"], Topology([Queue("celery")]), "w1@host")


def test_solo_runs_one_task_whatever_is_asked_for() -> None:
    options = made(pool="solo", concurrency=4)
    assert options.concurrency == 1
    assert any("--concurrency 4 changes nothing" in note for note in options.notes)
    assert made(pool="solo").notes == []


def test_a_soft_limit_above_the_hard_one_is_told() -> None:
    assert any("killed without notice" in note for note in made(time_limit=5.0, soft_time_limit=5.0).notes)
    assert made(time_limit=5.0, soft_time_limit=4.0).notes == []


def test_a_limit_that_threads_cannot_enforce_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="--soft-time-limit can't be enforced in the pool 'threads'"):
        made(pool="threads", soft_time_limit=5.0)
    assert made(pool="asyncio", soft_time_limit=5.0).soft_time_limit == 5


def test_a_limit_in_the_settings_that_threads_cannot_enforce_is_told() -> None:
    options = made({"task_time_limit": 60}, pool="threads")
    assert options.time_limit is None
    assert any("task_time_limit is not enforced in the pool threads" in note for note in options.notes)
    assert made({"task_time_limit": 60}, pool="threads", time_limit=0.0).notes == []


def test_what_each_node_has_of_its_own_is_known_to_the_topology_then() -> None:
    topology = Topology([Queue("celery"), Broadcast("reload")])
    assert select_queues(None, [], topology, "w1@h") == ["celery", "bcast.reload.w1@h"]
    own = topology.queues["bcast.reload.w1@h"]
    assert (own.node, own.fed, own.arguments) == ("w1@h", ["reload"], {"x-expires": 60000})
    assert topology.get("reload").per_node, "senders still mean all"
    assert topology.bound("reload") == []


def test_settings_that_are_changed_late_count_where_nothing_else_was_said() -> None:
    given = Given(hostname="w1@host", soft_time_limit=50)
    before = combine(given, Settings({"worker_concurrency": 2}))
    options = before.copy()
    options.concurrency = 1
    options.queues.append("more")
    options.notes.append("a note")
    options.renew(before, combine(given, Settings({"worker_concurrency": 3, "task_time_limit": 9, "drain_timeout": 4})))
    assert (options.concurrency, options.queues) == (1, ["celery", "more"])
    assert (options.time_limit, options.soft_time_limit, options.drain_timeout) == (9, 50, 4)
    assert options.notes[1:] == ["a note"]
    assert options.notes[0].startswith("The soft time limit")


def test_a_worker_that_follows_its_load_begins_with_the_least() -> None:
    options = made(autoscale=(10, 3), concurrency=4)
    assert (options.concurrency, options.min_concurrency, options.max_concurrency) == (3, 3, 10)
    assert any("--concurrency 4 changes nothing" in note for note in options.notes)
    assert made(autoscale=(10, 3), pool="threads").concurrency == 3
    with pytest.raises(ConfigurationError, match="--autoscale: the pool solo runs one task at a time"):
        made(autoscale=(2, 1), pool="solo")
