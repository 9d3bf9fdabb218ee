"""Says whether a node is well: from the locks, its keeper's record and its stats page, or from what its unit manager says.

Neither the app nor the broker is asked: a probe that imports a project costs seconds of processor time, and one that asks
the broker has all nodes killed when the broker is away.
"""

from __future__ import annotations

from multi.controller import activity
from multi.controller.glance import MAX_AGE, Verdict, judged
from multi.controller.node import Node, Status
from multi.stats import NodeStats

__all__ = ["MAX_AGE", "Verdict", "judge"]


def judge(node: Node, *, ready: bool = False, max_age: float = MAX_AGE) -> Verdict:
    """Whether the node is alive; with `ready` whether it consumes, too."""
    status = node.status()
    worker = status.worker
    page = activity.page_of(node, worker["generation"]) if worker is not None else None
    if page is not None and not _turns(node, status, page):
        page = None
    return judged(node.name.short, status.state, status.message, worker, page, ready=ready, max_age=max_age)


def _turns(node: Node, status: Status, page: NodeStats) -> bool:
    """Whether the loop whose time the page tells turns all the while. With Celery's solo pool it stands still while a task runs,
    and while what follows a task waits for a broker that is away."""
    if page.pool != "solo":
        return True
    engine = (status.worker or {}).get("engine") or (node.record() or {}).get("engine")
    return bool(engine != "celery")
