"""Pausing, waiting for idleness and rolling with the real worker: no task is lost, none is run twice."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.nodes import HOST, Nodes
from support.wait import until

TASKS = """
import os
import time
from multi import App

app = App("proj")

@app.task
def note(number):
    time.sleep(0.01)
    with open("done", "a") as file:
        file.write(f"{number}\\n")
    return number

@app.task
def hold():
    open("held", "w").close()
    while os.path.exists("held"):
        time.sleep(0.02)
"""


@pytest.fixture
def real(nodes: Nodes) -> Nodes:
    nodes.project.write("proj.py", TASKS)
    return nodes


def done(nodes: Nodes) -> list[int]:
    file = nodes.project.path / "done"
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def send(nodes: Nodes, count: int) -> None:
    nodes.project.python(f"from proj import note\nfor number in range({count}): note.delay(number)")


def test_a_paused_worker_takes_nothing_until_it_is_resumed(real: Nodes) -> None:
    real.run("start", "w1", "-A", "proj", "-c", "2")
    worker = real.worker("w1")
    real.run("pause", "w1")
    send(real, 20)
    real.run("restart", "w1")
    assert real.status("w1")["queues"] == []
    assert done(real) == []
    assert real.worker("w1") != worker
    real.run("resume", "w1")
    until(lambda: len(done(real)) == 20, 30, what="the tasks are run")
    assert sorted(done(real)) == [*range(20)]


def test_a_busy_worker_is_restarted_when_its_task_has_ended(real: Nodes) -> None:
    real.run("start", "w1", "-A", "proj", "-c", "1")
    worker = real.worker("w1")
    real.project.python("from proj import hold\nhold.delay()")
    until((real.project.path / "held").exists, 20, what="the task runs")
    restarting = real.project.popen("restart", "--when-idle", "w1")
    until(lambda: real.status("w1")["queues"] == [], what="it takes nothing new")
    send(real, 3)
    assert restarting.stdout is not None
    lines = [restarting.stdout.readline() for _ in range(3)]
    assert "1 active, oldest" in lines[2], lines
    assert "(proj.hold)" in lines[2]
    assert real.worker("w1") == worker
    (real.project.path / "held").unlink()
    out, _ = restarting.communicate(timeout=60)
    assert restarting.returncode == 0, out
    assert f"w1@{HOST}: idle, TERM -> " in out
    assert real.worker("w1") != worker
    until(lambda: len(done(real)) == 3, 30, what="what was sent meanwhile is run")


def test_a_roll_under_load_loses_nothing_and_runs_nothing_twice(real: Nodes) -> None:
    real.run("start", "w1", "w2", "w3", "-A", "proj", "-c", "1")
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from proj import note\nr = [note.delay(n) for n in range(400)]\n[x.get(timeout=90) for x in r]",
        ],
        cwd=real.project.path,
        env=real.project.env,
    )
    until(lambda: len(done(real)) > 20, 30, what="tasks are run")
    real.run("restart", "--rolling", "--all")
    assert client.wait(90) == 0
    assert sorted(done(real)) == [*range(400)]
