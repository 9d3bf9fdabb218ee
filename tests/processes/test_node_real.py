"""Nodes with the real worker: nothing is lost, whatever happens to which of their processes."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes, is_alive
from support.wait import until

from multi.controller.keeper import proc

TASKS = """
from multi import App

app = App("proj")
app.conf.worker_lease = 1.0

@app.task
def note(number):
    with open("done", "a") as file:
        file.write(f"{number}\\n")
    return number
"""

#: Sends the tasks, and waits for each result.
CLIENT = """
import sys
from proj import note
results = [note.delay(number) for number in range(int(sys.argv[1]))]
assert [result.get(timeout=90) for result in results] == list(range(int(sys.argv[1])))
"""


def client(nodes: Nodes, count: int) -> subprocess.Popen[str]:
    """A program of the user's that sends `count` tasks; its exit status tells whether all came back."""
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(count)],
        cwd=nodes.project.path,
        env=nodes.project.env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def done(nodes: Nodes) -> list[int]:
    """The tasks that were run, as often as they were."""
    file = nodes.project.path / "done"
    return [int(word) for word in file.read_text().split()] if file.exists() else []


@pytest.fixture
def real(nodes: Nodes) -> Nodes:
    nodes.project.write("proj.py", TASKS)
    return nodes


def start(nodes: Nodes, *more: str) -> None:
    nodes.run(
        "start", "w1", "-A", "proj", "-l", "INFO", "-c", "2", "--restart-delay", "0.05", "--max-crashes", "99", *more
    )


def test_reloads_under_load_lose_no_task_and_run_none_twice(real: Nodes) -> None:
    start(real)
    work = client(real, 600)
    for reloads in range(1, 4):
        until(lambda wanted=reloads: len(done(real)) > 100 * wanted, 30, what="tasks are run")  # type: ignore[misc]
        os.kill(real.keeper("w1"), signal.SIGHUP)
        until(lambda wanted=reloads + 1: real.record("w1")["generation"] == wanted, what="a generation")  # type: ignore[misc]
        real.until_state("w1", "running")
    assert work.communicate(timeout=120)[0] == ""
    assert sorted(done(real)) == list(range(600))
    real.run("stopwait", "w1")


def test_rotations_under_load_lose_no_line(real: Nodes) -> None:
    start(real, "--log-size", "30k", "--log-keep", "500")
    sent = 0
    while len(list(real.state.glob("log/*/*.log.*"))) < 3:
        work = client(real, 200)
        assert work.communicate(timeout=120)[0] == ""
        sent += 200
        assert sent < 20_000, "no rotations"
    real.run("stopwait", "w1")
    text = "".join(path.read_text() for path in real.state.glob("log/*/*.log*"))
    succeeded = re.findall(r"Task proj\.note\[([0-9a-f-]+)\] succeeded in", text)
    assert len(succeeded) == len(set(succeeded)) == sent


@pytest.mark.parametrize("seed", range(3))
def test_any_process_of_a_loaded_node_may_be_killed_at_any_moment(real: Nodes, seed: int) -> None:
    chance = random.Random(seed)
    start(real)
    work = client(real, 400)
    for kills in range(1, 7):
        until(
            lambda wanted=kills: len(set(done(real))) >= 50 * wanted or work.poll() is not None,  # type: ignore[misc]
            40,
            what="tasks are run",
        )
        victims = [pid for pid in members(real) if is_alive(pid)]
        if victims:
            os.kill(chance.choice(victims), signal.SIGKILL)
        if chance.random() < 0.5 or not is_alive(real.keeper("w1")):
            real.run("start", "w1")
    real.run("start", "w1")
    assert work.communicate(timeout=120)[0] == ""
    assert set(done(real)) == set(range(400))
    pids = members(real)
    real.run("stopwait", "w1")
    assert not [pid for pid in pids if is_alive(pid)]


def members(nodes: Nodes) -> list[int]:
    """All processes of the node w1: its keeper, its workers, their children."""
    record = nodes.record("w1")
    sessions = {one["pid"] for one in record["workers"]}
    return [record["keeper"]["pid"], *(pid for pid in proc.all_pids() if proc.session(pid) in sessions)]


def test_ten_nodes_of_one_child_are_small_and_stop_quickly(real: Nodes) -> None:
    names = [f"w{number}" for number in range(1, 11)]
    real.run("start", *names, "-A", "proj", "-c", "1")
    for name in names:
        with Path(f"/proc/{real.keeper(name)}/smaps_rollup").open() as file:
            assert next(int(line.split()[1]) for line in file if line.startswith("Pss:")) < 8000
    said = real.run("stopwait", *names).stdout
    assert said.count(f"@{HOST}: DOWN") == 10
