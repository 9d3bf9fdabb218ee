"""Events printed as they come, until Ctrl-C: a line each, or JSON."""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import TYPE_CHECKING

import click

from multi.app.events.state import State
from multi.app.events.tracked import Event
from multi.cli.events.feed import Feed
from multi.cli.events.lines import line, shown
from multi.cli.events.matching import Filter
from multi.cli.screen import complain
from multi.codecs import dump_json

if TYPE_CHECKING:
    from multi.app.app import App


#: What can be done where events of tasks are missing.
WAY_OUT = " (workers started with -E send events of tasks; --enable asks those that run to do so)"
_MOST_TOLD = 20


class Printer:
    """Prints what passes the filter; only that goes to standard output."""

    def __init__(self, chosen: Filter, *, as_json: bool) -> None:
        self.chosen = chosen
        self.as_json = as_json
        self.state = State()  # knows of which task an event is that names none

    def take(self, event: Event) -> None:
        """One event."""
        seen = self.state.event(event)
        task = self.state.tasks.get(event["uuid"]) if seen and event["type"].startswith("task-") else None
        if not self.chosen.takes_event(event, task):
            return
        event = shown(event)
        if self.as_json:
            sys.stdout.buffer.write(dump_json(event) + b"\n")
            sys.stdout.buffer.flush()
        else:
            click.echo(line(event, task))


def run(app: App, chosen: Filter, *, as_json: bool, enable: bool) -> None:
    """Print until Ctrl-C, SIGTERM, or until nobody reads any more."""
    feed = Feed(app, Printer(chosen, as_json=as_json).take, enable=enable, tell=complain)
    told: set[str] = set()
    closed = select.poll()
    closed.register(sys.stdout.fileno(), 0)

    def tick() -> None:
        if closed.poll(0):
            feed.stop()  # who has read what is printed is gone, and would be missed with the next line only
        if (lack := feed.lack()) and lack not in told and len(told) < _MOST_TOLD:
            told.add(lack)
            complain(f"{lack}{'' if enable else WAY_OUT}")

    feed.tick = tick
    signal.signal(signal.SIGTERM, lambda *_: feed.stop())
    try:
        feed.run()
    except KeyboardInterrupt:
        pass  # the way to end it
    except BrokenPipeError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())  # what is left of a line has nobody to go to
        os.close(nothing)
