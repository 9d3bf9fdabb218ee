"""`multi stack` shows where every process of a node is, whatever state it is in."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.nodes import Nodes, is_alive
from support.wait import until

TASKS = """
import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time

from multi import App

app = App("proj")

def began(name):
    with open(f"began-{name}", "w") as file:
        file.write(str(os.getpid()))

@app.task
def deep_down(name, password=None):
    other = threading.Thread(target=in_another_thread, daemon=True)
    other.start()
    began(name)
    time.sleep(600)

def in_another_thread():
    time.sleep(600)

@app.task
def stuck_in_foreign_code(name):
    began(name)
    ctypes.PyDLL(None).sleep(600)  # the interpreter is never given back

@app.task
def a_program(name, argument):
    process = subprocess.Popen(["sleep", argument])
    began(name)
    process.wait()

@app.task
async def nap(name):
    began(name)
    await asyncio.sleep(600)

@app.task
async def blocks_the_loop(name):
    began(name)
    time.sleep(600)
"""


@pytest.fixture
def real(nodes: Nodes) -> Nodes:
    nodes.project.write("proj.py", TASKS)
    return nodes


def start(nodes: Nodes, *more: str) -> None:
    nodes.run("start", "w1", "-A", "proj", "-l", "INFO", "-c", "2", *more)


def begin(nodes: Nodes, name: str, call: str) -> int:
    """Send a task and wait until it runs; the pid of its process."""
    nodes.project.python(f"import proj; proj.{call}")
    file = nodes.project.path / f"began-{name}"
    until(lambda: file.exists() and file.read_text(), 15, what=f"{name} has begun: {nodes.log('w1')}")
    return int(file.read_text())


def stack(nodes: Nodes, code: int = 0) -> dict[str, dict[str, Any]]:
    """What `multi stack --json` tells, by the name of the process."""
    found = json.loads(nodes.run("stack", "w1", "--json", code=code).stdout)
    return {each["name"]: each for each in found}


def functions(process: dict[str, Any], kind: str = "thread") -> set[str]:
    return {frame["function"] for one in process["stacks"] if one["kind"] == kind for frame in one["frames"]}


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_every_process_and_thread_is_shown_with_the_task_that_it_runs(real: Nodes) -> None:
    start(real)
    pid = begin(real, "a", "deep_down.delay('a', password='hush')")
    found = stack(real)
    assert set(found) == {"worker", "child 1", "child 2"}
    assert "run" in functions(found["worker"])
    busy = next(each for each in found.values() if each["pid"] == pid)
    assert functions(busy) >= {"deep_down", "in_another_thread"}
    assert len(busy["stacks"]) == 2
    assert (busy["task"]["name"], busy["task"]["active"]) == ("proj.deep_down", 1)
    assert "hush" not in json.dumps(found)
    idle = next(each for name, each in found.items() if name.startswith("child") and each["pid"] != pid)
    assert idle["task"] is None
    assert "wait" in functions(idle)
    shown = real.run("stack", "w1").stdout
    assert f"(pid {pid}) runs proj.deep_down[{busy['task']['id']}] for " in shown
    assert re.search(r"proj\.py:\d+ deep_down", shown)
    assert "hush" not in shown
    # they all live on, and the next look begins with an empty file
    assert all(is_alive(each["pid"]) for each in found.values())
    assert stack(real).keys() == found.keys()
    assert (real.folder("w1") / "stacks.1").stat().st_size == 0


def test_a_process_that_never_gives_the_interpreter_back_is_shown_too(real: Nodes) -> None:
    start(real)
    pid = begin(real, "a", "stuck_in_foreign_code.delay('a')")
    found = next(each for each in stack(real).values() if each["pid"] == pid)
    assert "stuck_in_foreign_code" in functions(found)


def test_programs_of_tasks_are_named_and_left_alone(real: Nodes) -> None:
    start(real)
    begin(real, "a", "a_program.delay('a', '599')")
    found = stack(real)
    (program,) = (each for each in found.values() if each["role"] == "other")
    assert program["name"] == "sleep 599"
    assert "can't be asked" in program["trouble"]
    assert is_alive(program["pid"])
    assert "a_program" in {name for each in found.values() for name in functions(each)}


def test_a_process_that_is_stopped_is_told_and_holds_up_nobody(real: Nodes) -> None:
    start(real)
    begin(real, "a", "deep_down.delay('a')")
    child = stack(real)["child 1"]["pid"]
    with frozen(child):
        found = stack(real, code=1)
        assert f"kill -CONT {child}" in found["child 1"]["trouble"]
        assert not found["worker"]["trouble"]
        assert not found["child 2"]["trouble"]
    assert not stack(real)["child 1"]["trouble"]


def test_the_tasks_of_an_event_loop_are_shown(real: Nodes) -> None:
    start(real, "-P", "asyncio", "-c", "4")
    begin(real, "a", "nap.delay('a')")
    begin(real, "b", "nap.delay('b')")
    child = stack(real)["child 1"]
    naps = [one for one in child["stacks"] if one["kind"] == "task" and one["name"].startswith("proj.nap[")]
    assert len(naps) == 2
    assert all([frame["function"] for frame in one["frames"]][:2] == ["sleep", "nap"] for one in naps)
    assert child["task"]["active"] == 2
    assert "carry" in functions(child)
    begin(real, "c", "blocks_the_loop.delay('c')")
    child = stack(real)["child 1"]
    assert "blocks_the_loop" in functions(child)


def test_a_node_that_does_not_run_and_one_that_is_unknown(real: Nodes) -> None:
    start(real)
    real.run("stopwait", "w1")
    assert "has no process" in real.run("stack", "w1", code=1).stderr
    real.run("stack", "nobody", code=4)


def test_a_worker_that_does_not_listen_is_left_alive(nodes: Nodes) -> None:
    nodes.start("w1")
    (found,) = json.loads(nodes.run("stack", "w1", "--json", code=1).stdout)
    assert "doesn't listen" in found["trouble"]
    assert is_alive(nodes.worker("w1"))


def test_the_stacks_of_a_worker_that_is_taken_for_stuck_are_in_its_log(real: Nodes) -> None:
    start(real)
    worker = real.worker("w1")
    os.kill(worker, signal.SIGABRT)
    until(lambda: "Fatal Python error: Aborted" in real.log("w1"), 15, what=real.log("w1"))
    until(lambda: 'multi/loop.py", line' in real.log("w1"), 15, what=real.log("w1"))


def test_a_worker_of_the_version_before_is_told_stopped_and_left_alone(nodes: Nodes) -> None:
    """An upgrade of multi under a running node: its worker writes a page of version 1 and hears no orders."""
    nodes.start("w1")
    header = struct.pack("<8sHHHH", b"MULTISTA", 1, 2048, 256, 1)
    header += struct.pack("<IIIIddQ32s1024s", 1, nodes.worker("w1"), 1, 1, 1.5, 2.5, 99, b"prefork", b"images")
    row = struct.pack("<IId128sQQQ", nodes.worker("w1"), 1, 3.5, b"proj.tasks.add", 5, 6, 7)
    (page,) = nodes.folder("w1").glob("stats.*")
    page.write_bytes(header.ljust(2048, b"\0") + row.ljust(256, b"\0"))
    status = nodes.status("w1")
    assert (status["queues"], status["active"], status["succeeded"]) == (["images"], 1, 5)
    assert [(task["name"], task["id"], task["args"]) for task in status["tasks"]] == [("proj.tasks.add", "", "")]
    shown = nodes.run("stack", "w1", code=1).stdout
    assert "runs proj.tasks.add for" in shown
    assert "doesn't listen" in shown
    nodes.run("stopwait", "w1")
