"""`multi probe`: what it says of nodes that are well, hang, drain, crash and are gone, and what it costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

from support.nodes import HOST, Nodes, kill
from support.wait import until

from multi.controller import glance
from multi.controller.keeper import standing as life
from multi.controller.node import ORPHANED


def probe(nodes: Nodes, *words: str) -> tuple[int, str]:
    done = nodes.run("probe", *words, code=None)
    return done.returncode, done.stdout + done.stderr


def test_a_node_that_consumes_is_alive_and_ready(nodes: Nodes) -> None:
    nodes.start("w1")
    assert probe(nodes, "w1") == (0, f"w1@{HOST}: ok, running: consuming\n")
    assert probe(nodes, "w1", "--ready")[0] == 0
    (found,) = json.loads(nodes.run("probe", "--json").stdout)
    assert (found["node"], found["ok"], found["state"]) == (f"w1@{HOST}", True, "running")


def test_the_name_of_a_table_means_all_of_its_nodes(nodes: Nodes) -> None:
    nodes.project.write(
        "multi.toml", 'name = "x"\n[nodes.w]\ncount = 2\napp = "a"\n[nodes.other]\ncount = 2\napp = "a"\n'
    )
    nodes.start("w1", "w2")
    both = f"w1@{HOST}: ok, running: consuming\nw2@{HOST}: ok, running: consuming\n"
    assert probe(nodes, "w") == (0, both)
    assert probe(nodes, "w", "w2", "--ready") == (0, both)
    code, text = probe(nodes, "w", "other")
    assert (code, "no node 'other'" in text) == (4, True)


def test_a_node_that_still_starts_is_alive_but_not_ready(nodes: Nodes) -> None:
    starting = nodes.popen_start("w1", plan="later")
    nodes.until_state("w1", "starting")
    until(lambda: nodes.record("w1").get("workers"), what="there is a worker")
    assert probe(nodes, "w1")[0] == 0
    code, text = probe(nodes, "w1", "--ready")
    assert (code, f"w1@{HOST}: NOT READY" in text) == (1, True)
    until(lambda: "waiting for the broker" in probe(nodes, "w1", "--ready")[1], what="it tells why")
    os.kill(nodes.worker("w1"), signal.SIGUSR1)
    until(lambda: probe(nodes, "w1", "--ready")[0] == 0, what="it is ready")
    starting.communicate(timeout=20)


def test_a_node_that_finishes_its_tasks_is_not_to_be_killed(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow")
    nodes.run("stop", "w1")
    nodes.until_state("w1", "stopping")
    assert probe(nodes, "w1")[0] == 0
    assert probe(nodes, "w1", "--ready")[0] == 1


def test_a_node_that_is_stopped_or_killed_is_neither(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    nodes.run("stopwait", "w1")
    assert probe(nodes, "w1")[0] == 1
    keeper, worker = nodes.keeper("w2"), nodes.worker("w2")
    kill(keeper)
    kill(worker)
    code, text = probe(nodes)
    assert code == 1
    assert f"w1@{HOST}: NOT WELL, stopped" in text
    assert f"w2@{HOST}: NOT WELL, crashed" in text


def test_a_worker_whose_loop_does_not_turn_is_found(nodes: Nodes) -> None:
    nodes.project.quickstart()
    nodes.run("start", "w1", "-A", "proj.tasks", "-c", "1")
    assert probe(nodes, "w1", "--max-age", "30s")[0] == 0
    worker = nodes.worker("w1")
    os.kill(worker, signal.SIGSTOP)
    try:
        until(lambda: probe(nodes, "w1", "--max-age=1.5s")[0] == 1, what="the probe sees that it hangs")
        code, text = probe(nodes, "w1", "--ready", "--max-age", "1500ms")
        assert code == 1
        assert "its loop has not turned for" in text
        assert probe(nodes, "w1")[0] == 0, "it is given 90 s unless told otherwise"
    finally:
        os.kill(worker, signal.SIGCONT)
    until(lambda: probe(nodes, "w1", "--max-age", "1.5s")[0] == 0, what="it turns again")


def test_what_it_can_not_answer_it_says(nodes: Nodes) -> None:
    assert probe(nodes) == (1, "no node is known here; name the project's folder or state directory (--state-dir)\n")
    code, text = probe(nodes, "w9")
    assert (code, "no node 'w9'" in text) == (4, True)
    code, text = probe(nodes, "--max-age", "soon")
    assert (code, "--max-age: 'soon' is no span of time" in text) == (2, True)
    assert probe(nodes, "--oops")[0] == 2


def test_it_costs_little_and_loads_neither_click_nor_the_app(nodes: Nodes) -> None:
    nodes.project.quickstart()
    nodes.run("start", "w1", "-A", "proj.tasks", "-c", "1")
    command = [sys.executable, "-X", "importtime", "-m", "multi", "probe", "w1"]
    done = subprocess.run(
        command, cwd=nodes.project.path, env=nodes.project.env, capture_output=True, text=True, check=True, timeout=20
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "multi.controller.glance" in loaded
    assert (
        not {
            "multi.controller.fleet",
            "multi.controller.node",
            "click",
            "proj",
            "msgspec",
            "multi.app",
            "multi.brokers.sqlite",
            "asyncio",
            "subprocess",
        }
        & loaded
    )
    spent = []
    for _ in range(5):
        began = os.times()
        subprocess.run(["multi", "probe", "w1"], cwd=nodes.project.path, env=nodes.project.env, check=True, timeout=20)
        ended = os.times()
        spent.append(ended.children_user + ended.children_system - began.children_user - began.children_system)
    # processor time, which a busy machine stretches little; idle, the whole of it takes less than 60 ms
    assert min(spent) < 0.15, spent


def test_the_quick_look_and_the_close_one_say_the_same(nodes: Nodes) -> None:
    assert set(glance.ALIVE) == {*(life.STARTING, life.RUNNING, life.RELOADING, life.STOPPING, life.BACKOFF), ORPHANED}
    nodes.start("w1")
    state = str(nodes.state)
    quick = glance.glance(state, "w1", ready=True)
    assert quick is not None
    assert quick[1].ok
    assert glance.glance(state, f"w1@{HOST}") is not None
    # names that may be several, or that are none, are left to the close look
    assert glance.glance(state, "w2") is None
    (folder,) = (nodes.state / "run").iterdir()
    shutil.copytree(folder / f"w1@{HOST}", folder / "w1@elsewhere", ignore=lambda *_: ["notify", "control.1"])
    assert glance.glance(state, "w1") is None
    assert probe(nodes, "w1") == (0, f"w1@{HOST}: ok, running: consuming\n")
    kill(nodes.worker("w1"))
    until(lambda: nodes.record("w1")["generation"] == 2, what="another worker is started")
    nodes.until_state("w1", "running")
    assert probe(nodes, f"w1@{HOST}", "--ready")[0] == 0
    kill(nodes.keeper("w1"))
    assert glance.glance(state, f"w1@{HOST}") is None
    code, text = probe(nodes, f"w1@{HOST}")
    assert (code, "orphaned" in text) == (0, True)
