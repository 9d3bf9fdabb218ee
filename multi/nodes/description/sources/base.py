"""What comes out of another tool's file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Reads the files that a pattern names (path, text); a file that isn't there is none.
Files = Callable[[str], list[tuple[str, str]]]


class Found:
    """One node. `old` is the command line that the other tool runs; `became` says which of it became keys."""

    def __init__(self, name: str, old: list[str] | None = None) -> None:
        self.name = name
        self.old = old or []
        self.values: dict[str, Any] = {}
        self.became: list[str] = []
        self.left: list[str] = []

    def set(self, key: str, value: Any, what: str = "") -> None:
        """Give it a value; `what` is where that comes from. A key with a dot is one in a table."""
        table, dot, entry = key.partition(".")
        if dot:
            self.values[table] = {**self.values.get(table, {}), entry: value}
        else:
            self.values[key] = value
        if what and what != key:
            self.became.append(f"{what} -> {key}")


class Imported:
    """What a file describes. `left` is what was not carried over, `notes` what one should know."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.nodes: list[Found] = []
        self.left: list[str] = []
        self.notes: list[str] = []

    def add(self, node: Found) -> None:
        """Add a node under a name that is free."""
        taken = {one.name for one in self.nodes}
        base, number = node.name, 2
        while node.name in taken:
            node.name = f"{base}-{number}"
            number += 1
        if node.name != base:
            self.notes.append(f"there are several nodes {base}; one of them is {node.name} now")
        self.nodes.append(node)
