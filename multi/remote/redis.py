"""Remote control over Redis: the request is published, replies come into a list whose binding we make beforehand."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from time import monotonic
from typing import Any

from multi.connections.redis import Address, Redis
from multi.remote.request import Request

_SEPARATOR = "\x06\x16"


def ask(url: str, options: dict[str, Any], request: Request) -> None:
    """Send `request` and collect until it is answered or its time is over."""
    address = Address.from_url(url, options)
    prefix = str(options.get("global_keyprefix") or "")
    separator = str(options.get("sep") or _SEPARATOR)
    queue = prefix + request.reply_queue
    bindings = f"{prefix}_kombu.binding.{request.reply_exchange}"
    binding = separator.join((request.reply_key, "", request.reply_queue))
    channel = f"{prefix}{_fanout(options, address.db)}{request.exchange}"
    connection = Redis(address)
    deadline = monotonic() + request.timeout
    try:
        connection.pipeline([("SADD", bindings, binding), ("PUBLISH", channel, _envelope(request))])
        while not request.is_answered and (left := deadline - monotonic()) > 0:
            found = connection.call("BRPOP", queue, f"{left:.3f}")
            if found is not None:
                _take(request, found[1])
    finally:
        if connection.fileno() >= 0:
            # a late reply makes the list anew: it must not stay for ever
            connection.pipeline([("SREM", bindings, binding), ("DEL", queue)])
        connection.close()


def _fanout(options: dict[str, Any], db: int) -> str:
    """What stands before the exchange's name in a channel: `fanout_prefix` of the transport options."""
    wanted = options.get("fanout_prefix", True)
    if not wanted:
        return ""
    return str(wanted).replace("{db}", str(db)) if isinstance(wanted, str) else f"/{db}."


def _envelope(request: Request) -> bytes:
    return json.dumps(
        {
            "body": b64encode(request.body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": request.headers,
            "properties": {
                "delivery_mode": 1,
                "delivery_info": {"exchange": request.exchange, "routing_key": ""},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": request.ticket,
            },
        }
    ).encode()


def _take(request: Request, text: bytes) -> None:
    try:
        envelope = json.loads(text)
        body = envelope["body"]
        encoding = envelope.get("properties", {}).get("body_encoding")
        request.take(envelope.get("headers") or {}, b64decode(body) if encoding == "base64" else body.encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # no reply that anybody could read
