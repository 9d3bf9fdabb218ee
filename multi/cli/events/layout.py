"""The lines of the live view: pure, from rows to texts that fit the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from multi.cli.board import HEAD, NOTE, PLAIN, SELECTED, Line
from multi.cli.events.rows import TASK_HEAD, TASK_RIGHT, WORKER_HEAD, WORKER_RIGHT, Row
from multi.cli.screen import cells_of

TASKS, WORKERS = "tasks", "workers"
FOOTER = "q quit  ? help  tab tasks/workers  enter details  / filter  space pause  c revoke  x terminate  l rate limit"
KEYS = (
    ("tab", "go to the workers, or back to the tasks"),
    ("up down j k", "select; also page up and down, home (follow the newest) and end"),
    ("enter i", "details: arguments, result, traceback, times"),
    ("r t", "details, from the result or the traceback on"),
    ("/", "filter: task:NAME worker:NAME state:STATE id:ID text !without a,b; escape: all again"),
    ("space p", "pause what is shown; what comes meanwhile is not lost"),
    ("s", "order by latest event, running first, longest runtime"),
    ("c", "revoke the task (asks first)"),
    ("x", "terminate the task: end the process that runs it (asks first)"),
    ("l", "rate limit for tasks of this name (asks for it)"),
    ("e d", "have all workers send events of tasks, or no longer"),
    ("?", "this help"),
    ("q", "quit"),
)
_SHORT_ID = 8
_FEW = 12  # lines of a terminal on which only one of the tables is shown


class Table(NamedTuple):
    """What is listed, and where the selected one is; `row` makes a row of those that are seen."""

    items: Sequence[Any]
    at: int = 0
    row: Callable[[Any], Row] = lambda item: item


def screen(
    summary: str,
    tasks: Table,
    workers: Table,
    width: int,
    height: int,
    *,
    focus: str = TASKS,
    empty: str = "",
    note: str = "",
    footer: str = "",
) -> list[Line]:
    """Exactly `height` lines of at most `width` columns."""
    room = height - 3  # summary, note, footer
    body: list[Line] = []
    if height >= _FEW:
        some = max(2, min(len(workers.items) + 1, room // 2 if focus == WORKERS else room // 3))
        body += [*_workers(workers, width, some, focus == WORKERS), Line("")]
        room -= some + 1
    if height >= _FEW or focus == TASKS:
        body += _tasks(tasks, width, room, focus == TASKS, empty)
    else:
        body += _workers(workers, width, room, True)
    lines = [Line(summary), *body, Line(note, NOTE), Line(footer or FOOTER)]
    return [Line(fit(line.text, width), line.look) for line in lines[:height]]


def page(title: str, lines: Sequence[Line], first: int, width: int, height: int, footer: str) -> list[Line]:
    """A page of text in place of the tables, from its line `first` on."""
    room = max(1, height - 2)
    body = [*lines[first : first + room]]
    more = f"  ({first + 1}-{first + len(body)} of {len(lines)})" if len(lines) > room else ""
    found = [Line(title + more, HEAD), *body, *[Line("")] * (room - len(body)), Line(footer)]
    return [Line(fit(line.text, width), line.look) for line in found[:height]]


def details(found: Sequence[tuple[str, str]], width: int) -> list[Line]:
    """Names and values, wrapped."""
    indent = max((len(name) for name, _ in found), default=0) + 2
    room = max(10, width - indent)
    lines = []
    for name, value in found:
        for number, part in enumerate(part for text in value.split("\n") for part in wrapped(text, room)):
            lines.append(Line(f"{'' if number else name:<{indent}}{part}"))
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """The text in pieces that fit; at least one."""
    text = _plain(text)
    if text.isascii():
        return [text[start : start + width] for start in range(0, len(text), width)] or [""]
    pieces, piece, used = [], "", 0
    for sign in text:
        cells = cells_of(sign)
        if used + cells > width:
            pieces.append(piece)
            piece, used = "", 0
        piece += sign
        used += cells
    return [*pieces, piece]


def task_widths(rows: Sequence[Row], width: int) -> list[int]:
    """How wide the columns of tasks are: names share what others leave, and ids are whole where there is room for it."""
    widths = _needed(TASK_HEAD, rows)
    left = width - sum(widths[:3]) - 2 * (len(widths) - 1)
    least = min(widths[3], 12) + min(widths[4], 24)
    widths[5] = widths[5] if left - widths[5] >= least else min(_SHORT_ID, widths[5])
    left = max(2, left - widths[5])
    if widths[3] + widths[4] > left:
        widths[3] = min(widths[3], max(left // 3, left - widths[4]))
        widths[4] = max(1, left - widths[3])
    return widths


def worker_widths(rows: Sequence[Row], width: int) -> list[int]:
    """How wide the columns of workers are: the names give way."""
    widths = _needed(WORKER_HEAD, rows)
    widths[0] = max(8, min(widths[0], width - sum(widths[1:5]) - 2 * 4))
    return widths


def _needed(head: Sequence[str], rows: Sequence[Row]) -> list[int]:
    return [
        max([cells_of(name), *(cells_of(_plain(row.cells[column])) for row in rows)])
        for column, name in enumerate(head)
    ]


def _tasks(table: Table, width: int, room: int, focused: bool, empty: str) -> list[Line]:
    rows, at = _seen(table, room)
    found = _table(TASK_HEAD, task_widths(rows, width), TASK_RIGHT, rows, at, focused)
    return _filled([*found, Line(empty)] if not rows else found, room)


def _workers(table: Table, width: int, room: int, focused: bool) -> list[Line]:
    rows, at = _seen(table, room)
    return _filled(_table(WORKER_HEAD, worker_widths(rows, width), WORKER_RIGHT, rows, at, focused), room)


def _seen(table: Table, room: int) -> tuple[list[Row], int]:
    """The rows for which there is room under a head, around the selected one, and where that is among them."""
    some = max(1, room - 1)
    first = max(0, min(table.at - some // 2, len(table.items) - some))
    return [*map(table.row, table.items[first : first + some])], table.at - first


def _filled(lines: list[Line], room: int) -> list[Line]:
    return [*lines, *[Line("")] * (room - len(lines))][: max(1, room)]


def _table(
    head: Sequence[str], widths: Sequence[int], right: frozenset[int], rows: Sequence[Row], at: int, focused: bool
) -> list[Line]:
    lines = [Line(_joined(head, widths, right), HEAD if focused else PLAIN)]
    for number, row in enumerate(rows):
        lines.append(Line(_joined(row.cells, widths, right), SELECTED if focused and number == at else row.look))
    return lines


def _joined(cells: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    parts = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = fit(cell, width)
        space = " " * (width - cells_of(text))
        parts.append(space + text if column in right else text + space)
    return "  ".join(parts).rstrip()


def fit(text: str, width: int) -> str:
    """A text that takes at most `width` columns, without what would move the cursor."""
    text = _plain(text)
    if cells_of(text) <= width:
        return text
    return wrapped(text, width - 1)[0] + "…" if width > 1 else "…"[:width]


def _plain(text: str) -> str:
    return text if text.isprintable() else "".join(sign if sign.isprintable() else " " for sign in text)
