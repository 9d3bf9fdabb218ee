"""The name of a node, and patterns that hold parts of it."""

from __future__ import annotations

import re

from multi.errors import ConfigurationError
from multi.nodes import names

DEFAULT = "celery"
_FIELD = re.compile(r"%(.?)", re.DOTALL)


def node_name(given: str | None, host: str | None = None) -> str:
    """The full name `name@host` for what `-n` says: `w1`, `w1@%h`, `w1@`, `@host`, nothing.

    `%h` is the host with its domain, `%n` the host without it, `%d` the domain.
    """
    host = host or names.this_host()
    short, _, domain = host.partition(".")
    name, _, place = (given or "").partition("@")
    full = f"{name or DEFAULT}@{place or '%h'}"
    return str(names.parse(_expand(full, {"h": host, "n": short, "d": domain}, "node name")))


def expand(pattern: str | None, node: str, *, keep: str = "") -> str | None:
    """A file name from a pattern: `%n` name, `%h` host, `%d` domain, `%p` the whole node name, `%i %I` child or nothing.

    Fields named in `keep` stay for later, and then `%%` does too.
    """
    if pattern is None or "%" not in pattern:
        return pattern
    name, _, host = node.rpartition("@")
    fields = {"n": name or DEFAULT, "h": host, "d": host.partition(".")[2], "p": node, "i": "0", "I": ""}
    if keep:
        fields |= {field: f"%{field}" for field in f"{keep}%"}
    return _expand(pattern, fields, "file name")


def _expand(pattern: str, fields: dict[str, str], what: str) -> str:
    def field(found: re.Match[str]) -> str:
        if found[1] == "%" and "%" not in fields:
            return "%"
        try:
            return fields[found[1]]
        except KeyError:
            known = ", ".join(f"%{name}" for name in sorted({*fields} - {"%"}))
            raise ConfigurationError(
                f"{what} {pattern!r}: {found[0]!r} is no field; there are {known}, and %% for %"
            ) from None

    return _FIELD.sub(field, pattern)
