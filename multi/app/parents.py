"""What the results in front of one tell about it: that its task will never be sent, because one of theirs has failed.

As a rule a chord's body ends when its header does. Where a part of the header couldn't be read by any worker (its content type
isn't accepted, its signature isn't right), nobody has learnt which body waits for it; its sender alone knows, by the parents
of the result.
"""

from __future__ import annotations

import time
from typing import Any

from multi.app.result import AsyncResult
from multi.app.states import PROPAGATE_STATES, READY_STATES

#: Seconds between two looks, at the beginning and at most: a look at a large header is many records.
_PAUSE, _LONGEST = 0.5, 30.0


def wait_for_parents(result: Any, deadline: float | None, interval: float | None) -> None:
    """A task of a chain can't end before those in front of it, and fails if one of them does."""
    chain = []
    node = result.parent
    while node is not None:
        # a chord's body fails when a task of its header does, and says so better
        if isinstance(node, AsyncResult):
            chain.append(node)
        node = node.parent
    for ancestor in reversed(chain):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        watched = with_header(ancestor)
        ancestor.get(left, True, interval, follow_parents=False, on_interval=watched, disable_sync_subtasks=False)


def with_header(result: Any, on_interval: Any = None) -> Any:
    """What is to be called while `result` is waited for: with a look at the header, where it ends a chord."""
    return Header(result, on_interval) if headed(result) else on_interval


def headed(result: Any) -> bool:
    """Whether a group is among the parents of `result`: it is the body of a chord, or comes after one."""
    node = result.parent
    while node is not None:
        if not isinstance(node, AsyncResult):
            return True
        node = node.parent
    return False


def lost_to(result: Any) -> AsyncResult | None:
    """The failed task because of which that of `result` will never run; None while that isn't certain."""
    node = result.parent
    while node is not None:
        if isinstance(node, AsyncResult):
            status = node._record()["status"]
            if status in READY_STATES:
                return node if status in PROPAGATE_STATES else None
        elif (found := _in_all(node)) is not None:
            return found
        node = node.parent
    return None


def _in_all(group: Any) -> AsyncResult | None:
    """The first failure of a header, all of which has ended."""
    leaves = group.leaves()
    group._look(leaves)
    found: AsyncResult | None = None
    for leaf in leaves:
        if leaf._meta is None:
            lost = None if leaf.ignored else lost_to(leaf)  # a chain, of which a task before the last one has failed
            if lost is None:
                return None
            found = found or lost
        elif leaf._meta["status"] in PROPAGATE_STATES:
            found = found or leaf
    return found


class Header:
    """Looks at the parents of a result now and then while that is waited for, and raises the failure that it is lost to."""

    def __init__(self, result: Any, on_interval: Any = None) -> None:
        self._result, self._on_interval = result, on_interval
        self._pause, self._sure = _PAUSE, False
        self._next = time.monotonic() + _PAUSE

    def __call__(self) -> None:
        if self._on_interval is not None:
            self._on_interval()
        if time.monotonic() < self._next:
            return
        # twice, because the body's own end, which says it better, may be on its way
        lost = lost_to(self._result)
        if lost is not None and self._sure:
            _raise(lost)
        self._sure = lost is not None
        self._pause = _PAUSE if self._sure else min(2 * self._pause, _LONGEST)
        self._next = time.monotonic() + self._pause

    def finish(self) -> None:
        """The same at the end of the time for which is waited."""
        lost = lost_to(self._result)
        if lost is not None:
            _raise(lost)


def _raise(lost: AsyncResult) -> None:
    lost.get(follow_parents=False, disable_sync_subtasks=False)
