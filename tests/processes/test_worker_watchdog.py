"""A real worker gives signs of life from its own loop; when that is stuck, its keeper replaces it."""

from __future__ import annotations

import os
import re
import signal
import time

from support.nodes import Nodes, is_alive
from support.wait import until

TASKS = """
import ctypes
import signal
import time

from multi import App

app = App("proj")
app.conf.worker_lease = 1.0

def get_stuck(*_):
    ctypes.PyDLL(None).sleep(600)  # foreign code that never gives the interpreter back

signal.signal(signal.SIGPROF, get_stuck)

@app.task
def note(name, seconds=0):
    with open("notes", "a") as file:
        file.write(f"{name}\\n")
    time.sleep(seconds)
    return name
"""


def start(nodes: Nodes) -> int:
    nodes.project.write("proj.py", TASKS)
    nodes.run("start", "w1", "-A", "proj", "-c", "2", "--watchdog", "1.5", "--restart-delay", "0.05")
    return nodes.worker("w1")


def test_a_worker_whose_loop_is_stuck_is_replaced_with_its_stacks_in_the_log_and_loses_no_task(nodes: Nodes) -> None:
    first = start(nodes)
    nodes.project.python("import proj; proj.note.delay('long', 600)")
    until(lambda: (nodes.project.path / "notes").exists(), 15)
    os.kill(first, signal.SIGPROF)
    until(
        lambda: nodes.record("w1").get("restarts") == 1 and nodes.record("w1")["state"] == "running", 20, what="again"
    )
    assert not is_alive(first)
    record = nodes.record("w1")
    assert record["last_end"]["verdict"] == "watchdog"
    log = nodes.log("w1")
    assert "has not answered for" in log
    # first its children, then itself
    asked = re.search(
        r"the child \(pid \d+\), which runs proj\.note\[[-\w]+\], was here:\n(.*?)Fatal Python", log, re.DOTALL
    )
    assert asked is not None, log
    assert " in note\n" in asked[1]
    assert len(re.findall(r"the child \(pid \d+\)", log)) == 2
    assert "in get_stuck" in log.partition("Fatal Python error: Aborted")[2]
    # the task of the dead worker's child is run again by the next one
    until(lambda: (nodes.project.path / "notes").read_text() == "long\nlong\n", 15, what="the task runs again")


def test_a_worker_that_works_waits_or_is_paused_is_not_taken_for_stuck(nodes: Nodes) -> None:
    first = start(nodes)
    nodes.project.python("import proj; [proj.note.delay(name, 4) for name in 'ab']")
    until(lambda: (nodes.project.path / "notes").exists(), 15)
    nodes.run("pause", "w1", "--force")
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 4.0)
    record = nodes.record("w1")
    assert (record["state"], record.get("restarts")) == ("running", 0)
    assert nodes.worker("w1") == first
    assert nodes.status("w1")["queues"] == []
    nodes.run("resume", "w1")
    assert nodes.project.python("import proj; print(proj.note.delay('c').get(timeout=10))").stdout == "c\n"
