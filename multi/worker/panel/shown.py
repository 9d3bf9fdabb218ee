"""Words of strangers, as they go to the log: in one line, not too long, without passwords."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from multi.log import mask_passwords

_LONGEST = 200
_MOST = 10


def shown(words: Any) -> str:
    """A text as it is, if it is a plain one, and anything else by its `repr`."""
    # masked as a whole: a password that is cut off wouldn't be known as one
    text = mask_passwords(words if isinstance(words, str) and words.isprintable() else repr(words))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def listed(several: Collection[Any]) -> str:
    """The first of many."""
    text = ", ".join(shown(each) for each in list(several)[:_MOST])
    return text if len(several) <= _MOST else f"{text} and {len(several) - _MOST} more"
