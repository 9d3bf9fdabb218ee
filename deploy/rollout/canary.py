"""Judges the first nodes of a release by their tasks, against the nodes that run the old one at the same time.

Nothing is asked of the nodes but `multi status`: how many tasks each has run, well or not, and how many it is running. What a
task takes is worked out from these: the mean number of running tasks, divided by how many end in a second (Little's law).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from multi.deploy.hosts.settings import Canary
from multi.errors import StepFailed

_EVERY = 1.0
#: Below this nothing is said of how long tasks take.
_FEW = 20


class Tally(NamedTuple):
    """What some nodes have done so far: tasks that ended, those of them that failed, and the seconds that tasks were running."""

    ended: int = 0
    failed: int = 0
    busy: float = 0.0

    @property
    def failures(self) -> float:
        return self.failed / self.ended if self.ended else 0.0

    @property
    def latency(self) -> float | None:
        return self.busy / self.ended if self.ended >= _FEW else None


class Counter:
    """Adds up what nodes do between looks; a node that was restarted in between begins anew."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._before: dict[str, tuple[int, int, float]] = {}

    def add(self, nodes: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """`nodes` as `multi status --json` tells them, by names that are one in the fleet."""
        ended, failed, busy = self.tally
        for name, one in nodes.items():
            done = int(one.get("succeeded") or 0) + int(one.get("failed") or 0) + int(one.get("retried") or 0)
            bad = int(one.get("failed") or 0)
            before = self._before.get(name)
            if before is not None and done >= before[0] and bad >= before[1]:
                ended += done - before[0]
                failed += bad - before[1]
                busy += int(one.get("active") or 0) * (now - before[2])
            self._before[name] = (done, bad, now)
        self.tally = Tally(ended, failed, busy)


def verdict(new: Tally, old: Tally, canary: Canary) -> str | None:
    """Why the new ones do not pass; None when nothing speaks against them."""
    allowed = old.failures + canary.failures
    if new.failures > allowed:
        return (
            f"{new.failed} of {new.ended} tasks have failed on the new release ({new.failures:.1%}); of the old nodes' "
            f"{old.ended} it is {old.failures:.1%}, and {canary.failures:.1%} more are allowed"
        )
    if new.latency is not None and old.latency is not None and old.latency > 0:
        ratio = new.latency / old.latency
        if ratio > canary.latency:
            return (
                f"tasks take {new.latency:.3g} s on the new release, {ratio:.1f} times the {old.latency:.3g} s of the old "
                f"nodes; {canary.latency:g} times is allowed"
            )
    return None


def judge(
    host: str,
    canary: Canary,
    look: Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]],
    tell: Callable[[str], None],
    cancel: threading.Event,
) -> None:
    """Watch until enough tasks have ended or the time is over; `StepFailed` when the new ones do not pass. `look` gives the
    new nodes and the old ones as they are now."""
    new, old = Counter(), Counter()
    begun = told = time.monotonic()
    while True:
        now = time.monotonic()
        theirs, others = look()
        new.add(theirs, now)
        old.add(others, now)
        enough = new.tally.ended >= canary.tasks
        over = now - begun >= canary.time
        # many failures among few tasks need no further ones
        clear = new.tally.failed > max(3, (old.tally.failures + canary.failures) * canary.tasks)
        if enough or over or clear:
            break
        if now - told >= 5:
            told = now
            tell(f"canary: {new.tally.ended} of {canary.tasks} tasks, {new.tally.failed} failed")
        if cancel.wait(_EVERY):
            raise StepFailed(host, "canary", "interrupted")
    against = verdict(new.tally, old.tally, canary)
    if against is not None:
        raise StepFailed(host, "canary", against)
    few = "" if new.tally.ended >= canary.tasks else f", though judged by {new.tally.ended} tasks only"
    tell(f"canary: passed ({new.tally.failed} of {new.tally.ended} tasks failed{few})")
