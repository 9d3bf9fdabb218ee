"""A task message as AMQP carries it: basic properties with the headers among them, and the body as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multi.errors import EncodeError
from multi.message import Message

#: The properties of AMQP's basic class that a sender may set; others (Redis' delivery_info, ...) don't travel here.
_KNOWN = frozenset(
    (
        "delivery_mode",
        "priority",
        "correlation_id",
        "reply_to",
        "expiration",
        "message_id",
        "timestamp",
        "type",
        "app_id",
        "user_id",
    )
)
PERSISTENT = 2


def properties(message: Message, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The basic properties of `message`, with `extra` headers added."""
    found = {key: value for key, value in message.properties.items() if key in _KNOWN and value is not None}
    found.setdefault("delivery_mode", PERSISTENT)
    if "expiration" in found:
        found["expiration"] = str(found["expiration"])
    found["content_type"] = message.content_type
    found["content_encoding"] = message.content_encoding
    found["application_headers"] = {**message.headers, **extra} if extra else message.headers
    return found


def message(found: Mapping[str, Any], body: bytes) -> Message:
    """The message with these basic properties."""
    rest = {
        key: value
        for key, value in found.items()
        if key not in ("application_headers", "content_type", "content_encoding")
    }
    return Message(
        headers=dict(found.get("application_headers") or {}),
        body=body,
        content_type=found.get("content_type") or "",
        content_encoding=found.get("content_encoding") or "",
        properties=rest,
    )


def encode(found: Mapping[str, Any]) -> bytes:
    """Basic properties in the form of a content header. Raises `EncodeError`."""
    from amqp.basic_message import Message as Content

    try:
        encoded: bytes = Content(**found)._serialize_properties()
    except Exception as exc:  # py-amqp tells of a value that doesn't fit by whatever its packing raises
        raise EncodeError(
            f"a header or property of the message can't travel over AMQP ({exc}); "
            "headers hold texts, numbers, booleans, dates, lists and mappings with short text keys"
        ) from exc
    return encoded
