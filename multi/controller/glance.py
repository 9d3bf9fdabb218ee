"""Whether a node is well, for the usual case at a third of the price: its keeper lives, in a state directory that is named.

The probe of a container runs every few seconds for as long as that lives. What finds nodes by project, description and manager
(`probing`) takes longer to import than all of this takes together; whatever is not usual is left to it.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, NamedTuple

from multi.controller.keeper import proc
from multi.rundir import RunDir, held
from multi.stats import NodeStats, StatsPage

#: Longer than a keeper's own watchdog (60 s), which leaves stacks in the log and replaces the worker alone: it goes first.
MAX_AGE = 90.0
#: States in which somebody takes care of the node: to kill it would gain nothing and cost what it runs.
ALIVE = ("starting", "running", "reloading", "stopping", "backoff", "orphaned")
WORKING = ("running", "reloading", "orphaned")


class Verdict(NamedTuple):
    """Whether a node is well, and why."""

    ok: bool
    state: str
    reason: str
    age: float | None = None
    """Seconds since its loop last turned, as far as that is known."""


def glance(state_dir: str, name: str, *, ready: bool = False, max_age: float = MAX_AGE) -> tuple[str, Verdict] | None:
    """The node's full name and the verdict; None where a closer look is needed."""
    run = os.path.join(state_dir, "run")
    try:
        places = [
            os.path.join(run, project, node)
            for project in os.listdir(run)
            for node in os.listdir(os.path.join(run, project))
            if name in (node, node.partition("@")[0])
        ]
        if len(places) != 1:
            return None
        rundir = RunDir(places[0])
        if not held(rundir.keeper_lock):
            return None
        with open(rundir.status_file, encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
        keeper, state = record["keeper"], record["state"]
        if state not in ALIVE or keeper["start"] != proc.start_time(keeper["pid"]):
            return None
        worker = next((one for one in record["workers"] if one["role"] == "current"), None)
        rundir.generation = worker["generation"] if worker is not None else 0
        page = StatsPage.read(rundir.stats) if worker is not None else None
        if page is not None and page.pool == "solo":
            return None  # what that means depends on the engine
        message = record.get("message") or record.get("text") or ""
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record["name"], judged(name.partition("@")[0], state, message, worker, page, ready=ready, max_age=max_age)


def judged(
    name: str,
    state: str,
    message: str,
    worker: dict[str, Any] | None,
    page: NodeStats | None,
    *,
    ready: bool,
    max_age: float,
) -> Verdict:
    """The verdict on a node by what is known of it. `page` is None where its times mean nothing."""
    if state not in ALIVE:
        return Verdict(False, state, message or f"it is {state}")
    if ready and state not in WORKING:
        return Verdict(False, state, message or f"it is {state}, and consumes nothing")
    if worker is None:
        return Verdict(not ready, state, message or f"it is {state}")
    if ready and not worker.get("ready"):
        return Verdict(False, state, message or "its worker is not ready yet")
    # before the first turn its age can't be told; and a beat's loop leaves no time there
    is_known = page is not None and page.last_loop > 0 and page.pool != "beat"
    age = max(0.0, time.time() - page.last_loop) if page is not None and is_known else None
    if age is not None and age > max_age:
        reason = f"its loop has not turned for {age:.0f} s (more than {max_age:g} s is too long)"
        return Verdict(False, state, f"{reason}; where it hangs: multi stack {name}", age)
    return Verdict(True, state, message, age)
