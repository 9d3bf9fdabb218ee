"""A keeper and its worker that went without a word: what the next one who looks can still tell of that end."""

from __future__ import annotations

import os

from . import record, tasks
from .history import History
from .standing import FAILED, STOPPED

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any


def note(kept: str, rundir: str, before: dict[str, Any], boot: str) -> None:
    """Put it into the history kept in `kept`, where `before`, the last status.json, tells of a node that was up.

    Only who holds both of the node's locks may say so: nothing of it runs.
    """
    state = before.get("state", STOPPED)
    if state in (STOPPED, FAILED):
        return
    files = f"{rundir}/worker" if os.path.isdir(f"{rundir}/worker") else rundir
    workers = before.get("workers") or []
    running = [task for one in workers for task in tasks.running(f"{files}/stats.{one.get('generation')}")]
    words = [record.read_unfollowed(f"{files}/exit.{one.get('generation')}.json") for one in workers]
    said = [word for word, one in zip(words, workers, strict=True) if word.get("pid") == one.get("pid")]
    try:
        seen = os.stat(f"{rundir}/status.json").st_mtime
    except OSError:
        seen = 0.0
    History(kept).add(
        "lost",
        state=state,
        keeper=(before.get("keeper") or {}).get("pid"),
        workers=[one.get("pid") for one in workers],
        generation=before.get("generation"),
        seen=round(seen, 3),
        reboot=True if before.get("boot") and before["boot"] != boot else None,
        # the worker outlived its keeper and left its own word
        said=f"exit status {said[0].get('code')}" if said and len(said) == len(workers) else None,
        reason=str(said[0].get("reason") or "").strip() if said else None,
        tasks=[] if said else running,
    )
