"""What may be shown of a call's arguments: everything but the values that are named like a secret.

URLs are masked by `multi.urls.mask`, which this uses too.
"""

from __future__ import annotations

import re

from multi.urls import mask

#: What stands in place of a secret.
STARS = "***"

_SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|authorization|cookie|(?:^|[^a-z])(?:pwd|pass|auth)(?:$|[^a-z])"
    r"|api-?_?key|(?:^|[^a-z])keys?(?:$|[^a-z])",
    re.IGNORECASE,
)
# a key of a dict with its colon, or the name of an argument with its equals sign
_NAMED = re.compile(
    r"""(?<!\w)[bu]?(?P<quote>['"])(?P<key>[^'"\\\n]{1,128})(?P=quote)\s*:\s*|(?P<name>[A-Za-z_]\w*)="""
)
_OPENING, _CLOSING = "([{<", ")]}>"


def is_secret(name: str) -> bool:
    """Whether a value of this name (of an argument, a key, a variable) is not to be shown."""
    # camelCase is read as words, too
    return _SECRET.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)) is not None


def mask_arguments(text: str) -> str:
    """The `repr` of arguments, whole or cut off anywhere, with `***` for values that are named like secrets.

    Passwords in URLs are masked as well. What is secret and has no name can't be known.
    """
    parts: list[str] = []
    at = 0
    for found in _NAMED.finditer(text):
        if found.start() < at or not is_secret(found["key"] or found["name"]):
            continue
        parts += (text[at : found.end()], STARS)
        at = _end_of_value(text, found.end())
    parts.append(text[at:])
    return mask("".join(parts))


def _end_of_value(text: str, at: int) -> int:
    """Where the value that begins at `at` ends: before the comma or bracket that follows it, or with the text."""
    depth = 0
    quote = ""
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            if not depth:
                return at
            depth -= 1
        elif char == "," and not depth:
            return at
        at += 1
    return len(text)
