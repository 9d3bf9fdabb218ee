"""What is shown of starts that have failed."""

from __future__ import annotations

from typing import Any, cast

import pytest

from multi.cli.screen import Screen
from multi.cli.start import show_lines
from multi.controller.node import Node
from multi.controller.start import Result
from multi.nodes.names import NodeName


class Named:
    """All that is asked of a node here."""

    def __init__(self, short: str) -> None:
        self.name = NodeName(short, "here")

    def __str__(self) -> str:
        return str(self.name)


def failed(short: str, *lines: str) -> Result:
    return Result(cast(Node, cast(Any, Named(short))), "failed", lines=lines, log_file=f"{short}.log")


def test_lines_that_differ_from_another_nodes_in_names_and_numbers_only_are_shown_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen()
    show_lines(screen, failed("w1", "w1@here (pid 17) cannot live"))
    show_lines(screen, failed("w2", "w2@here (pid 23) cannot live"))
    show_lines(screen, failed("w3", "w3@here (pid 23) will not live"))
    assert capsys.readouterr().err.splitlines() == [
        "The last lines of w1.log:",
        "    w1@here (pid 17) cannot live",
        "The last lines of w2.log are like those of w1@here",
        "The last lines of w3.log:",
        "    w3@here (pid 23) will not live",
    ]


def test_the_keepers_lines_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_lines(Screen(), failed("w1", "[12:00:00: INFO/Keeper] w1@here: starting"))
    assert capsys.readouterr().err == ""
