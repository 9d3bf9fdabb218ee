"""Events as they travel: what all of them have in common.

An event is a JSON object with a `type`, such as `task-started`, a `timestamp`, and who tells it. What stands before the first
dash of its type is its group. It is said on a topic exchange, the type with dots for dashes being its routing key; events of
tasks travel in lists, under the key `task.multi`.
"""

from __future__ import annotations

import time
from typing import Any

from multi.message import Message

#: The routing key of a list of task events.
MANY = "task.multi"


def group_from(type: str) -> str:
    """The group of a type of events."""
    return type.split("-", 1)[0]


def routing_key(type: str) -> str:
    """The key under which events of this type are said."""
    return type.replace("-", ".")


def utcoffset() -> float:
    """The hours by which local time is behind UTC now: what is west of Greenwich is positive."""
    return (time.altzone if time.localtime().tm_isdst else time.timezone) / 3600


def Event(type: str, _fields: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:  # noqa: N802 - Celery's name
    """An event of this type, now unless it says when."""
    event = {**_fields, **fields} if _fields else fields
    event.setdefault("timestamp", time.time())
    event["type"] = type
    return event


def message(body: bytes, hostname: str, content_type: str, content_encoding: str, delivery_mode: int = 1) -> Message:
    """The message that carries events."""
    return Message({"hostname": hostname}, body, content_type, content_encoding, {"delivery_mode": delivery_mode})
