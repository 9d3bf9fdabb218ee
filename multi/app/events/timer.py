"""Calls functions again and again, in one thread of its own: for cameras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

from multi.log import get_logger


class Entry:
    """What is called again and again; call it for once more at once."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.cancelled = False
        self._call: Callable[[], Any] = lambda: function(*args, **kwargs)

    def __call__(self) -> Any:
        return self._call()

    def cancel(self) -> None:
        self.cancelled = True


class Timer:
    """Its thread begins with the first entry. What a function raises is logged, and it is called again the next time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, float, Entry]] = []
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Entry:
        """Call it every `secs` seconds, for the first time when so many have passed. Of those that are due together the
        smaller `priority` comes first."""
        entry = Entry(fun, args, kwargs or {})
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="timer", daemon=True)
                self._thread.start()
            self._add(monotonic() + secs, secs, entry, priority)
            self._changed.notify()
        return entry

    def stop(self) -> None:
        """Call nothing any more; what is running ends first."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _add(self, due: float, secs: float, entry: Entry, priority: int = 0) -> None:
        heappush(self._due, (due, priority * 1_000_000_000 + next(self._numbers), secs, entry))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (not self._due or self._due[0][0] > monotonic()):
                    self._changed.wait(self._due[0][0] - monotonic() if self._due else None)
                if self._stopped:
                    return
                due, number, secs, entry = heappop(self._due)
            if entry.cancelled:
                continue
            try:
                entry()
            except Exception:
                get_logger(__name__).exception("What is called every %g s has failed; it is called again", secs)
            with self._changed:
                # after a slow call not as many at once as were missed
                heappush(self._due, (max(due + secs, monotonic()), number, secs, entry))
