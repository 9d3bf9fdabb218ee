"""HUP: the next generation is ready before the present one is told to stop."""

from __future__ import annotations

import os
import signal

from support.nodes import Nodes, is_alive, kill
from support.wait import until


def hup(nodes: Nodes) -> None:
    os.kill(nodes.keeper("w1"), signal.SIGHUP)


def test_the_old_worker_is_told_to_stop_only_when_the_new_one_is_ready(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", plan="file")
    keeper, old = nodes.keeper("w1"), nodes.worker("w1")
    nodes.project.write("plan", "later")
    hup(nodes)
    record = nodes.until_state("w1", "reloading")
    new = next(one["pid"] for one in record["workers"] if one["role"] == "incoming")
    until(lambda: f"fake worker {new} " in nodes.log("w1"), what="the new worker has begun")
    assert is_alive(old)
    assert nodes.worker("w1") == old
    os.kill(new, signal.SIGUSR1)
    until(lambda: not is_alive(old), what="the old worker has gone")
    record = nodes.until_state("w1", "running")
    assert nodes.worker("w1") == new
    assert record["reload"]["state"] == "done"
    assert record["generation"] == record["reload"]["generation"] == 2
    assert nodes.keeper("w1") == keeper
    assert nodes.log("w1").count("stopping for SIGTERM") == 1


def test_a_new_generation_that_dies_changes_nothing(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", plan="file")
    old = nodes.worker("w1")
    nodes.project.write("plan", "die")
    hup(nodes)
    until(lambda: (nodes.record("w1")["reload"] or {}).get("state") == "failed", what="the reload has failed")
    assert nodes.record("w1")["state"] == "running"
    assert nodes.worker("w1") == old
    assert is_alive(old)
    assert "the last reload has failed: generation 2 ended before it was ready" in nodes.run("status", "w1").stdout


def test_a_stop_during_a_reload_stops_both(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", plan="file")
    nodes.project.write("plan", "later")
    hup(nodes)
    record = nodes.until_state("w1", "reloading")
    until(lambda: nodes.log("w1").count("fake worker") == 2, what="the new worker has begun")
    nodes.run("stopwait", "w1")
    assert not [one["pid"] for one in record["workers"] if is_alive(one["pid"])]


def test_a_crash_of_the_old_worker_during_a_reload_leaves_the_new_one(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", plan="file")
    old = nodes.worker("w1")
    nodes.project.write("plan", "later")
    hup(nodes)
    nodes.until_state("w1", "reloading")
    kill(old)
    nodes.until_state("w1", "starting")
    nodes.nudge("w1")
    record = nodes.until_state("w1", "running")
    assert len(record["workers"]) == 1
    assert record["restarts"] == 1


def test_a_slow_old_worker_finishes_while_the_new_one_works_and_a_second_reload_comes(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow")
    first = nodes.worker("w1")
    hup(nodes)
    until(lambda: nodes.worker("w1") != first, what="the second generation works")
    second = nodes.worker("w1")
    assert is_alive(first)
    hup(nodes)
    until(lambda: nodes.worker("w1") != second, what="the third generation works")
    assert is_alive(first)
    assert is_alive(second)

    def gone() -> bool:
        for pid in (first, second):
            if is_alive(pid):
                os.kill(pid, signal.SIGUSR1)  # counts only once its TERM has been taken
        return len(nodes.record("w1")["workers"]) == 1

    until(gone, what="the old ones are gone")
    assert nodes.record("w1")["state"] == "running"
    assert nodes.status("w1")["generation"] == 3
    nodes.run("kill", "w1")


def test_a_hup_while_the_node_starts_is_not_lost(nodes: Nodes) -> None:
    starting = nodes.popen_start("w1", plan="later")
    nodes.until_state("w1", "starting")
    hup(nodes)
    nodes.nudge("w1")
    record = nodes.until_state("w1", "reloading")
    new = next(one["pid"] for one in record["workers"] if one["role"] == "incoming")
    until(lambda: f"fake worker {new} " in nodes.log("w1"), what="the new worker has begun")
    os.kill(new, signal.SIGUSR1)
    until(lambda: nodes.worker("w1") == new, what="the new worker works")
    starting.communicate(timeout=30)


def test_a_keeper_killed_during_a_reload_is_followed_by_one_that_ends_it(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", plan="file")
    old = nodes.worker("w1")
    nodes.project.write("plan", "later")
    hup(nodes)
    record = nodes.until_state("w1", "reloading")
    new = next(one["pid"] for one in record["workers"] if one["role"] == "incoming")
    until(lambda: f"fake worker {new} " in nodes.log("w1"), what="the new worker has begun")
    kill(nodes.keeper("w1"))
    assert nodes.status("w1")["state"] == "reloading"
    os.kill(new, signal.SIGUSR1)
    until(lambda: not is_alive(old), what="the old worker has gone")
    until(lambda: len(nodes.record("w1")["workers"]) == 1, what="the adopted reload is over")
    assert nodes.record("w1")["state"] == "running"
    assert nodes.worker("w1") == new
