"""The names of nodes: `w1`, `w1@host`, a count; and the patterns that are filled in from them."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from multi.errors import ConfigurationError

RANGE_PREFIX = "celery"
#: Letters and digits of any script.
_PART = re.compile(r"\w[\w.-]*")
#: Bytes, since names are parts of files' names.
_LONGEST = 100


class NodeName(NamedTuple):
    """A node's full name: the short name and the host."""

    short: str
    host: str

    def __str__(self) -> str:
        return f"{self.short}@{self.host}"


class Naming(NamedTuple):
    """How the names on a command line become full ones: `host` is what `-n` says, the rest what the options of these names
    say, all as it was given."""

    range_prefix: str = ""
    prefix: str = ""
    suffix: str = ""
    host: str = ""


class Label(NamedTuple):
    """A node on a command line: how it was typed (of a count: its number), and how it is looked for."""

    typed: str
    text: str


def this_host() -> str:
    """The host part that nodes have unless told otherwise."""
    return os.uname().nodename


def parse(text: str, host: str | None = None, here: str | None = None) -> NodeName:
    """The node that `text` names; a bare name means the node on `host` (else this machine, which is `here`).

    %h in a name is this machine, %d its domain, %n its name without the domain, as `celery multi` has it.
    """
    here = here or this_host()
    short, at, given = fill_host(text, here).partition("@")
    chosen = given if at else fill_host(host or here, here)
    for part, what in ((short, "name"), (chosen, "host")):
        if not part and "%d" in text and "." not in here:
            raise ConfigurationError(
                f"{text!r} is no node's name: %d is empty, for this machine ({here}) has no domain"
            )
        if not _PART.fullmatch(part):
            raise ConfigurationError(
                f"{text!r} is no node's name: its {what} {part!r} should be letters, digits, '-', '_' and '.', "
                "as in w1 or w1@host"
            )
    if len(f"{short}{chosen}".encode()) > _LONGEST:
        raise ConfigurationError(f"the node's name {text[:30]!r}… is longer than {_LONGEST} bytes")
    return NodeName(short, chosen)


def label(texts: list[str], naming: Naming, here: str | None = None) -> list[Label]:
    """The nodes that these words stand for: themselves, or for a single number N celery1 … celeryN.

    A name that is left bare means the node on this machine, or one of that name whose machine was called otherwise.
    """
    here = here or this_host()
    counted = expand_count(texts, naming.range_prefix or RANGE_PREFIX)
    prefix = naming.prefix if counted is texts else ""
    host = naming.suffix or naming.host
    if host in ('""', "''"):
        host = here  # Celery's worker fills in the same for an empty one
    host = fill_host(host, here)
    labels = []
    for number, text in enumerate(counted, 1):
        typed = text if counted is texts else str(number)
        whole = text if "@" in text else f"{prefix}{text}@{host}" if host else f"{prefix}{text}"
        if "%d" in whole:
            parse(whole, None, here)  # an empty one is told as it was typed
        labels.append(Label(typed, fill_host(whole, here)))
    return labels


def expand_count(texts: list[str], prefix: str = RANGE_PREFIX) -> list[str]:
    """The names themselves, or for a single number N the names celery1 … celeryN."""
    if len(texts) != 1 or not texts[0].isdecimal():
        return texts
    count = int(texts[0])
    if not 1 <= count <= 1000:
        raise ConfigurationError(f"{count} nodes: the number of nodes is from 1 to 1000")
    return [f"{prefix}{number}" for number in range(1, count + 1)]


def fill_host(text: str, here: str) -> str:
    """`text`, a part of a name, with the marks for this machine filled in."""
    name, _, domain = here.partition(".")
    return _fill(text, {"%": "%", "h": here, "d": domain, "n": name, "i": "0", "I": ""})


def expand(pattern: str, name: NodeName, *, host_only: bool = False, keep_index: bool = False) -> str:
    """`pattern` with the marks filled in as `celery multi` does.

    %n, %N the short name, %h and %p the full name, %d the host, %i and %I the number of a child (0 and nothing in a
    node's main process), %% a percent sign. With `host_only` they are those of `fill_host`. Any other `%` stays as it is.
    """
    if host_only:
        return fill_host(pattern, name.host)
    values = _marks(name)
    if not keep_index:
        values |= {"i": "0", "I": ""}
    elif "%i" in pattern or "%I" in pattern:
        del values["%"]  # another expansion follows, which takes the doubled ones
    return _fill(pattern, values)


def expand_once(pattern: str, name: NodeName) -> str:
    """The same for what is used as it is: %i and %I stay, for whoever knows the number."""
    return _fill(pattern, _marks(name))


def _marks(name: NodeName) -> dict[str, str]:
    return {"%": "%", "n": name.short, "N": name.short, "p": str(name), "h": str(name), "d": name.host}


def _fill(pattern: str, values: dict[str, str]) -> str:
    if "%" not in pattern:
        return pattern
    return re.sub(r"%(.)", lambda found: values.get(found[1], found[0]), pattern)
