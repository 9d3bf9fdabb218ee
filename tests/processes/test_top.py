"""`multi top` on a terminal: what is seen there, and what its keys do."""

from __future__ import annotations

import re

from support.nodes import HOST, Nodes
from support.terminal import Terminal
from support.wait import until


def test_nodes_are_seen_and_steered_by_keys(nodes: Nodes) -> None:
    nodes.start("w1", "w2", plan="ready.busy")
    before = nodes.worker("w1")
    with Terminal(nodes.project, "top", "--delay", "0.2") as top:
        text = top.until(f"w2@{HOST}")
        assert "2 of 2 up  2 active" in text
        top.press("p")
        top.until(f"multi pause w1@{HOST}: OK")
        top.until("running (paused)")
        top.press("p")
        top.until_gone("running (paused)")
        top.press("r")
        top.until("l load new code without a gap")
        top.press("l")
        top.until(f"multi reload w1@{HOST}: OK")
        assert nodes.worker("w1") != before
        top.press("\x1bOB")  # down: the second one
        top.press("s")
        top.until(f"Stop w2@{HOST} when what it runs is done? y/n")
        top.press("n")
        top.until_gone("Stop w2")
        assert nodes.record("w2")["state"] == "running"
        top.press("s")
        top.until("y/n")
        top.press("y")
        top.until(f"multi stopwait w2@{HOST}: OK")
        top.until("1 of 2 up")
        top.press("+")
        top.until("multi scale w=+1: OK")
        top.until("2 of 2 up")
        top.press("q")
        assert top.end() == 0
    assert nodes.record("w1")["state"] == "running"


def test_log_help_sizes_and_a_terminal_without_colours(nodes: Nodes) -> None:
    nodes.start("w1")
    with Terminal(nodes.project, "top", "--delay", "0.2", TERM="vt100", NO_COLOR="1") as top:
        top.until(f"w1@{HOST}")
        top.press("l")
        assert "fake worker" in top.until(f"The log of w1@{HOST}")
        top.press(" ")
        top.until_gone("The log of")
        top.press("?")
        top.until("select a node")
        top.press(" ")
        top.resize(8, 40)
        top.until_gone("select a node")
        top.until("w1@")
        top.resize(30, 100)
        until(lambda: top.lines[-1].startswith("q quit"), what=f"it fills the larger terminal:\n{top.text}")
        assert not re.search(rb"\x1b\[[0-9;]*[34][0-7]m", top.seen)
        top.press("\x03")
        assert top.end() == 0


def test_an_action_that_is_refused_says_why(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "images"))
    nodes.start("w2", more=("-Q", "mail"))
    with Terminal(nodes.project, "top", "--delay", "0.2", columns=160) as top:
        top.until(f"w2@{HOST}")
        top.press("s")
        top.until("y/n")
        top.press("y")
        top.until(f"multi stopwait w1@{HOST}: exit code 1: refused: w1@{HOST} is the last node here")
        top.press("q")
        assert top.end() == 0
    assert nodes.record("w1")["state"] == "running"


def test_without_a_terminal_it_is_a_table_and_a_hint(nodes: Nodes) -> None:
    nodes.start("w1")
    done = nodes.run("top")
    assert f"w1@{HOST}" in done.stdout
    assert "multi status --watch" in done.stderr


def test_names_of_other_scripts_are_seen_where_the_locale_is_c(nodes: Nodes) -> None:
    nodes.start("工1")
    with Terminal(nodes.project, "top", "--delay", "0.2", LC_ALL="C") as top:
        top.until(f"1@{HOST}")
        assert "工".encode() in top.seen
        top.press("q")
        assert top.end() == 0
