"""Events as lines of text, one each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from multi.app.events.tracked import Event, Task
from multi.masking import STARS, is_secret, mask_arguments

_WORKERS = {"worker-offline": "shutdown", "worker-online": "started", "worker-heartbeat": "heartbeat"}
_ARGUMENTS = ("args", "kwargs")
_OPEN = frozenset(("routing_key",))  # named as if it were one of the secret ones


def shown(event: Event) -> Event:
    """An event without the values that are named like secrets."""
    found = {name: STARS if is_secret(name) and name not in _OPEN else value for name, value in event.items()}
    for name in _ARGUMENTS:
        if isinstance(found.get(name), str):
            found[name] = mask_arguments(found[name])
    return found


def line(event: Mapping[str, Any], task: Task | None) -> str:
    """One event, as `celery events --dump` has it; `task` is what is known of the task that it is about."""
    left = dict(event)
    kind, hostname = str(left.pop("type")).lower(), left.pop("hostname", "?")
    moment = _moment(left.pop("timestamp", None))
    what = ""
    if kind.startswith("task-"):
        uuid = left.pop("uuid", "?")
        if kind in ("task-received", "task-sent"):
            what = _call(left.pop("name", None), uuid, left.pop("args", None), left.pop("kwargs", None))
        elif task is not None and task.name is not None:
            what = _call(
                task.name, uuid, *(mask_arguments(each) if each else each for each in (task.args, task.kwargs))
            )
        else:
            what = f"({uuid})"
        what += " "
    fields = ", ".join(f"{name}={left[name]}" for name in sorted(left))
    human = _WORKERS.get(kind) or kind.replace("-", " ")
    return _printable(f"{hostname} [{moment}] {human}{':' if fields else ''} {what}{fields}")


def _call(name: Any, uuid: Any, args: Any, kwargs: Any) -> str:
    return f"{name}({uuid}) args={args} kwargs={kwargs}"


def _moment(timestamp: Any) -> str:
    try:
        return str(datetime.fromtimestamp(timestamp, UTC))
    except (TypeError, ValueError, OverflowError, OSError):
        return str(timestamp)


def _printable(text: str) -> str:
    """Without what would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in "\n\t" else repr(sign)[1:-1] for sign in text)
