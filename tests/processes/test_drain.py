"""What a command tells while nodes finish what they run: in tasks, live on a terminal, now and then elsewhere."""

from __future__ import annotations

import re

from support.nodes import HOST, Nodes
from support.terminal import Terminal

DRAINING = r"draining: 1 active, oldest \d+ s \(proj\.tasks\.resize\)"


def test_a_stopwait_in_a_pipe_tells_what_the_node_still_runs_once(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy.slow")
    waiting = nodes.project.popen("stopwait", "w1")
    nodes.until_state("w1", "stopping")
    assert waiting.stdout is not None
    lines = [waiting.stdout.readline() for _ in range(5)]
    assert re.fullmatch(f"    > w1@{HOST}: {DRAINING}\n", lines[4]), lines
    nodes.nudge("w1")
    out, err = waiting.communicate(timeout=30)
    assert out == f"    > w1@{HOST}: DOWN\n"
    assert err == ""


def test_a_stop_that_takes_no_second_says_nothing_of_it(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy")
    assert "draining" not in nodes.run("stopwait", "w1").stdout


def test_on_a_terminal_one_line_tells_how_far_all_nodes_are_and_leaves_nothing_behind(nodes: Nodes) -> None:
    nodes.start("w1", "w2", plan="ready.busy.slow")
    with Terminal(nodes.project, "stopwait", "w1", "w2", columns=140) as terminal:
        text = terminal.until("0/2 down")
        assert re.search(rf"\[\.+\] 0/2 down  w1 {DRAINING} · w2 {DRAINING}", text), text
        nodes.nudge("w2")
        text = terminal.until("1/2 down")
        assert re.search(rf"\[#+\.+\] 1/2 down  w1 {DRAINING}$", text, re.MULTILINE), text
        nodes.nudge("w1")
        assert terminal.end() == 0
        assert [line.strip() for line in terminal.lines if line][-2:] == [
            f"> w2@{HOST}: DOWN",
            f"> w1@{HOST}: DOWN",
        ]


def test_a_narrow_terminal_cuts_the_line(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy.slow")
    with Terminal(nodes.project, "stopwait", "w1", columns=40) as terminal:
        text = terminal.until("0/1 down")
        assert next(line for line in text.splitlines() if line.startswith("[")).endswith("…")
        nodes.nudge("w1")
        assert terminal.end() == 0


def test_restart_tells_the_same(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy.slow")
    restarting = nodes.project.popen("restart", "w1")
    nodes.until_state("w1", "stopping")
    assert restarting.stdout is not None
    lines = [restarting.stdout.readline() for _ in range(5)]
    assert re.fullmatch(f"    > w1@{HOST}: {DRAINING}\n", lines[4]), lines
    nodes.nudge("w1")
    out, _ = restarting.communicate(timeout=30)
    assert f"> Restarting node w1@{HOST}: OK" in out
    assert restarting.returncode == 0


def test_a_start_that_takes_its_time_tells_how_many_are_ready(nodes: Nodes) -> None:
    words = ("start", "w1", "w2", "-A", "later", "--executable", str(nodes.python))
    with Terminal(nodes.project, *words, columns=120) as terminal:
        terminal.until("0/2 ready  w1 starting · w2 starting")
        nodes.nudge("w2")
        terminal.until("1/2 ready  w1 starting")
        nodes.nudge("w1")
        assert terminal.end() == 0
        assert "ready  w" not in terminal.text
