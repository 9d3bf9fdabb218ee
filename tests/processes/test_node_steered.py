"""A node that follows its load, and one that is shut down from afar."""

from __future__ import annotations

from support.nodes import Nodes
from support.wait import until

TASKS = """
import os
import time
from multi import App

app = App("proj")

@app.task
def hold(name):
    open(f"{name}.held", "w").close()
    while os.path.exists(f"{name}.held"):
        time.sleep(0.02)
"""


def test_a_node_follows_its_load_and_its_status_tells_so_until_it_is_shut_down_from_afar(nodes: Nodes) -> None:
    nodes.project.write("proj.py", TASKS)
    nodes.run("start", "w1", "-A", "proj", "--autoscale=2,1")
    found = nodes.status("w1")
    assert (found["concurrency"], found["autoscale"]) == (1, {"max": 2, "min": 1})
    assert "prefork:1 (1-2)" in nodes.run("status").stdout
    nodes.project.python("from proj import hold\nfor name in 'abc': hold.delay(name)")
    until(lambda: nodes.status("w1")["active"] == 2, 30, what="it grows")
    for name in "abc":
        until(lambda name=name: _let_go(nodes, name), 30, what=f"{name} has run")  # type: ignore[misc]
    nodes.project.python("from proj import app\napp.control.shutdown()")
    # it was asked to end: it isn't started again
    until(lambda: nodes.status("w1")["state"] == "stopped", 30, what="it is stopped")


def _let_go(nodes: Nodes, name: str) -> bool:
    place = nodes.project.path / f"{name}.held"
    if not place.exists():
        return False
    place.unlink()
    return True
