"""Workers that stop answering, grow or grow old are replaced; and the policy for those that end."""

from __future__ import annotations

import os
import signal
import time

from support.nodes import Nodes, is_alive, kill
from support.wait import until


def test_a_worker_that_stops_answering_is_dumped_and_replaced(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.pulse.sleeps", more=("--watchdog", "0.6", "--restart-delay", "0.05"))
    first = nodes.worker("w1")
    nodes.nudge("w1")
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="replaced")
    assert not is_alive(first)
    assert nodes.record("w1")["last_end"]["verdict"] == "watchdog"
    assert nodes.record("w1")["last_end"]["text"] == "it stopped answering: killed by ABRT"
    log = nodes.log("w1")
    assert f"the worker (pid {first}) has not answered for " in log
    assert "Fatal Python error: Aborted" in log
    assert "fake_worker.py" in log.partition("Fatal Python error: Aborted")[2], "its stacks"


def test_a_frozen_worker_is_replaced_with_its_stacks_in_the_log(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.pulse", more=("--watchdog", "0.6", "--restart-delay", "0.05"))
    first = nodes.worker("w1")
    os.kill(first, signal.SIGSTOP)
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="replaced")
    assert not is_alive(first)
    assert "Fatal Python error: Aborted" in nodes.log("w1")


def test_one_that_does_not_even_die_of_that_is_killed(nodes: Nodes) -> None:
    # without stacks to write, and deaf to ABRT: a program of which nothing is known
    nodes.project.write("deaf.sh", "trap '' ABRT\nwhile :; do sleep 0.05; done\n")
    more = ("--watchdog", "0.3", "--ready-after", "0.1", "--restart-delay", "0.05", "--max-crashes", "1")
    nodes.run("start", "c1", "--cmd", "sh deaf.sh", *more)
    record = nodes.until_state("c1", "failed", timeout=20)
    assert record["last_end"]["text"] == "it stopped answering: killed by KILL"


def test_a_worker_that_answers_is_left_alone(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.pulse", more=("--watchdog", "0.5"))
    worker = nodes.worker("w1")
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 2, what="four times the limit have passed")
    assert nodes.worker("w1") == worker
    assert nodes.record("w1")["restarts"] == 0


def test_a_worker_that_is_stopping_may_be_silent(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.pulse.slow", more=("--watchdog", "0.3"))
    worker = nodes.worker("w1")
    nodes.run("stop", "w1")
    os.kill(worker, signal.SIGSTOP)
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 1, what="three times the limit have passed")
    assert nodes.record("w1")["state"] == "stopping"
    os.kill(worker, signal.SIGCONT)
    os.kill(worker, signal.SIGUSR1)
    nodes.until_state("w1", "stopped")


def test_an_adopted_worker_is_watched_from_its_adoption_on(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.pulse", more=("--watchdog", "0.6", "--restart-delay", "0.05"))
    first = nodes.worker("w1")
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    assert nodes.worker("w1") == first
    os.kill(first, signal.SIGSTOP)
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="replaced")
    assert not is_alive(first)


def test_a_worker_that_has_grown_too_large_is_replaced_in_order(nodes: Nodes) -> None:
    """Both at once, since a keeper looks at memory now and then only: an ordinary node, and one that is alone of its kind."""
    more = ("--max-memory", "70MB")
    nodes.start("w1", plan="ready.fat", more=more)
    nodes.start("s1", plan="ready.fat", more=(*more, "--singleton"))
    first = {name: nodes.worker(name) for name in ("w1", "s1")}
    for name in first:
        nodes.nudge(name)
    for name, pid in first.items():

        def replaced(name: str = name, pid: int = pid) -> bool:
            return nodes.record(name)["state"] == "running" and nodes.worker(name) != pid

        until(replaced, 40, what=f"{name} is replaced")
        until(lambda pid=pid: not is_alive(pid), 20, what="the old one has ended")  # type: ignore[misc]
        assert "stopping for SIGTERM" in nodes.log(name)
        assert "MB of memory, and 70 MB is its limit" in nodes.log(name)
        assert "MB of memory" in nodes.record(name)["reload"]["reason"]
        assert nodes.record(name)["crashes"] == 0


def test_a_worker_that_has_grown_old_is_replaced_in_order(nodes: Nodes) -> None:
    nodes.start("w1", more=("--max-age", "1"))
    first = nodes.worker("w1")
    until(lambda: nodes.record("w1")["state"] == "running" and nodes.worker("w1") != first, what="replaced")
    assert f"(pid {first}) is 1 s old and is replaced" in nodes.log("w1")
    assert nodes.record("w1")["crashes"] == 0


def test_always_means_after_an_end_in_order_too_and_that_is_no_crash(nodes: Nodes) -> None:
    nodes.start("w1", more=("--restart", "always", "--restart-delay", "0.01", "--max-crashes", "2"))
    for restarts in range(1, 5):
        os.kill(nodes.worker("w1"), signal.SIGTERM)
        until(lambda wanted=restarts: nodes.record("w1")["restarts"] == wanted, what="counted")  # type: ignore[misc]
        nodes.until_state("w1", "running")
    assert nodes.record("w1")["crashes"] == 0
    nodes.run("stopwait", "w1")
    assert nodes.record("w1")["state"] == "stopped"


def test_the_pauses_between_crashes_have_a_ceiling(nodes: Nodes) -> None:
    more = ("--restart-delay", "0.05", "--longest-delay", "0.1", "--max-crashes", "5")
    nodes.start("w1", plan="ready.fragile", more=more)
    for restarts in range(1, 5):
        nodes.nudge("w1")
        until(lambda wanted=restarts: nodes.record("w1")["restarts"] == wanted, what="counted")  # type: ignore[misc]
        nodes.until_state("w1", "running")
    pauses = [line.rpartition(" in ")[2] for line in nodes.log("w1").splitlines() if "started again" in line]
    assert pauses == ["0.05 s", "0.1 s", "0.1 s", "0.1 s"]


def test_an_idle_keeper_sleeps(nodes: Nodes) -> None:
    nodes.start("w1", more=("--watchdog", "60"))
    keeper = nodes.keeper("w1")

    def turns() -> int:
        with open(f"/proc/{keeper}/status") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)

    until(lambda: "fake worker" in nodes.log("w1"), what="it has begun")
    begun, before = time.monotonic(), turns()
    until(lambda: time.monotonic() - begun > 3, what="some time has passed")
    assert turns() - before <= 2, "the log's first line, and then nothing"
