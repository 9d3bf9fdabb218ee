"""What engines and workers say of options, in the words of a description: `-P threads` is `pool = "threads"` there."""

from __future__ import annotations

import re

from multi.nodes import options as table
from multi.nodes.description.keys import NODE_KEYS, OTHER_NAMES

#: Behind a space, a quote or a bracket; the value is a word that is no option, or in quotes.
_OPTION = re.compile(
    r"(?<![\w/.-])'?(?P<spelling>--[a-z][a-z-]*|-[A-Za-z])\b'?(?: / '(?P<long>--[a-z-]+)')?"
    r"""(?:[ =](?P<value>"[^"]*"|'[^']*'|[^\s"'()=-][^\s()]*))?"""
)
#: Options of the command line that are keys of another name, or that no key stands for.
_OWN = {"--cmd": "command", "--executable": "python", "--logfile": "log.file", "-f": "log.file", "--append": "args"}


def in_keys(text: str, kind: str = "worker") -> tuple[str, list[str]]:
    """The text with keys in place of options, and these keys."""
    found: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        key = _key(match["long"] or match["spelling"], kind)
        if key is None:
            return match[0]
        found.append(key)
        value = match["value"]
        if value is None:
            return key
        if value in _NOT_VALUES:
            return f"{key} {value}"
        bare = value.rstrip(":;,.")
        end = value[len(bare) :]
        if bare[:1] not in "\"'…[" and not bare.isdecimal():
            bare = f'"{bare}"'
        return f"{key} = {bare}{end}"

    return _OPTION.sub(replaced, text), found


#: What follows an option and is the next word of the sentence.
_NOT_VALUES = frozenset({"is", "can't", "takes", "and", "with", "for", "or", "which", "has", "if", "where", "the"})


def _key(spelling: str, kind: str) -> str | None:
    if spelling in _OWN:
        return _OWN[spelling]
    option = table.by_spelling(spelling, kind)
    name = option.name if option is not None else spelling.lstrip("-").replace("-", "_")
    name = OTHER_NAMES.get(name, name) if name not in NODE_KEYS else name
    return name if name.partition(".")[0] in NODE_KEYS else None
