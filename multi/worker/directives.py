"""What is said to all children of a worker at run time, in memory that they share: limits of tasks, and how many may run at once.

The worker writes, each child looks before it claims, which costs 0.1 us where nothing has changed. Children that are forked
later have it from their worker, which goes by it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from struct import Struct
from typing import TYPE_CHECKING

import msgspec

from multi.app import rates
from multi.connections.turns import Turns

if TYPE_CHECKING:
    from multi.app.app import App

_LENGTH = Struct("<I")
_VERSION = 4
_HALF = 128 * 1024
#: So many tasks can have a rate limit of their own at once that was set at run time.
SPARE = 64


class Content(msgspec.Struct):
    """All that holds now. Rates are with the number of the turns that they go by."""

    rates: dict[str, tuple[str | float | None, int]] = {}
    times: dict[str, tuple[float | None, float | None]] = {}
    concurrency: int | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Content).decode


class Directives:
    """The page. `version` is its counter as bytes: a child that has seen this one need not read on."""

    def __init__(self) -> None:
        self._memory = mmap(-1, _VERSION + 2 * _HALF)
        self.content = Content()
        #: made before the first fork, so that all children have their turns in common
        self.turns: Sequence[Turns] = Turns.several(SPARE)

    @property
    def version(self) -> bytes:
        return self._memory[:_VERSION]

    def read(self) -> tuple[bytes, Content]:
        """The version and what belongs to it."""
        while True:
            version = self.version
            number = int.from_bytes(version, "little")
            at = _VERSION + number % 2 * _HALF
            length = _LENGTH.unpack_from(self._memory, at)[0]
            data = self._memory[at + _LENGTH.size : at + _LENGTH.size + length]
            # two changes later this half would be written again
            if self.version == version:
                return version, _decode(data) if length else Content()

    def write(self, content: Content) -> None:
        """From now on this; called by the worker alone. Raises `ValueError` for more than there is room for."""
        data = _encode(content)
        if len(data) > _HALF - _LENGTH.size:
            raise ValueError(f"there is no room for more limits set at run time: {len(content.times)} time limits are")
        number = (int.from_bytes(self.version, "little") + 1) % (1 << 8 * _VERSION)
        at = _VERSION + number % 2 * _HALF
        self._memory[at + _LENGTH.size : at + _LENGTH.size + len(data)] = data
        _LENGTH.pack_into(self._memory, at, len(data))
        self._memory[:_VERSION] = number.to_bytes(_VERSION, "little")
        self.content = content

    # the worker's side ---------------------------------------------------------------------------------------------------

    def limit_rate(self, app: App, task: str, rate: str | float | None) -> None:
        """Set the rate of a task for everybody who runs it in this worker. Raises `ValueError`."""
        taken = {number for _, number in self.content.rates.values()}
        free = next((number for number in range(SPARE) if number not in taken), None)
        if free is None:
            raise ValueError(
                f"{SPARE - 1} rate limits were set at run time already; `multi reload` reads those of the code"
            )
        self.turns[free].begin(rates.interval(rate))
        self._put(app, msgspec.structs.replace(self.content, rates={**self.content.rates, task: (rate, free)}))

    def limit_time(self, app: App, task: str, soft: float | None, hard: float | None) -> None:
        """Set the time limits of a task. Raises `ValueError`."""
        self._put(app, msgspec.structs.replace(self.content, times={**self.content.times, task: (soft, hard)}))

    def run_at_once(self, app: App, concurrency: int) -> None:
        """How many tasks a child may run at once that runs many."""
        self._put(app, msgspec.structs.replace(self.content, concurrency=concurrency))

    def _put(self, app: App, content: Content) -> None:
        self.write(content)
        heed(app, content, self.turns)


def heed(app: App, content: Content, turns: Sequence[Turns]) -> None:
    """Have this process go by it: the tasks' attributes are set, and what was worked out of them is worked out anew."""
    for name, (rate, number) in content.rates.items():
        task = app.tasks.get(name)
        if task is None:
            continue
        pause = rates.interval(rate)
        if pause:
            app.turns[(name, pause)] = turns[number]
            turns[number].pause = pause
        task.rate_limit = rate or 0
        _forget(app, name)
    for name, (soft, hard) in content.times.items():
        task = app.tasks.get(name)
        if task is not None:
            task.soft_time_limit, task.time_limit = soft, hard
            _forget(app, name)


def _forget(app: App, name: str) -> None:
    if app.executor is not None:
        app.executor.forget(name)
