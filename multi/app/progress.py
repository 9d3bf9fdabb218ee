"""How far a run is: told by the task, read from its result."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from multi.app.states import PROGRESS

if TYPE_CHECKING:
    from multi.app.task import Task

    T = TypeVar("T")

#: Seconds between two reports that are recorded.
PAUSE = 0.1


class Progress(msgspec.Struct, frozen=True):
    """One report: `current` of `total` (None: nobody knows), in words if there are any, and what the task says more."""

    current: float
    total: float | None = None
    message: str = ""
    more: dict[str, Any] = {}

    @property
    def percent(self) -> float | None:
        """From 0 to 100; None where the total isn't known."""
        if self.total is None:
            return None
        return 100.0 if self.total <= 0 else min(100.0, max(0.0, 100.0 * self.current / self.total))

    def __str__(self) -> str:
        percent = self.percent
        parts = [f"{self.current:g}" if self.total is None else f"{self.current:g}/{self.total:g}"]
        if percent is not None:
            parts.append(f"({percent:.0f} %)")
        return " ".join([*parts, self.message] if self.message else parts)


def report(task: Task, current: float, total: float | None, message: str, more: Mapping[str, Any]) -> None:
    """See `Task.progress`."""
    for name, value in (("current", current), ("total", total)):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | None)
            or (name == "current" and value is None)
        ):
            raise TypeError(f"the {name} of a progress is a number, not {value!r}")
    request = task.request
    if request.id is None:
        return  # called as a function: nobody waits for a result
    now = time.monotonic()
    last = request.__dict__.get("_reported")
    if last is not None and now - last < PAUSE and current != total:
        return
    request.__dict__["_reported"] = now
    meta: dict[str, Any] = {"current": current, "total": total}
    if message:
        meta["message"] = message
    task.update_state(state=PROGRESS, meta={**more, **meta})


def track(task: Task, items: Iterable[T], total: float | None, message: str) -> Iterator[T]:
    """See `Task.track`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    task.progress(0, total, message)
    for count, item in enumerate(items, 1):
        yield item
        task.progress(count, total, message)


def read(meta: Mapping[str, Any]) -> Progress | None:
    """The progress that a record tells; None if it tells none."""
    told = meta.get("result")
    if meta.get("status") != PROGRESS or not isinstance(told, Mapping):
        return None
    current, total = told.get("current", told.get("done")), told.get("total")
    if not isinstance(current, int | float):
        return None
    known = ("current", "total", "message", "done")
    return Progress(
        current,
        total if isinstance(total, int | float) else None,
        str(told.get("message") or ""),
        {key: value for key, value in told.items() if key not in known},
    )
