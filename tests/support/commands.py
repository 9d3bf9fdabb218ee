"""A folder with a description in which commands of `multi` are run, in this process."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from multi.cli.group import run


class Said(NamedTuple):
    """What a command has said."""

    stdout: str
    stderr: str
    returncode: int


class Shop:
    """The folder."""

    def __init__(self, path: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capture = capture

    def describe(self, text: str) -> None:
        (self.path / "multi.toml").write_text(textwrap.dedent(text))

    def multi(self, *words: str, code: int | None = 0) -> Said:
        self._capture.readouterr()
        done = run([*words])
        out, err = self._capture.readouterr()
        assert code in (None, done), err
        return Said(out, err, done)
