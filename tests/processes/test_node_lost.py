"""A node whose keeper and worker were killed together: the next who looks puts its end on record."""

from __future__ import annotations

import json
import os
from pathlib import Path

from support.nodes import HOST, Nodes, kill
from support.wait import until


def why(nodes: Nodes, name: str = "w1") -> str:
    return nodes.run("why", name, "--lines", "0").stdout


def kill_both(nodes: Nodes, name: str = "w1") -> tuple[int, int]:
    keeper, worker = nodes.keeper(name), nodes.worker(name)
    kill(keeper)
    kill(worker)
    return keeper, worker


def test_why_tells_an_end_that_nobody_saw_with_what_ran(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy")
    keeper, worker = kill_both(nodes)
    nodes.run("start", "w1")
    lines = why(nodes).splitlines()
    head, lost = [line for line in lines if "found gone" in line]
    assert lines[1] == head, "the present state says what was before"
    assert head.endswith(" s ago)")
    assert f"its keeper (pid {keeper}) and its worker (pid {worker}) were found gone, and nobody saw how" in lost
    assert "; the last that is on record is of " in lost
    assert ": running; it was running proj.tasks.resize[the-id]" in lost
    assert lines.index(lost) < next(number for number, line in enumerate(lines) if "generation 2 was started" in line)
    found = json.loads(nodes.run("why", "w1", "--json").stdout)[0]
    assert [event["event"] for event in found["events"]].count("lost") == 1


def test_a_stop_of_such_a_node_is_its_users_and_not_an_earlier_commands(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("restart", "w1")
    kill_both(nodes)
    nodes.run("stop", "w1")
    told = why(nodes)
    assert "found gone" in told
    first = told.splitlines()[0]
    assert first.startswith(f"w1@{HOST} - stopped: it has been stopped for")
    assert first.endswith("multi stop w1")
    assert "it was gone, and was told to stay down, by" in told


def test_a_worker_that_ended_while_it_had_no_keeper_is_told_in_its_own_words(nodes: Nodes) -> None:
    nodes.start("w1")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    kill(keeper)
    os.kill(worker, 15)
    until(lambda: not Path(f"/proc/{worker}").exists(), what="it has ended")
    nodes.run("start", "w1")
    assert f"its keeper (pid {keeper}) was gone without a word, and the worker (pid {worker}) has ended: " in why(nodes)
    assert "exit status 0 (SIGTERM)" in why(nodes)


def test_a_restart_of_the_machine_is_told_as_one(nodes: Nodes) -> None:
    nodes.start("w1")
    kill_both(nodes)
    path = nodes.folder("w1") / "status.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "boot": "another", "keeper": {**record["keeper"], "boot": "another"}}))
    nodes.run("start", "w1")
    assert "went with the machine, which was restarted" in why(nodes)


def test_an_end_of_which_the_runtime_directory_knows_nothing_any_more_is_told_too(nodes: Nodes) -> None:
    nodes.start("w1")
    _, worker = kill_both(nodes)
    for name in ("status.json", "stats.1"):
        (nodes.folder("w1") / name).unlink()  # as when it was on a tmpfs
    nodes.run("start", "w1")
    assert f"generation 1 (pid {worker}) has gone meanwhile, and its end is on no record" in why(nodes)


def test_an_end_that_was_seen_is_told_once(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart-delay", "0.05"))
    nodes.nudge("w1")
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="again")
    nodes.run("reload", "w1")
    nodes.run("restart", "w1")
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    nodes.run("stopwait", "w1")
    nodes.run("start", "w1")
    told = why(nodes)
    assert "gone meanwhile" not in told
    assert "found gone" not in told


def test_a_keeper_that_could_not_begin_leaves_the_end_before_it_on_record(nodes: Nodes) -> None:
    nodes.start("w1")
    kill_both(nodes)
    log = next(nodes.state.glob(f"log/*/w1@{HOST}.log"))
    log.unlink()
    log.mkdir()
    nodes.run("start", "w1", code=1)
    log.rmdir()
    nodes.run("start", "w1")
    assert "found gone" in why(nodes)
