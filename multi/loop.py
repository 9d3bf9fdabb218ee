"""A small event loop: descriptors and timers, nothing else.

The worker's own process and the brokers' watches run on it. It is not asyncio because importing asyncio costs
some 30 ms and 6 MB in every node, and because forking from a running asyncio loop is not supported.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
from collections.abc import Callable
from time import monotonic

Callback = Callable[[], None]


class Timer:
    """A call to come; `cancel` is harmless at any time, also afterwards."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Calls back when a descriptor is ready or a time has come, in one thread.

    Callbacks must not block for long. An exception of a callback ends `run` and reaches its caller.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = False

    def on_readable(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` whenever `fd` can be read (or has reached its end); None takes it back."""
        self._watch(fd, selectors.EVENT_READ, callback)

    def on_writable(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` whenever `fd` can be written; None takes it back."""
        self._watch(fd, selectors.EVENT_WRITE, callback)

    def forget(self, fd: int) -> None:
        """Take back all callbacks of `fd`; must happen before the descriptor is closed."""
        try:
            key = self._selector.unregister(fd)
        except KeyError:
            return  # was not watched: nothing to take back
        key.data.clear()  # an event of this very turn may be waiting its turn

    def later(self, seconds: float, callback: Callback) -> Timer:
        """Call `callback` once, `seconds` from now (0: in the next turn)."""
        timer = Timer(monotonic() + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def every(self, seconds: float, callback: Callback) -> Timer:
        """Call `callback` every `seconds`, first after that time; the pause counts from the end of each call."""
        timer = Timer(monotonic() + seconds, callback)

        def tick() -> None:
            callback()
            if timer.callback is not None:
                timer.due = monotonic() + seconds
                heapq.heappush(self._timers, (timer.due, next(self._order), timer))

        timer.callback = tick
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def run(self) -> None:
        """Serve until `stop` is called by a callback."""
        self._running = True
        while self._running:
            self.turn()

    def turn(self, timeout: float | None = None) -> None:
        """Wait for the next event (at most `timeout` seconds, None: as long as it takes) and call what is due."""
        now = monotonic()
        if self._timers:
            until = max(0.0, self._timers[0][0] - now)
            timeout = until if timeout is None else min(timeout, until)
        for key, events in self._selector.select(timeout):
            callbacks: dict[int, Callback] = key.data
            for event in (selectors.EVENT_READ, selectors.EVENT_WRITE):
                # looked up afresh: an earlier callback of this turn may have taken this one back
                if events & event and (callback := callbacks.get(event)) is not None:
                    callback()
        now = monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback()

    def stop(self) -> None:
        """Let `run` return after the current turn."""
        self._running = False

    def close(self) -> None:
        """Give the loop's own descriptor back; the watched ones belong to their owners."""
        self._selector.close()
        self._timers.clear()

    def _watch(self, fd: int, event: int, callback: Callback | None) -> None:
        callbacks: dict[int, Callback]
        try:
            callbacks = self._selector.get_key(fd).data
        except KeyError:
            if callback is not None:
                self._selector.register(fd, event, {event: callback})
            return
        if callback is None:
            callbacks.pop(event, None)
        else:
            callbacks[event] = callback
        mask = 0
        for wanted in callbacks:
            mask |= wanted
        if mask:
            self._selector.modify(fd, mask, callbacks)
        else:
            self._selector.unregister(fd)
