"""What workers reply, as people read it: tables where there are columns, else each worker's answer below its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from multi.cli.screen import Screen, ago

#: Longer texts are cut in tables.
_WIDE = 40

Rows = list[Sequence[str]]


def show(screen: Screen, method: str, found: Mapping[str, Any], took: Mapping[str, float]) -> bool:
    """Print the answers; whether one of them is an error."""
    faults = {name: reply for name, reply in found.items() if _is_error(reply)}
    good = {name: reply for name, reply in sorted(found.items()) if name not in faults}
    if good:
        if method == "ping":
            rows: Rows = [(name, _text(reply), f"{took.get(name, 0) * 1e3:.0f} ms") for name, reply in good.items()]
            screen.table(("WORKER", "REPLY", "AFTER"), rows, right=(2,))
        elif method in _TABLES and all(isinstance(reply, list) for reply in good.values()):
            head, rows_of = _TABLES[method]
            rows = [row for name, reply in good.items() for row in rows_of(name, reply)]
            if rows:
                screen.table(head, rows)
            if idle := [name for name, reply in good.items() if not reply]:
                screen.line(f"none: {', '.join(idle)}")
        elif all(_is_short(reply) for reply in good.values()):
            # a command without words of its own, as heartbeat
            told = {name: "done" if reply is None else _text(reply) for name, reply in good.items()}
            screen.table(("WORKER", "REPLY"), [(name, screen.paint(text, True)) for name, text in told.items()])
        else:
            _texts(screen, good)
    for name, reply in sorted(faults.items()):
        screen.show(f"{name}: {screen.paint('error', False)}: {_text(reply['error'])}")
    return bool(faults)


def _texts(screen: Screen, found: Mapping[str, Any]) -> None:
    for number, (name, reply) in enumerate(found.items()):
        if number:
            screen.show("")
        screen.show(click.style(f"{name}:", bold=True) if screen.color else f"{name}:")
        value = reply["ok"] if isinstance(reply, dict) and list(reply) == ["ok"] else reply
        for line in lines(value):
            screen.show(f"    {line}")


def lines(value: Any) -> Iterator[str]:
    """A value as indented text."""
    if isinstance(value, dict):
        if not value:
            yield "none"
        for key, each in value.items():
            if isinstance(each, dict | list) and each:
                yield f"{key}:"
                yield from (f"    {line}" for line in lines(each))
            else:
                yield f"{key}: {_text(each)}"
    elif isinstance(value, list):
        if not value:
            yield "none"
        for each in value:
            if isinstance(each, dict | list) and each:
                first = True
                for line in lines(each):
                    yield f"{'- ' if first else '  '}{line}"
                    first = False
            else:
                yield f"- {_text(each)}"
    else:
        yield from _text(value).splitlines() or [""]


def _is_error(reply: Any) -> bool:
    return isinstance(reply, dict) and list(reply) == ["error"]


def _is_short(reply: Any) -> bool:
    value = reply["ok"] if isinstance(reply, dict) and list(reply) == ["ok"] else reply
    if isinstance(value, dict) and list(value) == ["clock"]:
        return True
    return not isinstance(value, dict | list) and "\n" not in str(value)


def _text(value: Any) -> str:
    if isinstance(value, dict) and list(value) in (["ok"], ["clock"]):
        value = next(iter(value.values()))
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _called(task: Mapping[str, Any]) -> str:
    """The arguments of a task, as a worker tells them."""
    args, kwargs = task.get("args") or [], task.get("kwargs") or {}
    told = [str(args) if args not in ([], (), "[]", "()") else "", str(kwargs) if kwargs not in ({}, "{}") else ""]
    return _cut(" ".join(each for each in told if each))


def _since(moment: Any) -> str:
    return ago(max(0.0, time.time() - moment)) if isinstance(moment, int | float) and moment > 0 else "-"


def _active(name: str, tasks: Sequence[Mapping[str, Any]]) -> Rows:
    return [
        (
            name,
            str(task.get("name")),
            str(task.get("id")),
            _called(task),
            _since(task.get("time_start")),
            _text(task.get("worker_pid")),
        )
        for task in tasks
    ]


def _reserved(name: str, tasks: Sequence[Mapping[str, Any]]) -> Rows:
    return [
        (name, str(task.get("name")), str(task.get("id")), _called(task), _queue(task.get("delivery_info")))
        for task in tasks
    ]


def _queue(info: Any) -> str:
    return _text(info.get("routing_key")) if isinstance(info, dict) else "-"


def _scheduled(name: str, entries: Sequence[Mapping[str, Any]]) -> Rows:
    rows: Rows = []
    for entry in entries:
        task = entry.get("request") or {}
        rows.append((name, str(entry.get("eta")), str(task.get("name")), str(task.get("id")), _called(task)))
    return rows


def _queues(name: str, queues: Sequence[Mapping[str, Any]]) -> Rows:
    rows: Rows = []
    for queue in queues:
        exchange = queue.get("exchange") or {}
        called, kind = (exchange.get("name"), exchange.get("type")) if isinstance(exchange, dict) else (exchange, "")
        rows.append((name, str(queue.get("name")), _text(called), _text(kind), _text(queue.get("routing_key"))))
    return rows


def _lines_of(name: str, found: Sequence[Any]) -> Rows:
    return [(name, str(each)) for each in found]


#: Per command: the head of its table, and the rows of one worker.
_TABLES: dict[str, tuple[tuple[str, ...], Callable[[str, Any], Rows]]] = {
    "active": (("WORKER", "TASK", "ID", "ARGUMENTS", "RUNS FOR", "PID"), _active),
    "reserved": (("WORKER", "TASK", "ID", "ARGUMENTS", "QUEUE"), _reserved),
    "scheduled": (("WORKER", "ETA", "TASK", "ID", "ARGUMENTS"), _scheduled),
    "active_queues": (("WORKER", "QUEUE", "EXCHANGE", "KIND", "ROUTING KEY"), _queues),
    "registered": (("WORKER", "TASK"), _lines_of),
    "revoked": (("WORKER", "TASK ID"), _lines_of),
}
