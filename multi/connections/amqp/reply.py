"""A result that travels as a message: what the rpc backend writes into a store's key and the broker reads there."""

from __future__ import annotations

from typing import Any

import msgspec


class _Key(msgspec.Struct, array_like=True):
    queue: str
    task_id: str
    content_type: str
    persistent: bool


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Key)


def make_key(queue: str, task_id: str, content_type: str, persistent: bool) -> str:
    """The key of a store that goes to the reply queue `queue` ("": to nobody)."""
    return _encoder.encode(_Key(queue, task_id, content_type, persistent)).decode()


def read_key(key: str) -> tuple[str, dict[str, Any]]:
    """The reply queue, and the properties of the message."""
    found = _decoder.decode(key)
    return found.queue, {
        "content_type": found.content_type,
        "content_encoding": "utf-8" if found.content_type in ("application/json", "application/x-yaml") else "binary",
        "application_headers": {},
        "delivery_mode": 2 if found.persistent else 1,
        "priority": 0,
        "correlation_id": found.task_id,
    }
