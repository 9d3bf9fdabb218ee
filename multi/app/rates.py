"""Rate limits as they are written: `"10/m"`, or a number for each second."""

from __future__ import annotations

import math
from typing import Any

_SECONDS = {"s": 1, "m": 60, "h": 3600}
SCOPES = ("worker", "global")


def interval(rate: Any) -> float:
    """Seconds between two runs; 0 where there is no limit. Raises `ValueError` for what is no rate."""
    if rate is None:
        return 0.0
    number, unit = rate, "s"
    if isinstance(rate, str):
        number, _, unit = rate.partition("/")
        try:
            number = float(number) if number.strip() else 0.0
        except ValueError:
            raise ValueError(_SHAPE.format(rate)) from None
        unit = unit.strip() or "s"
    if isinstance(number, bool) or not isinstance(number, int | float) or unit not in _SECONDS:
        raise ValueError(_SHAPE.format(rate))
    if not math.isfinite(number) or number < 0:
        raise ValueError(_SHAPE.format(rate))
    return _SECONDS[unit] / number if number else 0.0


_SHAPE = 'rate_limit should be a number of runs a second, or a text like "10/s", "10/m" or "10/h", not {!r}'


def check(rate: Any, scope: Any) -> None:
    """Raises `ValueError` for what is no rate or no scope."""
    interval(rate)
    if scope is not None and scope not in SCOPES:
        raise ValueError(f'rate_limit_scope should be "worker" or "global", not {scope!r}')
