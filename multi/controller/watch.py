"""Waits until something has happened to one of several nodes: a keeper has ended, or has written its status."""

from __future__ import annotations

import os
import select
import struct

from multi.controller.keeper import libc

_IN_MOVED_TO = 0x80
_WITHOUT_INOTIFY = 0.05
_EVENT = struct.Struct("iIII")


class Watch:
    """Descriptors of processes and runtime directories, watched together."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._inotify = libc.inotify()
        self._numbers: dict[str, int] = {}
        self._news: set[int] = set()
        if self._inotify >= 0:
            self._poll.register(self._inotify, select.POLLIN)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._inotify >= 0:
            os.close(self._inotify)

    def directory(self, path: str) -> None:
        """Wake up when a file in `path` is replaced."""
        if self._inotify >= 0:
            self._numbers[path] = libc.watch(self._inotify, path, _IN_MOVED_TO)

    def has_news(self, path: str) -> bool:
        """Whether a file in `path` was replaced since this was asked last; True where nobody can tell."""
        number = self._numbers.get(path, -1)
        if number < 0:
            return True
        if number not in self._news:
            return False
        self._news.discard(number)
        return True

    def process(self, fd: int) -> None:
        """Wake up when the process of this descriptor has ended."""
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Stop watching a process; must happen before its descriptor is closed."""
        try:
            self._poll.unregister(fd)
        except KeyError:
            pass  # was not watched

    def wait(self, seconds: float | None) -> None:
        """Return when something has happened, at the latest after `seconds` (None: whenever it is)."""
        if self._inotify < 0:
            seconds = _WITHOUT_INOTIFY if seconds is None else min(seconds, _WITHOUT_INOTIFY)
        self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000 + 1)
        try:
            while self._inotify >= 0:
                self._note(os.read(self._inotify, 65536))
        except BlockingIOError:
            pass  # all news read

    def _note(self, events: bytes) -> None:
        at = 0
        while at < len(events):
            number, _, _, length = _EVENT.unpack_from(events, at)
            if number < 0:
                self._news.update(self._numbers.values())  # there were too many to be told one by one
            self._news.add(number)
            at += _EVENT.size + length
