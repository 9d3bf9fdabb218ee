"""The lines that `multi top` shows: pure, from what was seen of the nodes to texts that fit the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from multi.cli.progress import span
from multi.cli.screen import size

HEAD, ROW, SELECTED, NOTE, PLAIN = "head", "row", "selected", "note", "plain"
GOOD, BAD = "good", "bad"
_COLUMNS = ("node", "state", "cpu", "memory", "tasks/s", "active", "oldest", "restarts", "queues")
_RIGHT = (2, 3, 4, 5, 6, 7)
KEYS = (
    ("up, down", "select a node"),
    ("s", "stop it, when what it runs is done (asks first)"),
    ("r", "restart it, load new code without a gap, or restart all in turn"),
    ("p", "stop consuming, or take it up again"),
    ("+ -", "one node of its kind more or fewer"),
    ("l", "the last lines of its log"),
    ("n c m t a", "sort by node, cpu, memory, tasks per second, active tasks"),
    ("?", "this help"),
    ("q", "quit; nodes and what was asked for go on"),
)


class Seen(NamedTuple):
    """What is shown of one node."""

    name: str
    state: str
    cpu: float = 0.0
    memory: int = 0
    rate: float | None = None
    active: int | None = None
    oldest: float | None = None
    restarts: int = 0
    queues: tuple[str, ...] = ()
    note: str = ""
    is_up: bool = True


class Line(NamedTuple):
    """One line, and how it looks."""

    text: str
    look: str = PLAIN


_SORTS: dict[str, Callable[[Seen], Any]] = {
    "node": lambda seen: 0,  # as they come: in their natural order
    "cpu": lambda seen: -seen.cpu,
    "memory": lambda seen: -seen.memory,
    "tasks/s": lambda seen: -(seen.rate or 0.0),
    "active": lambda seen: -(seen.active or 0),
}


def ordered(nodes: Sequence[Seen], sort: str) -> list[Seen]:
    """The nodes, the largest value first; equal ones stay as they are."""
    return sorted(nodes, key=_SORTS[sort])


def lines(
    nodes: Sequence[Seen], selected: str, sort: str, width: int, height: int, *, clock: str = "", footer: str = ""
) -> list[Line]:
    """Exactly `height` lines of at most `width`: a summary, the table with the selected node in view, a note, a footer."""
    up = sum(node.is_up for node in nodes)
    total = sum(node.active or 0 for node in nodes)
    rate = sum(node.rate or 0.0 for node in nodes)
    cpu = sum(node.cpu for node in nodes)
    memory = size(sum(node.memory for node in nodes))
    summary = f"{up} of {len(nodes)} up  {total} active  {rate:.1f} tasks/s  cpu {cpu:.0f}%  {memory}"
    top = [Line(f"{summary}  by {sort}  {clock}".rstrip())]
    table = [_cells(node) for node in nodes]
    widths = [max(len(row[column]) for row in [list(_COLUMNS), *table]) for column in range(len(_COLUMNS))]
    if (most := max(8, width - sum(widths[1:-1]) - 2 * (len(widths) - 1) - 8)) < widths[0]:
        widths[0] = most
    top.append(Line(_joined(list(_COLUMNS), widths), HEAD))
    room = max(1, height - len(top) - 2)
    names = [node.name for node in nodes]
    at = names.index(selected) if selected in names else 0
    first = max(0, min(at - room // 2, len(nodes) - room))
    body = [
        Line(_joined(row, widths), SELECTED if names[number] == selected else ROW)
        for number, row in [*enumerate(table)][first : first + room]
    ]
    if not nodes:
        body = [Line("No nodes are known here. Start one: multi start w1 -A proj -l INFO")]
    body += [Line("")] * (room - len(body))
    note = nodes[at].note if nodes else ""
    found = [
        *top,
        *body,
        Line(note, NOTE),
        Line(footer or "q quit  ? help  s stop  r restart  p pause  + - scale  l log"),
    ]
    return [Line(cut(line.text, width), line.look) for line in found[:height]]


def help_lines(width: int, height: int) -> list[Line]:
    """What the keys do."""
    found = [
        Line("Keys", HEAD),
        *(Line(f"  {key:<12} {meaning}") for key, meaning in KEYS),
        Line(""),
        Line("any key: back"),
    ]
    return [Line(cut(line.text, width), line.look) for line in found[:height]]


def log_lines(name: str, text: Sequence[str], width: int, height: int) -> list[Line]:
    """The last lines of a node's log."""
    room = max(1, height - 2)
    body = [Line(line) for line in list(text)[-room:]] or [Line("(nothing)")]
    found = [Line(f"The log of {name}", HEAD), *body, *[Line("")] * (room - len(body)), Line("any key: back")]
    return [Line(cut(line.text, width), line.look) for line in found[:height]]


def cut(text: str, width: int) -> str:
    """A text that fits, without what would move the cursor."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= width else plain[: max(0, width - 1)] + "…" * (width > 0)


def _cells(node: Seen) -> list[str]:
    if not node.is_up:
        return [node.name, node.state, *["-"] * (len(_COLUMNS) - 2)]
    return [
        node.name,
        node.state,
        f"{node.cpu:.1f}%",
        size(node.memory),
        "-" if node.rate is None else f"{node.rate:.1f}",
        "-" if node.active is None else str(node.active),
        "-" if node.oldest is None else span(node.oldest),
        str(node.restarts),
        ",".join(node.queues) or "-",
    ]


def _joined(cells: list[str], widths: list[int]) -> str:
    return "  ".join(
        cell.rjust(width) if column in _RIGHT else cut(cell, width).ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()
