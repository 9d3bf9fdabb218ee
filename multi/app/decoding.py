"""Message bodies read: protocol 2, protocol 1, and what stands between them."""

from __future__ import annotations

from typing import Any

from multi.codecs import Codec, pick
from multi.compression import decompress
from multi.errors import DecodeError, InvalidTaskError
from multi.message import Message

_V1_EMBED = ("callbacks", "errbacks", "chord")
NO_EMBED: dict[str, Any] = {}


def read(
    message: Message, accept: dict[str, Codec], zone: Any = None
) -> tuple[dict[str, Any], list[Any], dict[str, Any], dict[str, Any]]:
    """Headers, args, kwargs and embed of a message of either protocol.

    `zone` is the app's time zone, in which version 1 gives times unless it says that they are UTC. Raises
    `ContentDisallowed`, `DecodeError`, and `InvalidTaskError` for what is no task message.
    """
    headers = message.headers
    body: Any = message.body
    squeezed = headers.get("compression")
    if squeezed:
        body = decompress(body, squeezed)
    payload = pick(accept, message.content_type).loads(body)
    if "task" in headers:
        if isinstance(payload, dict) and "args" in payload:  # a sender between the two protocols
            headers, args, kwargs, embed = _version_1({**payload, **headers}, zone)
        else:
            args, kwargs, embed = _parts(payload)
    elif isinstance(payload, dict) and isinstance(payload.get("task"), str):
        headers, args, kwargs, embed = _version_1({**payload, **headers}, zone)
    else:
        raise InvalidTaskError("no task message: neither its headers nor its body name a task")
    if not isinstance(args, list | tuple):
        raise InvalidTaskError(f"the arguments are no list but a {type(args).__name__}")
    if not isinstance(kwargs, dict):
        raise InvalidTaskError(f"the keyword arguments are no mapping but a {type(kwargs).__name__}")
    return headers, list(args), kwargs, embed


def _parts(payload: Any) -> tuple[Any, Any, dict[str, Any]]:
    try:
        args, kwargs, embed = payload
    except (TypeError, ValueError):
        raise DecodeError("the body is not [args, kwargs, embed]") from None
    if embed is None:
        embed = NO_EMBED
    elif not isinstance(embed, dict):
        raise DecodeError(f"the embed of the body is no mapping but a {type(embed).__name__}")
    return args, kwargs, embed


def _version_1(fields: dict[str, Any], zone: Any) -> tuple[dict[str, Any], Any, Any, dict[str, Any]]:
    embed = {key: fields.get(key) for key in _V1_EMBED}
    args, kwargs = fields.get("args") or [], fields.get("kwargs") or {}
    headers = {key: value for key, value in fields.items() if key not in _V1_EMBED and key not in ("args", "kwargs")}
    headers["group"] = fields.get("group") or fields.get("taskset")
    if not fields.get("utc", True) and zone is not None:
        for key in ("eta", "expires"):
            headers[key] = _with_zone(fields.get(key), zone)
    return headers, args, kwargs, embed


def _with_zone(text: Any, zone: Any) -> Any:
    if not isinstance(text, str):
        return text
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text  # reported where it is used
    return text if moment.tzinfo else moment.replace(tzinfo=zone).isoformat()
