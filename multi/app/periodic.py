"""Periodic tasks that a program adds to its app, beside those of the setting `beat_schedule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.app.canvas.signatures import Signature
    from multi.app.schedules.base import BaseSchedule
    from multi.app.schedules.entries import Added
    from multi.app.task import Task
    from multi.app.timetable.api import Timetable


class Periodic:
    """What `App` has of this."""

    @cached_property
    def added_entries(self) -> list[Added]:
        """What `add_periodic_task` was told; looked at when a scheduler reads the entries."""
        return []

    def add_periodic_task(
        self,
        schedule: float | timedelta | str | BaseSchedule,
        sig: Signature | Task[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **opts: Any,
    ) -> str:
        """Have a task sent by `multi beat` on a schedule, and get the entry's name: `name`, else the call as text.

        `args` come before those of the signature, `kwargs` and `opts` (options of `apply_async`) over its own. An entry's own
        keys are taken as well: `relative`, `missed`, `tz`, `enabled`. Best called in a function connected to
        `on_after_configure` or `on_after_finalize`, or where the module of tasks is imported.
        """
        from multi.app.schedules.entries import from_signature

        added = from_signature(self, schedule, sig, args, kwargs, name, opts)  # type: ignore[arg-type]  # the app that this is a part of
        self.added_entries.append(added)
        return added.name

    @property
    def schedule(self) -> Timetable:
        """The schedule at run time, as the schedulers keep it: list, get, next, set, remove, pause, resume, run."""
        from multi.app.timetable.api import Timetable

        return Timetable(self)  # type: ignore[arg-type]  # the app that this is a part of
