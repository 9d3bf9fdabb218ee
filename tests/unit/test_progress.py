"""What is told of nodes on their way, where nobody looks at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from multi.cli import progress
from multi.cli.progress import Item, Progress, draining
from multi.cli.screen import Screen
from multi.controller.node import Node
from multi.controller.places import Places
from multi.controller.project import Project
from multi.nodes.names import NodeName


@pytest.fixture
def node(tmp_path: Path) -> Node:
    places = Places(*(str(tmp_path / name) for name in ("nodes", "run", "log")))
    found = Node(NodeName("w1", "h"), places.node(Project("p", str(tmp_path)), "w1@h"))
    for folder in (found.place.kept, found.place.run):
        Path(folder).mkdir(parents=True)
    return found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Progress:
    monkeypatch.setattr(progress, "QUIET", 0.0)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    return Progress(Screen(quiet=False, color=False), 1, "down")


def test_of_a_node_that_is_down_at_this_very_moment_nothing_is_said(
    node: Node, told: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    told.show([Item(node, "draining: 1 active", "1")])
    told.show([draining(node)])
    assert capsys.readouterr().out == "    > w1@h: draining: 1 active\n"


def test_the_same_is_told_once_and_again_when_something_else_was_told_of_the_node(
    node: Node, told: Progress, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        told.show([Item(node, "waiting: 1 active", "1")])
    monkeypatch.undo()
    monkeypatch.setattr(progress, "QUIET", 0.0)  # but not the pause between two lines
    told.forget(node)
    told.show([Item(node, "draining: 1 active", "1")])
    told.show([Item(node, "draining: 2 active", "2")])
    assert capsys.readouterr().out == "    > w1@h: waiting: 1 active\n    > w1@h: draining: 1 active\n"
