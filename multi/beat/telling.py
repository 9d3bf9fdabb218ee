"""What a scheduler tells of many entries or runs, in a line each time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from multi.app.schedules.entry import Entry
from multi.app.timetable.merging import Merge
from multi.app.timetable.runs import is_ahead
from multi.beat.agenda import Item
from multi.log import get_logger

logger = get_logger("multi.beat")

#: Names of entries in a line.
MOST = 10


class Telling:
    """Remembers what was told. `late`: so late (s) a run was missed; times are those of `zone`."""

    def __init__(self, late: float, zone: tzinfo) -> None:
        self._late = late
        self._zone = zone
        self._told: set[str] = set()
        self._making_up: set[str] = set()

    def once(self, name: str, what: str) -> None:
        """What is the matter with an entry."""
        if name not in self._told:
            self._told.add(name)
            logger.warning("Scheduler: %s %s", name, what)

    def merged(self, found: Merge) -> None:
        """How the code is other than what was kept of it."""
        for name in found.gone:
            logger.warning("Scheduler: %s is no longer in the code and is sent no more", name)
        for name in found.other:
            logger.info("Scheduler: %s is other than before in the code", name)
        if found.former:
            text = "Scheduler: new here, and going on from their last runs in the file of Celery's beat: %s"
            logger.info(text, _names(found.former))

    def set_back(self, seconds: float, items: Sequence[Item], now: float) -> None:
        """That the clock was, and which entries rest therefore, since they have been sent for the time that comes again."""
        logger.warning("Scheduler: the clock was set back by %.0f s", seconds)
        resting = [
            item
            for item in items
            if item.entry is not None
            and now < item.document.at
            and not is_ahead(item.entry.schedule, item.document.at, now)
        ]
        if resting:
            until = self._time(max(item.document.at for item in resting))
            names = _names([item.name for item in resting])
            logger.warning("Scheduler: what was sent until %s isn't sent twice: %s rest until then", until, names)

    def made_up(self, name: str, entry: Entry, runs: Sequence[float], now: float) -> None:
        """That many runs follow, before the first of them is sent, and when they were sent."""
        if entry.missed == "all" and runs and now - runs[0] > self._late:
            if name not in self._making_up:
                self._making_up.add(name)
                text = "Scheduler: runs of %s were missed from %s on; missed='all': each one is sent"
                logger.warning(text, name, self._time(runs[0]))
        elif name in self._making_up:
            self._making_up.discard(name)
            logger.warning("Scheduler: the runs of %s that were missed are sent", name)

    def sent(self, name: str, task: str, count: int) -> None:
        """What was sent for an entry."""
        logger.info("Scheduler: Sending due task %s (%s)%s", name, task, "" if count == 1 else f" {count} times")

    def _time(self, moment: float) -> str:
        return f"{datetime.fromtimestamp(moment, self._zone):%Y-%m-%d %H:%M:%S %Z}"


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")
