"""Schedules from what entries give."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, overload

from multi.app.schedules.base import BaseSchedule
from multi.app.schedules.cron import crontab
from multi.app.schedules.interval import schedule
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App

Given = float | timedelta | str | BaseSchedule


@overload
def maybe_schedule(s: None, relative: bool = False, app: App | None = None) -> None: ...
@overload
def maybe_schedule(s: Given, relative: bool = False, app: App | None = None) -> BaseSchedule: ...
def maybe_schedule(s: Given | None, relative: bool = False, app: App | None = None) -> BaseSchedule | None:
    """The schedule that `s` stands for: seconds, a timedelta, one of cron's lines, or a schedule, which is told its app."""
    if s is None:
        return None
    if isinstance(s, int | float | timedelta):
        return schedule(s, relative, app=app)
    if isinstance(s, str):
        return crontab.from_string(s, app=app)
    if not isinstance(s, BaseSchedule):
        hint = " (celery.schedules has schedules for Celery's beat; import them from multi)"
        theirs = type(s).__module__.startswith("celery.")
        raise ConfigurationError(
            f"schedule: {s!r} is none; give seconds, a timedelta, crontab(...), solar(...) or a schedule of your own"
            + (hint if theirs else "")
        )
    if app is not None:
        s.app = app
    return s
