"""Which tasks are revoked, kept in Redis: a sorted set of marks by the moments at which they end."""

from __future__ import annotations

from collections.abc import Iterable
from time import time

from multi.connections.redis.words import Reply, Word

#: So long (s) at least the set stays after the last mark was added.
_KEPT = 604800.0


def keep(prefix: str, marks: Iterable[str], until: float, most: int) -> list[tuple[Word, ...]]:
    """What is sent to keep marks."""
    key = f"{prefix}multi:revoked"
    members: list[Word] = []
    for mark in marks:
        members += (until, mark.encode("utf-8", "surrogatepass"))
    return [
        ("ZADD", key, *members),
        ("ZREMRANGEBYSCORE", key, "-inf", time()),
        ("ZREMRANGEBYRANK", key, 0, -most - 1),
        ("EXPIREAT", key, int(max(until, time() + _KEPT)) + 1),
    ]


def ask(prefix: str) -> tuple[Word, ...]:
    """What is sent to read them."""
    return "ZRANGEBYSCORE", f"{prefix}multi:revoked", time(), "+inf", "WITHSCORES"


def found(reply: Reply) -> dict[str, float]:
    """The marks, each with its end."""
    return {reply[i].decode("utf-8", "surrogatepass"): float(reply[i + 1]) for i in range(0, len(reply), 2)}
