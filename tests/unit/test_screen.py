"""What the commands print."""

from __future__ import annotations

from multi.cli.screen import Screen, cells_of


def test_columns_are_as_wide_as_a_terminal_shows_them() -> None:
    rows = [["名字@vm", "1"], ["e\u0301t@vm", "22"], ["w1@vm", "333"]]
    assert Screen(color=False).rows(["node", "n"], rows, (1,)) == [
        "node       n",
        "名字@vm    1",
        "e\u0301t@vm     22",
        "w1@vm    333",
    ]
    assert {cells_of(line) for line in Screen(color=False).rows(["node", "n"], rows, (1,))} == {12}
