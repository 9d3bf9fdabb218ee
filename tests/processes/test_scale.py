"""`multi scale`: as many nodes as are wanted, the missing ones made after the lowest, the highest stopped first."""

from __future__ import annotations

import sys

import pytest
from support.nodes import FAKE, HOST, Nodes
from support.wait import until


def states(nodes: Nodes, *names: str) -> list[object]:
    return [nodes.record(name).get("state") for name in names]


def test_more_nodes_are_made_after_the_lowest_one_and_the_highest_go_first(nodes: Nodes) -> None:
    nodes.start("w2", "w1", more=("-c", "3", "-l", "INFO", "--logfile", "logs/%n.log", "--env", "COLOUR=blue"))
    first = nodes.worker("w1")
    said = nodes.run("scale", "w=4").stdout
    assert "> w: 2 -> 4" in said
    assert states(nodes, "w1", "w2", "w3", "w4") == ["running"] * 4
    assert nodes.worker("w1") == first
    command = nodes.run("show", "w4").stdout
    assert "-c 3" in command
    assert (nodes.project.path / "logs" / "w4.log").exists()
    said = nodes.run("scale", "w=2").stdout
    assert said.index(f"w4@{HOST}: TERM") < said.index(f"w3@{HOST}: TERM")
    assert states(nodes, "w1", "w2", "w3", "w4") == ["running", "running", "stopped", "stopped"]
    assert nodes.worker("w1") == first


def test_none_keeps_what_they_are_and_one_more_brings_the_first_back(nodes: Nodes) -> None:
    nodes.start("w1", "w2", more=("-c", "3"))
    nodes.run("scale", "w=0")
    assert states(nodes, "w1", "w2") == ["stopped", "stopped"]
    nodes.run("scale", "w=+1")
    assert states(nodes, "w1", "w2") == ["running", "stopped"]
    nodes.run("scale", "w=+1")
    nodes.run("scale", "w=-1")
    assert states(nodes, "w1", "w2") == ["running", "stopped"]
    assert "> w: 1 -> 1, nothing to do" in nodes.run("scale", "w=1").stdout


def test_several_kinds_at_once(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "mail"))
    nodes.start("images1", more=("-Q", "images"))
    nodes.run("scale", "w=2", "images=2")
    assert states(nodes, "w1", "w2", "images1", "images2") == ["running"] * 4
    assert nodes.status("images2")["queues"] == ["images"]
    done = nodes.run("scale", "images=0", code=1)
    assert "the last nodes here to consume from the queue 'images'" in done.stderr
    assert states(nodes, "images1", "images2") == ["running"] * 2
    nodes.run("scale", "images=0", "--force")


def test_what_holds_the_nodes_own_name_holds_the_new_one(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "mail,w1", "-S", "state-w1.db"))
    nodes.run("scale", "w=2")
    assert nodes.status("w2")["queues"] == ["mail", "w2"]
    assert "state-w2.db" in nodes.run("show", "w2").stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("images=2",), 4, "no node images1, images2 … was ever started here"),
        (("w",), 2, "write it as NAME=NUMBER"),
        (("w=2", "w=3"), 2, "w is given twice"),
        (("w=-2",), 2, "w: -1 nodes?"),
        (("w=5000",), 2, "w: 5000 nodes?"),
        ((), 2, "how many of which nodes?"),
    ],
)
def test_wrong_words_are_named_and_nothing_happens(
    nodes: Nodes, words: tuple[str, ...], code: int, message: str
) -> None:
    nodes.start("w1")
    assert message in nodes.run("scale", *words, code=code).stderr
    assert states(nodes, "w1") == ["running"]


def test_a_description_with_another_count_is_named(nodes: Nodes) -> None:
    nodes.project.write("ready.py", "raise SystemExit('imported')\n")
    # an interpreter that answers questions as a real one does
    nodes.python.write_text(
        f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@";; esac\nexec {sys.executable} {FAKE} "$@"\n'
    )
    nodes.project.write(
        "multi.toml",
        f"""
        [defaults]
        app = "ready"
        python = "{nodes.python}"

        [nodes.w]
        count = 2
        """,
    )
    nodes.run("up")
    said = nodes.run("scale", "w=3").stdout
    assert "describes 2 of w: `multi up` goes back to that" in said
    assert states(nodes, "w1", "w2", "w3") == ["running"] * 3
    nodes.run("up")
    assert states(nodes, "w1", "w2", "w3") == ["running", "running", None], "what is described no more is forgotten"


def test_a_described_single_node_is_told_where_its_number_belongs(described: Nodes) -> None:
    path = described.project.write("multi.toml", '[nodes.mid]\ncommand = "sleep 1000"\n')
    said = described.run("scale", "mid=2", code=4).stderr
    assert f"mid is described as a single node; write count = 2 below [nodes.mid] in {path}, and then: multi up" in said
    assert "no node other1, other2 … was ever started here" in described.run("scale", "other=2", code=4).stderr


def test_what_ended_workers_took_is_no_load_of_the_young_one(nodes: Nodes) -> None:
    nodes.run("start", "w1", "--cmd", f"{sys.executable} -c 'while True: pass'", "--ready-after", "0.1")
    until(lambda: nodes.status("w1")["cpu_seconds"] > 2, 20, what="two seconds of work")
    nodes.run("reload", "w1")
    assert nodes.status("w1")["cpu_percent"] < 110
