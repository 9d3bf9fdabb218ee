"""Pausing: a node stops consuming and keeps its processes, until it is resumed, over restarts and crashes."""

from __future__ import annotations

import json
import time
from typing import Any

from support.nodes import HOST, Nodes, kill
from support.wait import until


def status(nodes: Nodes, name: str) -> dict[str, Any]:
    (found,) = json.loads(nodes.run("status", name, "--json", code=None).stdout)
    assert isinstance(found, dict)
    return found


def test_a_paused_node_consumes_nothing_with_the_same_processes_until_it_is_resumed(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "a,b"))
    worker = nodes.worker("w1")
    said = nodes.run("pause", "w1").stdout
    assert said.splitlines()[1:] == ["> Pausing nodes...", f"    > w1@{HOST}: OK, paused"]
    assert status(nodes, "w1")["queues"] == []
    assert status(nodes, "w1")["paused"] == ["*"]
    assert "running (paused)" in nodes.run("status", "w1").stdout
    said = nodes.run("resume", "w1").stdout
    assert f"w1@{HOST}: OK, consumes from a, b" in said
    assert status(nodes, "w1")["queues"] == ["a", "b"]
    assert status(nodes, "w1")["paused"] == []
    assert nodes.worker("w1") == worker


def test_one_queue_is_paused_wherever_it_is_consumed(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "images,mail"))
    nodes.start("w2", more=("-Q", "images"))
    nodes.start("w3", more=("-Q", "mail"))
    said = nodes.run("pause", "-Q", "images").stdout
    assert "w1@" in said
    assert "w2@" in said
    assert "w3@" not in said
    assert [status(nodes, name)["queues"] for name in ("w1", "w2", "w3")] == [["mail"], [], ["mail"]]
    assert "paused: images" in nodes.run("status").stdout
    nodes.run("resume", "-Q", "images")
    assert [status(nodes, name)["queues"] for name in ("w1", "w2")] == [["images", "mail"], ["images"]]


def test_a_pause_lasts_over_a_restart_a_crash_and_a_stop(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("-Q", "a", "--restart-delay", "0"))
    nodes.run("pause", "w1")
    nodes.run("restart", "w1")
    assert status(nodes, "w1")["queues"] == []
    worker = nodes.worker("w1")
    kill(worker)
    until(lambda: nodes.record("w1")["state"] == "running" and nodes.worker("w1") != worker, what="it runs again")
    assert status(nodes, "w1")["queues"] == []
    nodes.run("stopwait", "w1")
    nodes.run("start", "w1")
    assert status(nodes, "w1")["queues"] == []
    assert "running (paused)" in nodes.run("status", "w1").stdout
    nodes.run("resume", "w1")
    assert status(nodes, "w1")["queues"] == ["a"]


def test_only_what_runs_is_paused_and_only_what_is_consumed(nodes: Nodes) -> None:
    nodes.start("w1", "w2", more=("-Q", "a"))
    nodes.run("stopwait", "w2")
    done = nodes.run("pause", "w2", code=1)
    assert f"w2@{HOST} is stopped; only a node that runs is paused" in done.stderr
    done = nodes.run("pause", "w1", "-Q", "nothing-like-it", code=1)
    assert f"w1@{HOST} does not consume from nothing-like-it; it consumes from a" in done.stderr
    done = nodes.run("pause", "-Q", "nothing-like-it", code=1)
    assert "no running node here consumes from nothing-like-it; consumed are a" in done.stderr
    nodes.run("pause", "--all")
    assert status(nodes, "w1")["queues"] == []
    assert "OK, paused" in nodes.run("pause", "w1").stdout


def test_a_node_without_a_page_was_asked_and_a_command_has_no_queues(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.blind")
    assert "asked; it tells nothing of its queues" in nodes.run("pause", "w1").stdout
    assert "running (paused)" in nodes.run("status", "w1").stdout
    nodes.run("start", "c1", "--cmd", "sleep 600")
    done = nodes.run("pause", "c1", code=1)
    assert f"c1@{HOST} is a command, which consumes from no queue" in done.stderr


def test_the_last_consumer_of_a_queue_is_paused_only_by_force_while_others_go_on(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "images"))
    nodes.start("w2", more=("-Q", "mail"))
    done = nodes.run("pause", "w1", code=1)
    assert f"w1@{HOST} is the last node here to consume from the queue 'images', while w2 stays up" in done.stderr
    assert status(nodes, "w1")["queues"] == ["images"]
    nodes.run("pause", "w1", "--force")
    assert status(nodes, "w1")["queues"] == []


def test_of_nodes_that_are_paused_as_a_whole_single_queues_are_not_resumed_but_of_the_others_they_are(
    nodes: Nodes,
) -> None:
    nodes.start("w1", "w2", more=("-Q", "a,b"))
    nodes.run("pause", "w1", "-Q", "a")
    nodes.run("pause", "w2", "--force")
    done = nodes.run("resume", "-Q", "a", code=1)
    assert f"w1@{HOST}: OK, consumes from a, b" in done.stdout
    assert f"all queues of w2@{HOST} are paused" in done.stderr
    assert (status(nodes, "w1")["queues"], status(nodes, "w2")["queues"]) == (["a", "b"], [])


def test_a_keeper_of_an_older_version_is_told_at_once(nodes: Nodes) -> None:
    nodes.start("w1")
    path = nodes.folder("w1") / "status.json"
    record = json.loads(path.read_text())
    del record["paused"]  # versions that knew no pause wrote none
    path.write_text(json.dumps(record))
    begun = time.monotonic()
    for verb in ("pause", "resume"):
        done = nodes.run(verb, "w1", code=1)
        assert f"w1@{HOST}: not {verb}d: its keeper was started by an older version of multi" in done.stderr
        assert "multi restart w1" in done.stderr
    assert time.monotonic() - begun < 8, "nobody waits for what can't come"
    nodes.run("restart", "w1")
    nodes.run("pause", "w1")


def test_a_worker_that_takes_no_orders_is_told_at_once_and_paused_by_a_reload(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready earless\n")
    nodes.start("w1", plan="file")
    done = nodes.run("pause", "w1", code=1)
    assert f"w1@{HOST}: not paused yet: its worker takes no such request" in done.stderr
    assert "multi reload w1" in done.stderr
    nodes.project.write("plan", "ready\n")
    nodes.run("reload", "w1")
    assert status(nodes, "w1")["queues"] == []


def test_what_is_not_paused_is_not_resumed_and_nothing_of_that_is_on_record(nodes: Nodes) -> None:
    nodes.start("w1", "w2", more=("-Q", "a,b"))
    nodes.run("pause", "w2")
    said = nodes.run("resume", "--all").stdout
    assert f"w1@{HOST}: not paused" in said
    assert f"w2@{HOST}: OK, consumes from a, b" in said
    assert f"w1@{HOST}: a not paused" in nodes.run("resume", "w1", "-Q", "a").stdout
    assert "consuming" not in nodes.run("why", "w1").stdout
    assert "took up consuming" in nodes.run("why", "w2").stdout
