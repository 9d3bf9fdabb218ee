"""Restarts nodes: each is started as soon as it is down, and told to stop at once or when it has nothing to do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from multi.controller import stop as stopping
from multi.controller.node import Node
from multi.controller.pausing import Idle
from multi.controller.start import Result, Start, at_once
from multi.controller.stop import TICK, Down, Stop
from multi.controller.watch import Watch
from multi.errors import ConfigurationError

HELD, WAITING, STOPPING, DOWN, STARTING, OVER = "held", "waiting", "stopping", "down", "starting", "over"
_LOOK = 0.2  # at pages of nodes that are to become idle: nobody tells when a page changes
_YOUNG = 1.0  # of a start whose news nobody needs yet


class Ladder(NamedTuple):
    """How a node is told to stop."""

    number: int = signal.SIGTERM
    quit_after: float | None = None
    kill_after: float | None = None


class News(NamedTuple):
    """Something to be told about a node that is on its way."""

    node: Node
    text: str


class Turn:
    """One node on its way down and up again. Without `stop` it waits until it is idle, or until `deadline` on the monotonic
    clock."""

    def __init__(
        self, start: Start, stop: Stop | None, ladder: Ladder | None = None, deadline: float | None = None
    ) -> None:
        self.node = start.node
        self.start = start
        self.stop = stop
        self.idle = Idle(start.node)
        self._ladder = ladder or Ladder()
        self._deadline = deadline
        self.phase = HELD if stop is None else STOPPING
        self.was_down = stop is not None and stop.is_down

    def begin(self, watch: Watch) -> None:
        """Set out, where it was told to stop already."""
        if self.stop is None:
            return
        if self.stop.is_down:
            self.phase = DOWN
        else:
            watch.process(self.stop.fd)

    def step(self, watch: Watch) -> Iterator[Down | Result | News]:
        """Go as far as it goes now."""
        if self.phase == WAITING:
            late = self._deadline is not None and time.monotonic() >= self._deadline
            if late or self.idle.is_reached():
                yield from self._send(watch, late=late)
        if self.phase == STOPPING and self.stop is not None:
            down = self.stop.step(watch)
            if down is not None:
                self.phase = DOWN
                yield down
        elif self.phase == STARTING:
            result = self.start.step(watch)
            if result is not None:
                self.close(watch)
                yield result
            elif time.monotonic() - self.start.begun > _YOUNG and (text := self.start.news()):
                yield News(self.node, text)

    def await_idle(self) -> None:
        """Let it consume nothing until it is idle."""
        self.phase = WAITING
        self.idle.begin()

    def _send(self, watch: Watch, *, late: bool) -> Iterator[News]:
        stop = stopping.begin(self.node)
        self.stop = stop
        sent = stop.send(*self._ladder, again=True)
        self.idle.take_back()
        if not sent:
            stop.close()
            self.was_down = True
            self.phase = DOWN
            return
        name = signal.Signals(self._ladder.number).name[3:]
        why = "still not idle at the deadline; stopped all the same" if late else "idle"
        yield News(self.node, f"{why}, {name} -> {stop.pid}")
        self.phase = STOPPING
        watch.process(stop.fd)

    def set_off(self, watch: Watch) -> None:
        """It is down: start it."""
        self.phase = STARTING
        self.start.begin(watch)

    def close(self, watch: Watch) -> None:
        """Let go of it."""
        if self.phase != OVER:
            self.start.close(watch)
        self.phase = OVER


def follow(
    turns: list[Turn],
    timeout: float,
    tick: Callable[[], None] | None = None,
    may_pause: Callable[[list[Node]], bool] | None = None,
) -> Iterator[Down | Result | News]:
    """What becomes of each, as it comes. `may_pause` is asked for nodes that would consume nothing at the same time."""
    with Watch() as watch:
        for turn in turns:
            turn.begin(watch)
        try:
            while left := [turn for turn in turns if turn.phase != OVER]:
                _let_wait(left, may_pause)
                _set_off(left, watch)
                for turn in left:
                    yield from turn.step(watch)
                    if turn.phase == STARTING and time.monotonic() - turn.start.begun > timeout:
                        waiting = turn.start.waiting()
                        turn.close(watch)
                        yield waiting
                if tick is not None:
                    tick()
                _sleep(watch, [turn for turn in turns if turn.phase != OVER], timeout, ticks=tick is not None)
        finally:
            for turn in turns:
                if turn.phase == WAITING:
                    turn.idle.take_back()
                turn.close(watch)


def _let_wait(turns: list[Turn], may_pause: Callable[[list[Node]], bool] | None) -> None:
    """Pause as many of those that are to become idle as may be, and always one."""
    away = [turn.node for turn in turns if turn.phase != HELD]
    for turn in turns:
        if turn.phase == HELD and (not away or may_pause is None or may_pause([*away, turn.node])):
            turn.await_idle()
            away.append(turn.node)


def _set_off(turns: list[Turn], watch: Watch) -> None:
    """Start as many of those that are down as may start at the same time."""
    alone = sum(turn.start.is_alone for turn in turns if turn.phase == STARTING)
    for turn in turns:
        if turn.phase == DOWN and (turn.start.load is not None or alone < at_once()):
            turn.set_off(watch)
            alone += turn.start.is_alone


def _sleep(watch: Watch, turns: list[Turn], timeout: float, *, ticks: bool) -> None:
    if not turns:
        return
    times = [TICK] if ticks else []
    waits = sum(turn.start.is_alone for turn in turns if turn.phase == STARTING) >= at_once()
    for turn in turns:
        if turn.phase == WAITING:
            times.append(_LOOK)
        elif turn.phase == DOWN and (turn.start.load is not None or not waits):
            return  # there is room for it
        elif turn.phase == STARTING:
            age = time.monotonic() - turn.start.begun
            times.append(timeout - age if turn.start.is_watched and age > _YOUNG else min(timeout - age, _YOUNG))
    watch.wait(min(times, default=None))


def in_batches(nodes: list[Node], size: str) -> list[list[Node]]:
    """The nodes in batches of a number, or of a part like 25% of all, at least one."""
    part, percent, _ = size.strip().partition("%")
    if (
        not part.isdecimal()
        or int(part) == 0
        or (percent and int(part) > 100)
        or size.strip() not in (part, f"{part}%")
    ):
        raise ConfigurationError(f"--batch {size}: it should be a number of nodes, or a part of them as 25%")
    count = max(1, len(nodes) * int(part) // 100) if percent else int(part)
    return [nodes[at : at + count] for at in range(0, len(nodes), count)]
