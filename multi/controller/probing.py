"""Says in a moment whether a node is well: from the locks, its keeper's record and its stats page.

Neither the app nor the broker is asked: a probe that imports a project costs seconds of processor time, and one that asks
the broker has all nodes killed when the broker is away.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from multi.controller import activity
from multi.controller.keeper.standing import BACKOFF, RELOADING, RUNNING, STARTING, STOPPING
from multi.controller.node import ORPHANED, Node, Status
from multi.stats import NodeStats

#: Longer than a keeper's own watchdog (60 s), which leaves stacks in the log and replaces the worker alone: it goes first.
MAX_AGE = 90.0

#: States in which somebody takes care of the node: to kill it would gain nothing and cost what it runs.
_ALIVE = (STARTING, RUNNING, RELOADING, STOPPING, BACKOFF, ORPHANED)
_WORKING = (RUNNING, RELOADING, ORPHANED)


class Verdict(NamedTuple):
    """Whether a node is well, and why."""

    ok: bool
    state: str
    reason: str
    age: float | None = None
    """Seconds since its loop last turned, as far as that is known."""


def judge(node: Node, *, ready: bool = False, max_age: float = MAX_AGE) -> Verdict:
    """Whether the node is alive; with `ready` whether it consumes, too."""
    status = node.status()
    state = status.state
    if state not in _ALIVE:
        return Verdict(False, state, status.message or f"it is {state}")
    if ready and state not in _WORKING:
        return Verdict(False, state, status.message or f"it is {state}, and consumes nothing")
    worker = status.worker
    if worker is None:
        return Verdict(not ready, state, status.message or f"it is {state}")
    if ready and not worker.get("ready"):
        return Verdict(False, state, status.message or "its worker is not ready yet")
    page = activity.page_of(node, worker["generation"])
    age = _age(page) if page is not None and _shows_its_loop(node, status, page) else None
    if age is not None and age > max_age:
        reason = f"its loop has not turned for {age:.0f} s (more than {max_age:g} s is too long)"
        return Verdict(False, state, f"{reason}; where it hangs: multi stack {node.name.short}", age)
    return Verdict(True, state, status.message, age)


def _age(page: NodeStats) -> float | None:
    """How long ago its loop turned; before the first turn that can't be told."""
    return max(0.0, time.time() - page.last_loop) if page.last_loop else None


def _shows_its_loop(node: Node, status: Status, page: NodeStats) -> bool:
    """Whether the page's time is that of a loop which turns all the while: a beat's isn't, and Celery's solo pool stands still
    while a task runs."""
    if page.pool == "beat":
        return False
    if page.pool == "solo" and page.active:
        engine = (status.worker or {}).get("engine") or (node.record() or {}).get("engine")
        return bool(engine != "celery")
    return True
