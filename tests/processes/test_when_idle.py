"""`restart --when-idle`: a node takes nothing new, and is restarted when nothing runs in it any more."""

from __future__ import annotations

import os
import re
import signal
import time

from support.nodes import HOST, Nodes, is_alive
from support.wait import until


def queues(nodes: Nodes, name: str) -> object:
    return nodes.status(name)["queues"]


def test_a_busy_node_is_restarted_when_its_task_has_ended_and_consumes_again(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy")
    worker = nodes.worker("w1")
    restarting = nodes.project.popen("restart", "--when-idle", "w1")
    assert restarting.stdout is not None
    lines = [restarting.stdout.readline() for _ in range(3)]
    assert lines[1] == "> Waiting until 1 node is idle...\n"
    assert re.search(r"w1@.*: waiting: 1 active, oldest \d+ s \(proj\.tasks\.resize\)", lines[2]), lines
    assert queues(nodes, "w1") == []
    assert nodes.worker("w1") == worker
    nodes.nudge("w1")
    out, _ = restarting.communicate(timeout=30)
    assert restarting.returncode == 0
    assert f"w1@{HOST}: idle, TERM -> " in out
    assert f"> Restarting node w1@{HOST}: OK" in out
    assert nodes.worker("w1") != worker
    until(lambda: queues(nodes, "w1") == ["celery"], what="it consumes again")
    assert nodes.record("w1")["paused"] == []


def test_at_the_deadline_it_is_stopped_all_the_same_and_that_is_said(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy")
    worker = nodes.worker("w1")
    said = nodes.run("restart", "--when-idle", "--deadline", "1.2s", "w1").stdout
    assert f"w1@{HOST}: still not idle at the deadline; stopped all the same, TERM -> " in said
    assert nodes.worker("w1") != worker
    until(lambda: queues(nodes, "w1") == ["celery"], what="it consumes again")


def test_after_the_deadline_it_tells_at_once_what_still_runs(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy.slow")
    worker = nodes.worker("w1")
    restarting = nodes.project.popen("restart", "--when-idle", "--deadline", "1.5s", "w1")
    assert restarting.stdout is not None
    while "stopped all the same" not in restarting.stdout.readline():
        pass
    stopped = time.monotonic()
    assert re.search(r"w1@.*: draining: 1 active, oldest 4\d s \(proj", restarting.stdout.readline())
    assert time.monotonic() - stopped < 4
    until(lambda: _is_over(worker), what="the worker ends")
    out, _ = restarting.communicate(timeout=30)
    assert restarting.returncode == 0, out
    told = nodes.run("why", "w1", "--lines", "0").stdout
    assert "what is started next is to consume as before from all queues" in told
    until(lambda: queues(nodes, "w1") == ["celery"], what="it consumes again")


def test_control_c_leaves_the_node_as_it_was(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy")
    worker = nodes.worker("w1")
    restarting = nodes.project.popen("restart", "--when-idle", "w1")
    until(lambda: queues(nodes, "w1") == [], what="it is paused")
    restarting.send_signal(signal.SIGINT)
    _, err = restarting.communicate(timeout=30)
    assert restarting.returncode == 130
    assert f"w1@{HOST}: not restarted, and consuming as before" in err
    until(lambda: queues(nodes, "w1") == ["celery"], what="it consumes again")
    assert nodes.worker("w1") == worker


def test_what_was_paused_before_is_paused_after(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "a,b"))
    nodes.run("pause", "w1", "-Q", "a")
    nodes.run("restart", "--when-idle", "w1")
    assert queues(nodes, "w1") == ["b"]
    assert nodes.record("w1")["paused"] == ["a"]


def test_of_two_that_share_a_queue_one_goes_on_consuming_meanwhile(nodes: Nodes) -> None:
    nodes.start("w1", "w2", plan="ready.busy")
    restarting = nodes.project.popen("restart", "--when-idle", "w1", "w2")
    until(lambda: queues(nodes, "w1") == [], what="the first is paused")
    nodes.nudge("w2")
    assert queues(nodes, "w2") == ["celery"]
    nodes.nudge("w1")
    # which may be over before anybody has looked
    until(lambda: nodes.record("w2")["generation"] > 1 or queues(nodes, "w2") == [], 30, what="the second's turn")
    restarting.communicate(timeout=30)
    assert restarting.returncode == 0
    assert queues(nodes, "w1") == queues(nodes, "w2") == ["celery"]


def test_a_node_that_tells_nothing_can_not_be_waited_for(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.blind")
    done = nodes.run("restart", "--when-idle", "w1", code=1)
    assert f"nothing is known of what w1@{HOST} runs" in done.stderr


def test_a_node_that_is_down_is_started(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    assert f"    > w1@{HOST}: OK (pid " in nodes.run("restart", "--when-idle", "w1").stdout


def _is_over(worker: int) -> bool:
    """Nudge it until it has ended: the first nudge may overtake the TERM that goes by way of the keeper."""
    try:
        os.kill(worker, signal.SIGUSR1)
    except ProcessLookupError:
        return True
    return not is_alive(worker)
