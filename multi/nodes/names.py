"""The names of nodes: `w1`, `w1@host`, a count; and the patterns that are filled in from them."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from multi.errors import ConfigurationError

RANGE_PREFIX = "w"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 100


class NodeName(NamedTuple):
    """A node's full name: the short name and the host."""

    short: str
    host: str

    def __str__(self) -> str:
        return f"{self.short}@{self.host}"


def this_host() -> str:
    """The host part that nodes have unless told otherwise."""
    return os.uname().nodename


def parse(text: str, host: str | None = None) -> NodeName:
    """The node that `text` names; a bare name, or `%h` as the host part, means the node on `host` (this machine)."""
    default = host or this_host()
    short, at, given = text.partition("@")
    chosen = expand(given, NodeName(short, default), host_only=True) if at else default
    for part, what in ((short, "name"), (chosen, "host")):
        if not _PART.fullmatch(part):
            raise ConfigurationError(
                f"{text!r} is no node's name: its {what} {part!r} should be letters, digits, '-', '_' and '.', "
                "as in w1 or w1@host"
            )
    if len(short) + len(chosen) > _LONGEST:
        raise ConfigurationError(f"the node's name {text[:30]!r}… is longer than {_LONGEST} characters")
    return NodeName(short, chosen)


def expand_count(texts: list[str], prefix: str = RANGE_PREFIX) -> list[str]:
    """The names themselves, or for a single number N the names w1 … wN."""
    if len(texts) != 1 or not texts[0].isdecimal():
        return texts
    count = int(texts[0])
    if not 1 <= count <= 1000:
        raise ConfigurationError(f"{count} nodes: the number of nodes is from 1 to 1000")
    return [f"{prefix}{number}" for number in range(1, count + 1)]


def expand(pattern: str, name: NodeName, *, host_only: bool = False, keep_index: bool = False) -> str:
    """`pattern` with the marks filled in as `celery multi` does.

    %n, %N the short name, %h and %p the full name, %d the host, %i and %I the number of a child (0 and nothing in a
    node's main process), %% a percent sign. With `host_only` (in a name itself), %h is the host and %d its domain. Any
    other `%` stays as it is.
    """
    if "%" not in pattern:
        return pattern
    values = {"%": "%", "n": name.short, "N": name.short, "p": str(name), "h": str(name), "d": name.host}
    if host_only:
        values["h"] = name.host
        values["d"] = name.host.partition(".")[2]
    elif not keep_index:
        values |= {"i": "0", "I": ""}
    elif "%i" in pattern or "%I" in pattern:
        del values["%"]  # another expansion follows, which takes the doubled ones
    return re.sub(r"%(.)", lambda found: values.get(found[1], found[0]), pattern)
