"""What is wrong with a description: each thing with its file, line and key, and all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from multi.errors import ConfigurationError
from multi.nodes.description.positions import Path
from multi.urls import mask

ERROR, WARNING = "error", "warning"


class Problem(NamedTuple):
    """One thing that is wrong. `line` is 0 where it belongs to no line."""

    file: str
    line: int
    key: str
    text: str
    level: str = ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"

    def as_json(self) -> dict[str, Any]:
        return {"level": self.level, "file": self.file, "line": self.line, "key": self.key, "message": self.text}


class DescriptionError(ConfigurationError):
    """A description can't be used; `problems` are all the reasons."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        head = "the description has an error:" if count == 1 else f"the description has {count} errors:"
        super().__init__("\n    ".join([head, *map(str, self.problems)]))


class Report:
    """Collects problems while a description is read."""

    def __init__(self, file: str, lines: dict[Path, int], prefix: Path = ()) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.broken: set[Path] = set()  # where there are errors
        self._lines = lines
        self._prefix = prefix

    def add(self, path: Path, text: str, level: str = ERROR) -> None:
        """Note that something is wrong at `path`; its line is that of the nearest thing that has one."""
        if level == ERROR:
            self.broken.add(path)
        self.problems.append(self.problem(path, text, level))

    def problem(self, path: Path, text: str, level: str = ERROR) -> Problem:
        """A problem at `path`, without noting it."""
        return Problem(self.file, self.line(path), dotted(path), text, level)

    def has(self, path: Path) -> bool:
        """Whether the file has something at just this path."""
        return self._prefix + path in self._lines

    def expected(self, path: Path, what: str, value: object, *, secret: bool = False) -> None:
        """Note that `value` is not what belongs there."""
        self.add(path, f"expected {what}, not {_kind_of(value) if secret else shown(value)}")

    def line(self, path: Path) -> int:
        """The line of `path`, or of the innermost thing around it that has one."""
        full = self._prefix + path
        while full:
            if full in self._lines:
                return self._lines[full]
            full = full[:-1]
        return 0


def dotted(path: Path) -> str:
    """A key as one would write it: nodes.w.queues[0]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object) -> str:
    """A value as it would stand in the file, shortened, without passwords."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = mask(value)
        return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'
    if isinstance(value, dict | list):
        return _kind_of(value)
    return str(value)


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return {str: "a text", int: "a number", float: "a number"}.get(type(value), f"a {type(value).__name__}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing where no known name is near."""
    import difflib

    near = difflib.get_close_matches(name.replace("-", "_").lower(), list(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""
