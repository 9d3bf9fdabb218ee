"""Times as they stand in messages and records: ISO 8601, in UTC, with offset."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo

_second = 0
_prefix = ""


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def stamp() -> str:
    """The present as text, with microseconds and offset; formats the date once a second only."""
    global _second, _prefix
    moment = time.time()
    second = int(moment)
    if second != _second:
        t = time.gmtime(second)
        _prefix = f"{t[0]:04d}-{t[1]:02d}-{t[2]:02d}T{t[3]:02d}:{t[4]:02d}:{t[5]:02d}."
        _second = second
    return f"{_prefix}{int((moment - second) * 1_000_000):06d}+00:00"


def to_epoch(value: str | float | datetime, naive: tzinfo = UTC) -> float:
    """Seconds since the epoch of an ISO text, a datetime or a number; one without offset is read as `naive`.

    Raises `ValueError` for a text that is no time.
    """
    if isinstance(value, int | float):
        return float(value)
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise ValueError(f"{value!r} is no time")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=naive)
    return moment.timestamp()


def later(seconds: float) -> str:
    """The moment `seconds` from now, as text."""
    return (now() + timedelta(seconds=seconds)).isoformat()
