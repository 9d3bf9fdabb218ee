"""How long a node may take to stop before its manager kills it: as long as its longest task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from multi.nodes.policy import parse_span
from multi.units.base import LONGEST_TASK

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec
    from multi.units.base import Target

#: Beside its tasks a node needs this time (s) to hand back what it has not begun and to close its connections.
MARGIN = 30
#: A beat sends what is due and ends.
BEAT = 30


class StopTime(NamedTuple):
    """So many seconds, and why so many."""

    seconds: int
    why: str


def stop_time(spec: NodeSpec, target: Target) -> StopTime:
    """The time between asking the node to stop and killing it."""
    policy = spec.policy
    if (kill := _span(policy.get("kill_after"))) is not None:
        return StopTime(math.ceil(kill), "stop.kill_after")
    if (cold := _span(policy.get("quit_after"))) is not None:
        return StopTime(math.ceil(cold) + MARGIN, f"stop.quit_after and {MARGIN} s more")
    if (drain := _span(spec.options.get("drain_timeout"))) is not None:
        return StopTime(math.ceil(drain) + MARGIN, f"drain_timeout and {MARGIN} s more")
    if spec.kind == "beat":
        return StopTime(BEAT, "a beat runs no tasks")
    if limit := _span(spec.options.get("time_limit")):
        return StopTime(math.ceil(limit) + MARGIN, f"time_limit and {MARGIN} s more")
    longest = _span(policy.get("longest_task"))
    if longest is None:
        longest = target.longest_task
    if longest is not None:
        return StopTime(math.ceil(longest) + MARGIN, f"longest_task and {MARGIN} s more")
    return StopTime(
        int(LONGEST_TASK) + MARGIN,
        "nothing says how long its tasks take (longest_task, time_limit): taken are 10 minutes",
    )


def _span(value: object) -> float | None:
    if value is None or value is False:
        return None
    return float(value) if isinstance(value, int | float) else parse_span(str(value))
