"""Init scripts that start workers. Nothing in them can be put right: they are to be replaced."""

from __future__ import annotations

import re

from multi.units.lint.rules import RULES, Finding

_STARTS = re.compile(r"\bcelery\s+multi\b|\bCELERYD_MULTI\b|\bceleryd?\b.*--detach|\bCELERYBEAT\b|\bcelerybeat\b")


def examine(text: str, name: str, longest: float | None) -> list[Finding]:
    """One finding, at the line that starts the worker."""
    found = _STARTS.search(text)
    if found is None:
        return []
    line = text[: found.start()].count("\n") + 1
    remedy = "units that say when they are ready and are watched: multi render systemd, or multi start"
    return [Finding(RULES["M601"], line, "an init script starts it and nobody watches it", remedy)]


def runs_something(text: str, name: str) -> bool:
    """Whether a worker or a beat is recognised in it."""
    return _STARTS.search(text) is not None
