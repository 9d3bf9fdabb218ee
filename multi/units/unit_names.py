"""The names of units of systemd, which know no letters but those of ASCII."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9:_.-]+")


def stem(project: str) -> str:
    """What the names of all units of a project begin with."""
    return f"multi-{escaped(project)}"


def escaped(text: str) -> str:
    """A name as part of a unit's name."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in ":_.-") else f"\\x{byte:02x}"
        for byte in text.encode()
    )


def unescaped(text: str) -> str:
    """The name that `escaped` has made this of."""
    data = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())
    return data.decode("utf-8", "replace")
