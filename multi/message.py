"""A task message as it travels: Celery's protocol 2, frozen."""

from __future__ import annotations

from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True):
    """One message, free of any broker's envelope.

    `body` holds the serialized (and maybe compressed) bytes just as the sender made them; `headers` and `properties`
    are those of protocol 2 (lang, task, id, ...; correlation_id, reply_to, delivery_mode, priority).
    """

    headers: dict[str, Any]
    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    properties: dict[str, Any] = {}
