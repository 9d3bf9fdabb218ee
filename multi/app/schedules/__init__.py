"""When periodic tasks run: intervals, crontabs, the sun, and schedules of a project's own. All of it is pure: a schedule
tells from a moment which one is next, and nothing here looks at a broker or waits."""

from __future__ import annotations

from multi.app.schedules.base import BaseSchedule, schedstate
from multi.app.schedules.cron import crontab
from multi.app.schedules.fields import ParseException, crontab_parser
from multi.app.schedules.interval import schedule
from multi.app.schedules.lazy import BeatLazyFunc
from multi.app.schedules.making import maybe_schedule
from multi.app.schedules.sun import solar

__all__ = [
    "BaseSchedule",
    "BeatLazyFunc",
    "ParseException",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
]
