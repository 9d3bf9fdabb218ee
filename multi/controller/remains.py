"""What a broken multi.toml still says about its project: its name, its state directory, its tables.

Whoever edits the file in the night must still be able to look at what runs, and to stop it.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from typing import Any

_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)


def of(text: str) -> dict[str, Any]:
    """The settings in what is sound of the text: each table is read by itself, and above the first one each line."""
    starts = [*(found.start() for found in _HEADER.finditer(text)), len(text)]
    tables = [text[start:end] for start, end in itertools.pairwise(starts)]
    head = text[: starts[0]]
    found: dict[str, Any] = {}
    for piece in [*([head] if _is_sound(head) else head.splitlines()), *filter(_is_sound, tables)]:
        if _is_sound(piece):
            _merge(found, tomllib.loads(piece))
    return found


def _is_sound(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        under = into.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            _merge(under, value)
        else:
            into[key] = value
