"""One request as it travels: the JSON of kombu's pidbox, that Celery's workers and ours understand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from time import time
from typing import Any, NamedTuple

from multi import control_key
from multi.codecs import dump_json
from multi.message import Message

#: So much longer (s) than its sender waits a request is good for: the clocks of two hosts differ.
_SPARE = 30.0

GLOB, PCRE = "glob", "pcre"
MATCHERS = (GLOB, PCRE)


class Request(NamedTuple):
    """A command for workers: for all, for those in `destination`, or for those whose names match `pattern`.

    `headers` go with the message for workers of multi's.
    """

    method: str
    arguments: Mapping[str, Any]
    destination: Sequence[str] | None = None
    pattern: str | None = None
    matcher: str | None = None
    headers: Mapping[str, Any] = {}


#: A roll call: who is there.
PING = Request("ping", {})


def checked(
    method: str,
    arguments: Mapping[str, Any],
    destination: Sequence[str] | None,
    pattern: str | None,
    matcher: str | None,
    headers: Mapping[str, Any] | None = None,
) -> Request:
    """A request, its address checked. Raises `ValueError`.

    A pattern without a matcher is a glob: a Celery worker would take it to be meant for everybody.
    """
    if destination is not None and not isinstance(destination, list | tuple | set | frozenset):
        raise ValueError(f"destination is a list of the names of workers, not {destination!r}")
    if pattern is not None and not isinstance(pattern, str):
        raise ValueError(f"pattern is a text, not {pattern!r}")
    if matcher is not None and matcher not in MATCHERS:
        raise ValueError(f"matcher is 'glob' or 'pcre', not {matcher!r}")
    if pattern and not destination:
        matcher = matcher or GLOB
        if matcher == PCRE:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"pattern {pattern!r}: {error}") from None
    else:
        pattern = matcher = None
    to = sorted(destination) if isinstance(destination, set | frozenset) else destination
    return Request(method, dict(arguments), list(to) if to else None, pattern, matcher, headers or {})


def matches(name: str, pattern: str, matcher: str | None) -> bool:
    """Whether the worker of this name is meant by a pattern, as kombu's workers see it."""
    return fnmatch(name, pattern) if matcher in (None, GLOB) else re.match(pattern, name) is not None


def message(
    request: Request,
    clock: int,
    key: bytes | None,
    *,
    ticket: str = "",
    reply_to: tuple[str, str] = ("", ""),
    timeout: float = 0.0,
) -> Message:
    """The message that says it, signed where there is a key; with a ticket, replies are wanted at `reply_to` (exchange, key)."""
    body: dict[str, Any] = {
        "method": request.method,
        "arguments": dict(request.arguments),
        "destination": request.destination,
        "pattern": request.pattern,
        "matcher": request.matcher,
    }
    if ticket:
        body["ticket"] = ticket
        body["reply_to"] = {"exchange": reply_to[0], "routing_key": reply_to[1]}
    text = dump_json(body)
    expires = time() + timeout + _SPARE if ticket else 0
    headers: dict[str, Any] = {"clock": clock, "expires": expires, **request.headers}
    if ticket:
        # a worker of multi's that is about to end, or not ready yet, says so instead of nothing
        headers["declines"] = True
    if key is not None:
        headers.update(control_key.sign(key, text, timeout + _SPARE))
    return Message(headers, text, properties={"delivery_mode": 1})
