"""Kombu's envelope: the JSON text that one message is in a Redis list."""

from __future__ import annotations

import itertools
import os
from base64 import b64decode, b64encode
from time import time
from typing import Any

import msgspec

from multi.connections.redis.keys import Keys, turned
from multi.errors import DecodeError, EncodeError
from multi.message import Message


class _Envelope(msgspec.Struct, rename={"content_type": "content-type", "content_encoding": "content-encoding"}):
    """What we look for in an envelope; be liberal: a hand-written one may lack nearly all of it."""

    body: str
    content_type: str | None = None
    content_encoding: str | None = None
    headers: dict[str, Any] = {}
    properties: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Envelope)
_encoder = msgspec.json.Encoder()


def decode(text: bytes) -> Message:
    """Read an envelope. Raises DecodeError that says what is wrong with it."""
    try:
        envelope = _decoder.decode(text)
        encoding = envelope.properties.get("body_encoding")
        body = b64decode(envelope.body) if encoding == "base64" else envelope.body.encode()
    except (ValueError, msgspec.DecodeError) as error:
        raise DecodeError(f"no message envelope: {error}") from error
    priority = envelope.properties.get("priority")
    if isinstance(priority, int):
        envelope.properties["priority"] = turned(priority)
    return Message(
        envelope.headers,
        body,
        envelope.content_type or "application/json",
        envelope.content_encoding or "utf-8",
        envelope.properties,
    )


def routing_key(text: bytes) -> str:
    """The key with which an envelope was sent; "" where it tells none, or is none."""
    try:
        return str(_decoder.decode(text).properties["delivery_info"]["routing_key"] or "")
    except (ValueError, KeyError, TypeError, msgspec.DecodeError):
        return ""


def next_tag() -> str:
    """An id that no other message has, and that tells when it was made; kombu takes a uuid, which costs ten times as much."""
    second = int(time())
    if _tags.second != second or _tags.pid != os.getpid():
        if _tags.pid != os.getpid():
            _tags.pid = os.getpid()
            _tags.process = os.urandom(12).hex()
        _tags.second = second
        _tags.prefix = f"{_tags.process}-{second:x}"
    return f"{_tags.prefix}-{next(_tags.numbers):x}"


def made_at(tag: Any) -> float | None:
    """When an id of ours was made, in seconds since the epoch; None for one of kombu's."""
    parts = tag.split("-") if isinstance(tag, str) else ()
    if len(parts) != 3 or len(parts[0]) != 24:
        return None
    try:
        return float(int(parts[1], 16))
    except ValueError:
        return None


class _Tags:
    """This process's ids: a random part of its own, the second in which they are made, and a number."""

    pid = 0
    process = ""
    second = 0
    prefix = ""
    numbers = itertools.count(1)


_tags = _Tags()
#: Bytes of a large body.
_LARGE = 4096


def encode(message: Message, queue: str, *, tag: str | None = None, exchange: str = "") -> tuple[str, bytes]:
    """Write an envelope for `queue` (or for the key `queue` of an exchange); returns the id it bears (its delivery tag) and
    the text.

    Raises EncodeError when a header is nothing that JSON knows.
    """
    tag = tag or next_tag()
    properties = {
        **message.properties,
        "delivery_info": {"exchange": exchange, "routing_key": queue},
        "body_encoding": "base64",
        "delivery_tag": tag,
    }
    if "delivery_mode" not in properties:
        properties["delivery_mode"] = 2
    # a Celery worker that retries or restores the message must find the list again in which it was
    properties["priority"] = turned(properties.get("priority"))
    body = b64encode(message.body)
    try:
        text = _encoder.encode(
            {
                # in a large one the encoder needn't look for what is to be escaped
                "body": body.decode() if len(body) < _LARGE else msgspec.Raw(b'"%b"' % body),
                "content-encoding": message.content_encoding,
                "content-type": message.content_type,
                "headers": message.headers,
                "properties": properties,
            }
        )
    except (TypeError, ValueError, msgspec.EncodeError) as error:
        raise EncodeError(f"a header of the message can't be sent: {error}") from error
    return tag, text


def redelivered(text: bytes) -> bytes:
    """The envelope with the marks that Celery gives to a message that was delivered before; others stay as they are."""
    try:
        envelope: dict[str, Any] = msgspec.json.decode(text)
        envelope.setdefault("headers", {})["redelivered"] = True
        envelope["properties"].setdefault("delivery_info", {})["redelivered"] = True
        return _encoder.encode(envelope)
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.DecodeError):
        return text


def copy(text: bytes, queue: str, keys: Keys) -> tuple[str, str, bytes]:
    """A copy for one queue of what was sent to all: the id of the original, the list it goes to, and the text, with an id of
    its own. Raises ValueError for what is no envelope."""
    try:
        envelope: dict[str, Any] = msgspec.json.decode(text)
        properties = envelope["properties"]
        original = str(properties.get("delivery_tag") or "")
        properties["delivery_tag"] = next_tag()
        properties["delivery_info"] = {"exchange": "", "routing_key": queue}
        priority = properties.get("priority")
        key = keys.queue(queue, turned(priority) if isinstance(priority, int) else None)
        return original or str(properties["delivery_tag"]), key, _encoder.encode(envelope)
    except (KeyError, TypeError, AttributeError, msgspec.DecodeError) as error:
        raise ValueError(error) from error


def moved(text: bytes, queue: str) -> bytes:
    """The envelope as it lies in another queue: with that as its destination, to which Celery's workers give it back. What can't
    be read stays as it is."""
    try:
        envelope: dict[str, Any] = msgspec.json.decode(text)
        info = envelope["properties"].get("delivery_info") or {}
        envelope["properties"]["delivery_info"] = {**info, "exchange": "", "routing_key": queue}
        return _encoder.encode(envelope)
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.DecodeError):
        return text


def entry_envelope(entry: bytes) -> bytes:
    """The envelope inside an entry of `unacked`, as multi writes them: [envelope, "", queue]."""
    return entry[1 : entry.rindex(b',"","')] if entry else b""
