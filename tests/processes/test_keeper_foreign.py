"""A process that ran before it was a node's is taken over while it works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nodes import Nodes, is_alive, kill
from support.wait import until

from multi.controller.keeper import proc

SCRIPT = """
sleep 600 &
echo begun $$
trap 'echo wound down; kill $!; exit 0' TERM
while :; do wait $!; done
"""


@pytest.fixture
def foreign(nodes: Nodes) -> Iterator[subprocess.Popen[bytes]]:
    """A running program of the kind of c1, which was c1 once, in the session of this test, with a child."""
    path = nodes.project.write("program.sh", SCRIPT)
    nodes.run("start", "c1", "--cmd", f"sh {path}", "--ready-after", "0.1", "--restart-delay", "0.05")
    nodes.run("stopwait", "c1")
    found = subprocess.Popen(["sh", str(path)], stdout=subprocess.DEVNULL, process_group=0)
    until(lambda: children(found.pid), what="it has a child")
    value = {"pid": found.pid, "start": proc.start_time(found.pid), "boot": proc.boot_id()}
    (nodes.folder("c1") / "adopt.json").write_text(json.dumps(value))
    yield found
    if found.poll() is None:
        found.kill()
    found.wait()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_is_adopted_and_stops_in_order(nodes: Nodes, foreign: subprocess.Popen[bytes]) -> None:
    assert nodes.status("c1")["state"] == "stopped"
    nodes.run("start", "c1")
    (worker,) = nodes.record("c1")["workers"]
    assert (worker["pid"], worker["foreign"], nodes.record("c1")["state"]) == (foreign.pid, True, "running")
    assert not (nodes.folder("c1") / "adopt.json").exists()
    (child,) = children(foreign.pid)
    nodes.run("stopwait", "c1")
    assert foreign.wait(5) == 0, "it has ended in its own way"
    until(lambda: not is_alive(child), what="its child has ended")


def test_it_is_started_again_after_a_crash_as_a_worker_like_others(
    nodes: Nodes, foreign: subprocess.Popen[bytes]
) -> None:
    nodes.run("start", "c1")
    (child,) = children(foreign.pid)
    foreign.kill()
    foreign.wait()
    until(lambda: nodes.record("c1")["restarts"] == 1 and nodes.record("c1")["state"] == "running", what="restarted")
    assert not is_alive(child), "nobody looks after it any more"
    (worker,) = nodes.record("c1")["workers"]
    assert not worker["foreign"]
    until(lambda: f"begun {worker['pid']}" in nodes.log("c1"), what="its output comes here now")


def test_its_keeper_killed_it_is_an_orphan_and_adopted_again(nodes: Nodes, foreign: subprocess.Popen[bytes]) -> None:
    nodes.run("start", "c1")
    kill(nodes.keeper("c1"))
    assert nodes.run("forget", "c1", code=1).returncode == 1, "it runs"
    nodes.run("status", "c1")
    (worker,) = nodes.record("c1")["workers"]
    assert (worker["pid"], worker["foreign"], nodes.record("c1")["state"]) == (foreign.pid, True, "running")
    nodes.run("stopwait", "c1")
    assert foreign.wait(5) == 0


def test_one_that_ignores_its_stop_signal_is_killed_with_its_family(nodes: Nodes) -> None:
    path = nodes.project.write("deaf.sh", "trap '' TERM\nsleep 600 &\nwhile :; do sleep 0.05; done\n")
    nodes.run("start", "c1", "--cmd", f"sh {path}", "--ready-after", "0.1", "--kill-after", "0.1")
    nodes.run("kill", "c1", code=None)
    found = subprocess.Popen(["sh", str(path)], process_group=0)
    until(lambda: children(found.pid), what="it has a child")
    child = children(found.pid)[0]
    value = {"pid": found.pid, "start": proc.start_time(found.pid), "boot": proc.boot_id()}
    (nodes.folder("c1") / "adopt.json").write_text(json.dumps(value))
    nodes.run("start", "c1")
    nodes.run("stopwait", "c1", code=5)
    assert found.wait(5) == -9
    until(lambda: not is_alive(child), what="its child is gone")
    assert is_alive(os.getpid())


def test_where_its_keeper_does_not_react_all_of_its_family_is_killed_and_nobody_else(nodes: Nodes) -> None:
    path = nodes.project.write("deaf.sh", "trap '' TERM\nsh -c 'sleep 600 & wait' &\nwhile :; do sleep 0.05; done\n")
    nodes.run("start", "c1", "--cmd", f"sh {path}", "--ready-after", "0.1")
    nodes.run("kill", "c1", code=None)
    found = subprocess.Popen(["sh", str(path)])  # in the session and the process group of this test
    beside = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        until(lambda: children(found.pid) and children(children(found.pid)[0]), what="it has a grandchild")
        child = children(found.pid)[0]
        (grandchild,) = children(child)
        value = {"pid": found.pid, "start": proc.start_time(found.pid), "boot": proc.boot_id()}
        (nodes.folder("c1") / "adopt.json").write_text(json.dumps(value))
        nodes.run("start", "c1")
        os.kill(nodes.keeper("c1"), signal.SIGSTOP)
        nodes.run("kill", "c1")
        assert found.wait(5) == -9
        until(lambda: not is_alive(child) and not is_alive(grandchild), what="its family is gone")
        assert beside.poll() is None
    finally:
        beside.communicate()


def test_one_that_is_gone_meanwhile_is_told(nodes: Nodes, foreign: subprocess.Popen[bytes]) -> None:
    foreign.kill()
    foreign.wait()
    for child in [pid for pid in proc.all_pids() if proc.stat(pid)[2:3] == [str(foreign.pid)]]:
        os.kill(child, 9)
    done = nodes.run("start", "c1", code=None)
    assert f"the process {foreign.pid}, which was to be adopted, is gone" in done.stdout + done.stderr
    nodes.run("start", "c1")
    assert not nodes.record("c1")["workers"][0]["foreign"]
