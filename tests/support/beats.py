"""Schedulers for tests: in this process with a clock that the test sets, or forked, by a clock that runs faster."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from multi import App
from multi.app.schedules.entries import entries_of
from multi.app.timetable.document import Document, read
from multi.app.timetable.runs import moment
from multi.app.timetable.shelves import shelf
from multi.beat.beat import Beat
from multi.beat.messages import MOMENT, NAME

TASK = "proj.tick"
#: When the clocks of tests begin, unless they say otherwise: 2023-11-14 22:13:20 UTC.
START = 1_700_000_000.0


def make_app(url: str, schedule: Mapping[str, Any], runs: list[Any] | None = None, **settings: Any) -> App:
    """An app with the task TASK, which takes whatever it is given and puts its id into `runs`, and this schedule."""
    app = App("proj", broker=url, set_as_current=False, **settings)

    @app.task(name=TASK, bind=True)
    def tick(self: Any, *args: Any, **kwargs: Any) -> None:
        if runs is not None:
            runs.append(self.request.id)

    app.conf.beat_schedule = {name: {"task": TASK, **entry} for name, entry in schedule.items()}
    return app


def make_beat(app: App, now: Callable[[], float], **more: Any) -> Beat:
    return Beat(app, shelf(app), entries_of(app), now=now, **more)


class Clock:
    """A clock that a test sets."""

    def __init__(self, at: float = START) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def run_until(beats: list[Beat], clock: Clock, end: float) -> None:
    """Let schedulers run by turns until their clock shows `end`, as they would by themselves."""
    while True:
        waits = [beat.tick() for beat in beats]
        if clock.at >= end:
            if all(waits):
                return
            continue
        clock.at = min(end, clock.at + min(waits))


def sent(app: App, queue: str = "celery") -> Counter[tuple[str, float]]:
    """How often each due run lies in the queue: entry and moment."""
    found: Counter[tuple[str, float]] = Counter()
    for seen in app.broker.peek(queue, 10**6):
        assert seen.message is not None
        headers = seen.message.headers
        found[headers[NAME], _epoch(headers[MOMENT])] += 1
    return found


def documents(app: App) -> dict[str, Document]:
    """What is kept of each entry."""
    place = shelf(app)
    found = {name: read(value) for name, value in place.keeps.documents(place.name)[1].items()}
    return {name: document for name, document in found.items() if document is not None}


def due_times(app: App, begin: Mapping[str, float], end: float) -> Counter[tuple[str, float]]:
    """Every due run of the app's schedule after `begin`, by entry, up to `end`: once each."""
    found: Counter[tuple[str, float]] = Counter()
    for name, entry in entries_of(app).items():
        due = entry.schedule.next_after(moment(begin[name]))
        while due is not None and due.timestamp() <= end:
            found[name, due.timestamp()] = 1
            due = entry.schedule.next_after(due)
    return found


def _epoch(text: str) -> float:
    from multi import clock

    return clock.to_epoch(text)


class Accelerated:
    """A clock that runs `speed` times as fast as others, for forked schedulers and for who forks them."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._begun = time.monotonic()

    def __call__(self) -> float:
        return START + (time.monotonic() - self._begun) * self.speed

    def fork(self, make: Callable[[], App]) -> int:
        """A scheduler in a process of its own, from this one, which has everything imported; its pid."""
        pid = os.fork()
        if pid:
            return pid
        try:
            random.seed()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            beat = make_beat(make(), self)
            while True:
                time.sleep(min(beat.tick(), 60.0) / self.speed)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def kill(pid: int) -> int:
    """End a process as the kernel does it; its exit code."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
