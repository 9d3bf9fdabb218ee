"""A `repr` that is never longer than asked, never raises, and never walks through what it will not show."""

from __future__ import annotations

from typing import Any

_BRACKETS: dict[type, tuple[str, str]] = {
    tuple: ("(", ")"),
    list: ("[", "]"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def saferepr(value: Any, length: int = 1024, levels: int = 3) -> str:
    """`repr(value)`, cut to `length` characters, with "..." for what lies deeper than `levels`."""
    parts: list[str] = []
    left = _write(value, parts, length, levels)
    text = "".join(parts)
    return text if left >= 0 and len(text) <= length else text[: max(0, length - 3)] + "..."


def _write(value: Any, parts: list[str], left: int, levels: int) -> int:
    """Append the text of `value`; returns how many characters are left, negative when it was cut."""
    kind = type(value)
    if kind in _BRACKETS:
        first, last = _BRACKETS[kind]
        if not value:
            return _put(repr(value), parts, left)
        if levels <= 0:
            return _put(f"{first}...{last}", parts, left)
        left = _put(first, parts, left)
        separator = ""
        for item in list(value.items()) if kind is dict else value:
            if left <= 0:
                return -1
            left = _put(separator, parts, left)
            separator = ", "
            if kind is dict:
                left = _write(item[0], parts, left, levels - 1)
                left = _put(": ", parts, left)
                left = _write(item[1], parts, left, levels - 1)
            else:
                left = _write(item, parts, left, levels - 1)
        if kind is tuple and len(value) == 1:
            left = _put(",", parts, left)
        return _put(last, parts, left)
    if kind is str or kind is bytes:
        # one character more than fits, so that it is seen that something was cut
        return _put(repr(value if len(value) <= left else value[: left + 1]), parts, left)
    try:
        text = repr(value)
    except Exception as error:  # anybody's __repr__
        text = f"<{kind.__name__}: its repr raises {type(error).__name__}>"
    return _put(text, parts, left)


def _put(text: str, parts: list[str], left: int) -> int:
    if left < 0:
        return left
    parts.append(text if len(text) <= left else text[: left + 1])
    return left - len(text)
