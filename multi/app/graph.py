"""The tree of results as a graph: who has sent whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TextIO


class Graph:
    """Results, and for each of them those that it depends on: its children."""

    def __init__(self, dependencies: Iterable[tuple[Any, Any]] = ()) -> None:
        self.adjacent: dict[Any, list[Any]] = {}
        for parent, node in dependencies:
            self.adjacent.setdefault(node, [])
            if parent is not None:
                self.adjacent.setdefault(parent, []).append(node)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, node: Any) -> bool:
        return node in self.adjacent

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def items(self) -> Iterable[tuple[Any, list[Any]]]:
        return self.adjacent.items()

    def edges(self) -> list[Any]:
        """The results that others have sent."""
        return [node for below in self.adjacent.values() for node in below]

    def topsort(self) -> list[Any]:
        """All of them, children before their parents."""
        found: dict[Any, None] = {}

        def visit(node: Any) -> None:
            if node not in found:
                for child in self.adjacent[node]:
                    visit(child)
                found[node] = None

        for node in self.adjacent:
            visit(node)
        return list(found)

    def to_dot(self, file: TextIO) -> None:
        """Write the graph for Graphviz."""
        file.write("digraph results {\n")
        for node, below in self.adjacent.items():
            file.write(f'  "{node.id}";\n')
            file.writelines(f'  "{node.id}" -> "{child.id}";\n' for child in below)
        file.write("}\n")

    def __str__(self) -> str:
        return "\n".join(f"{node.id}: {', '.join(child.id for child in below)}" for node, below in self.items())
