"""The lines of `multi top` fit every terminal and keep the selected node in view."""

from __future__ import annotations

import pytest

from multi.cli.board import HEAD, NOTE, SELECTED, Seen, cut, help_lines, lines, log_lines, ordered

NODES = [
    Seen(f"w{number}@host", "running", float(number), number << 20, number / 2, number, 42.0, 0, ("celery", "mail"))
    for number in range(1, 41)
]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (40, 10), (10, 3), (1, 1), (80, 100)])
def test_they_fill_the_terminal_and_no_more(width: int, height: int) -> None:
    found = lines(NODES, "w1@host", "node", width, height, clock="12:00:00")
    assert len(found) == min(height, len(found)) <= height
    assert max(len(line.text) for line in found) <= width
    if height >= 6:
        assert len(found) == height


def test_the_selected_node_is_in_view_wherever_it_is() -> None:
    for node in NODES:
        (line,) = [line for line in lines(NODES, node.name, "node", 80, 24) if line.look == SELECTED]
        assert line.text.startswith(f"{node.name} ")


def test_what_a_node_does_is_in_its_line() -> None:
    node = Seen("w1@host", "running (paused)", 12.34, 5 << 20, 3.25, 2, 90.0, 4, ("a", "b"), "w1@host: drift")
    found = lines([node], "w1@host", "node", 120, 24)
    assert found[0].text.startswith("1 of 1 up  2 active  3.2 tasks/s  cpu 12%  5.0 MB  by node")
    assert found[1].look == HEAD
    assert found[1].text.split() == [
        "node",
        "state",
        "cpu",
        "memory",
        "tasks/s",
        "active",
        "oldest",
        "restarts",
        "queues",
    ]
    assert found[2].text.split() == [
        "w1@host",
        "running",
        "(paused)",
        *["12.3%", "5.0", "MB", "3.2", "2", "90", "s", "4", "a,b"],
    ]
    assert [line.text for line in found if line.look == NOTE] == ["w1@host: drift"]


def test_a_node_that_is_down_and_one_of_which_nothing_is_known() -> None:
    found = lines([Seen("w1@host", "stopped", is_up=False), Seen("w2@host", "running")], "w2@host", "node", 100, 24)
    assert found[2].text.split() == ["w1@host", "stopped", *"-------"]
    assert found[3].text.split() == ["w2@host", "running", "0.0%", "0.0", "MB", "-", "-", "-", "0", "-"]


@pytest.mark.parametrize("sort", ["cpu", "memory", "tasks/s", "active"])
def test_the_largest_value_comes_first(sort: str) -> None:
    assert ordered(NODES, sort)[0].name == "w40@host"
    assert ordered(NODES, "node") == NODES


def test_without_nodes_it_is_said_how_to_start_one() -> None:
    assert "multi start w1" in lines([], "", "node", 80, 24)[2].text


def test_nothing_of_a_log_moves_the_cursor() -> None:
    found = log_lines("w1@host", ["one", "two\x1b[2J\ttab"], 20, 5)
    assert [line.text for line in found] == ["The log of w1@host", "one", "two [2J tab", "", "any key: back"]
    assert cut("a long text", 6) == "a lon…"


def test_the_help_names_every_key() -> None:
    text = " ".join(line.text for line in help_lines(100, 40))
    for key in ("s ", "r ", "p ", "+ -", "l ", "? ", "q ", "n c m t a"):
        assert f" {key}" in text
