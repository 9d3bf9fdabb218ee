"""How long the programs of a file need to stop, and whether they are given that time."""

from __future__ import annotations

from multi.nodes.policy import parse_span
from multi.units.base import LONGEST_TASK
from multi.units.lint.commands import Work
from multi.units.spans import MARGIN

#: Less than this (s) is no time for tasks, whatever they are.
LEAST = 60.0


def needed(work: Work, longest: float | None) -> float | None:
    """The time that a task may take, where something says it."""
    return work.time_limit if work.time_limit is not None else longest


def is_enough(seconds: float, work: Work, longest: float | None) -> bool:
    """Whether so many seconds are enough. Where nothing says how long tasks take, a time that somebody has thought about is
    taken to be."""
    wanted = needed(work, longest)
    return seconds >= (LEAST if wanted is None else wanted)


def proposed(work: Work, longest: float | None) -> int:
    """The time to write."""
    wanted = needed(work, longest)
    return int((LONGEST_TASK if wanted is None else wanted) + MARGIN)


def why(work: Work, longest: float | None) -> str:
    """Where the proposed time comes from."""
    if work.time_limit is not None:
        return f"its hard time limit is {work.time_limit:g} s"
    if longest is not None:
        return f"its longest task takes {longest:g} s"
    return "nothing says how long its tasks take (--longest-task TIME): taken are 10 minutes"


def span(text: str) -> float | None:
    """A span of time in the words of systemd, Compose and Kubernetes; None for what is none, infinity for no end."""
    cleaned = text.strip().lower()
    if cleaned in ("infinity", "0") and cleaned:
        return float("inf")
    for long, short in (
        ("seconds", "s"),
        ("second", "s"),
        ("sec", "s"),
        ("minutes", "m"),
        ("minute", "m"),
        ("min", "m"),
    ):
        cleaned = cleaned.replace(long, short)
    for long, short in (("hours", "h"), ("hour", "h"), ("hr", "h")):
        cleaned = cleaned.replace(long, short)
    try:
        return parse_span(cleaned.replace(" ", ""))
    except ValueError:
        return None
