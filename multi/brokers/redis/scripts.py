"""The scripts that Redis runs for us, one file per verb in lua/."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A script and the digest that Redis knows it by once it has seen it."""

    source: bytes
    digest: str


def _load(verb: str) -> Script:
    source = (Path(__file__).parent / "lua" / f"{verb}.lua").read_bytes()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


EXCHANGE = _load("exchange")
RENEW = _load("renew")
EXPIRED = _load("expired")
RESTORE = _load("restore")
DUE = _load("due")
LEAVE = _load("leave")
EMPTY = _load("empty")
FEED = _load("feed")
#: For commands, which bring them along.
SOURCES = _load("sources")
FOREIGN = _load("foreign")
UNPARK = _load("unpark")
MOVE = _load("move")
TAKE = _load("take")
GIVE = _load("give")
#: For workers, which load them once.
ALL = (EXCHANGE, RENEW, EXPIRED, RESTORE, DUE, LEAVE, EMPTY, FEED)
