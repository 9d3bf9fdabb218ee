"""Queues that are paused stay so, whoever is started again."""

from __future__ import annotations

import os
import signal
from typing import Any

from support.nodes import Nodes, kill
from support.wait import until


def ask(nodes: Nodes, name: str, request: str, queues: str) -> None:
    """The request that `multi pause` makes, without waiting for what a real worker does."""
    program = f"""
        import sys
        from multi.controller.fleet import Fleet
        (node,) = Fleet({str(nodes.project.path)!r}, None, None).known([{name!r}], None)
        sys.exit(not node.ask({request!r}, queues={queues!r}))
    """
    nodes.project.python(program)


def orders(nodes: Nodes, name: str = "w1") -> list[str]:
    return [line.partition("order: ")[2] for line in nodes.log(name).splitlines() if line.startswith("order: ")]


def from_the_start(nodes: Nodes, name: str = "w1") -> list[str]:
    return [
        line.rpartition(": ")[2] for line in nodes.log(name).splitlines() if line.startswith("paused from the start")
    ]


def has(nodes: Nodes, **wanted: Any) -> bool:
    return all(nodes.record("w1").get(key) == value for key, value in wanted.items())


def test_a_worker_is_told_and_the_next_one_knows_it_from_the_start(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.hears", more=("--restart-delay", "0.01"))
    ask(nodes, "w1", "pause", "images,video")
    until(lambda: orders(nodes) == ["pause images,video"], what="the worker was told")
    until(lambda: has(nodes, paused=["images", "video"]), what="it is in the status")
    ask(nodes, "w1", "resume", "video")
    until(lambda: orders(nodes)[1:] == ["resume video"], what="the worker was told")
    assert from_the_start(nodes) == ["''"]
    kill(nodes.worker("w1"))
    until(lambda: from_the_start(nodes) == ["''", "'images'"], what="after a crash")
    nodes.until_state("w1", "running")
    nodes.run("reload", "w1")
    assert from_the_start(nodes)[2:] == ["'images'"], "the next generation"
    nodes.run("restart", "w1")
    assert from_the_start(nodes)[3:] == ["'images'"], "another keeper"
    assert nodes.record("w1")["paused"] == ["images"]
    nodes.run("stopwait", "w1")
    nodes.run("start", "w1")
    assert from_the_start(nodes)[4:] == ["'images'"], "a stop in between"


def test_all_queues_are_paused_and_resumed_together(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.hears")
    ask(nodes, "w1", "pause", "*")
    until(lambda: has(nodes, paused=["*"]), what="all are paused")
    ask(nodes, "w1", "resume", "images")
    until(lambda: "single ones can't be resumed" in nodes.log("w1"), what="refused")
    assert nodes.record("w1")["paused"] == ["*"]
    ask(nodes, "w1", "resume", "*")
    until(lambda: has(nodes, paused=[]), what="all are resumed")
    assert orders(nodes) == ["pause *", "resume *"]
    nodes.run("restart", "w1")
    assert from_the_start(nodes) == ["''", "''"]


def test_what_is_asked_while_a_worker_starts_reaches_it_when_it_is_ready(nodes: Nodes) -> None:
    starting = nodes.popen_start("w1", plan="later.hears")
    nodes.until_state("w1", "starting")
    ask(nodes, "w1", "pause", "images")
    until(lambda: has(nodes, paused=["images"]), what="it is on record")
    nodes.nudge("w1")
    starting.communicate(timeout=30)
    until(lambda: orders(nodes) == ["pause images"], what="told late, but told")


def test_a_new_keeper_knows_what_is_paused(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.hears")
    ask(nodes, "w1", "pause", "images")
    until(lambda: has(nodes, paused=["images"]), what="it is on record")
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    assert nodes.record("w1")["paused"] == ["images"]
    ask(nodes, "w1", "resume", "*")
    until(lambda: orders(nodes) == ["pause images", "resume *"], what="and tells the worker it has adopted")


def test_a_worker_without_an_ear_is_told_by_its_next_start(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.earless")
    ask(nodes, "w1", "pause", "*")
    until(lambda: "takes no request to pause; the next one will know it" in nodes.log("w1"), what="told in the log")
    assert nodes.record("w1")["paused"] == ["*"]


def test_a_storm_of_hups_is_one_reload_and_one_more(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready")
    first = nodes.record("w1")["generation"]
    keeper = nodes.keeper("w1")
    for _ in range(2000):
        os.kill(keeper, signal.SIGHUP)
    until(lambda: "has taken over" in nodes.log("w1"), what="a reload")
    before = nodes.log("w1").count("has taken over")
    os.kill(keeper, signal.SIGHUP)
    until(
        lambda: has(nodes, state="running") and nodes.log("w1").count("has taken over") > before,
        what="it still listens",
    )
    assert nodes.keeper("w1") == keeper
    assert nodes.record("w1")["generation"] - first < 20


def test_old_workers_that_go_on_for_long_do_not_pile_up(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow")
    keeper = nodes.keeper("w1")
    for number in range(1, 4):
        os.kill(keeper, signal.SIGHUP)
        until(
            lambda wanted=number + 1: has(nodes, state="running") and len(nodes.record("w1")["workers"]) == wanted,  # type: ignore[misc]
            what="one more is finishing",
        )
    os.kill(keeper, signal.SIGHUP)
    os.kill(keeper, signal.SIGHUP)
    # answered in order, so the signals before it have been heard
    ask(nodes, "w1", "pause", "images")
    until(lambda: has(nodes, paused=["images"]), what="the keeper has come so far")
    assert len(nodes.record("w1")["workers"]) == 4
    oldest = nodes.record("w1")["workers"][0]["pid"]
    os.kill(oldest, signal.SIGUSR1)
    until(lambda: nodes.log("w1").count("has taken over") == 4, what="the reload goes on when one has finished")
    assert oldest not in [one["pid"] for one in nodes.record("w1")["workers"]]
    for one in nodes.record("w1")["workers"]:
        if one["role"] == "outgoing":
            os.kill(one["pid"], signal.SIGUSR1)
    nodes.run("kill", "w1", code=None)
