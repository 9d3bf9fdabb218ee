"""Moments as people write them on a command line."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from multi.errors import ConfigurationError
from multi.nodes.policy import parse_span

EXAMPLES = "10m, 2h or 1d (ago), 10:30 (today), 2026-11-21, 2026-11-21T10:00, today or yesterday"


def parse_moment(text: str, option: str) -> float:
    """Seconds since the epoch, from a span of time before now, a time of today, a date or both; local time, unless it says
    otherwise. Raises `ConfigurationError`, which names `option`."""
    word = text.strip().lower()
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    if word in ("now", "today", "yesterday"):
        if word == "now":
            return time.time()
        return (midnight - timedelta(days=word == "yesterday")).timestamp()
    try:
        return time.time() - parse_span(word.removesuffix("ago").strip())
    except ConfigurationError:
        pass  # no span, then
    try:
        if ":" in word and "-" not in word.partition(":")[0]:
            return datetime.fromisoformat(f"{midnight.date()}T{word}").astimezone().timestamp()
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(f"{option} {text!r} is no time; write it as {EXAMPLES}") from None
