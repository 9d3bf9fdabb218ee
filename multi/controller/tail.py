"""Reads the logs of nodes, with their older copies: the last lines, those since a time, and what is added, over rotations.

A rotation renames the log, or (for a program that keeps it open for ever) takes its front off; both are noticed, and nothing
is shown twice or left out. Copies may be compressed.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, BinaryIO, cast

from multi.controller.keeper import cutting, libc
from multi.controller.keeper.copies import ENDING, Copies

_BLOCK = 65536
_AT_ONCE = 256 * 1024  # bytes that are read in one go of what was added
_TRIES, _PAUSE = 100, 0.01  # how often and for how many seconds a cut is waited for that others are making
_HEAD = 128  # bytes by which a log is known again under another number
_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80
_LONGEST_WAIT = 1000  # milliseconds: a folder may be removed and made again, and files be where there is no inotify


def regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a plain file and nothing else: a device may have no end, and a pipe nobody at its other one."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ESPIPE, "it is no plain file", path)
    return fd


def added(path: str | None, offset: int, count: int = 20) -> list[str]:
    """The last lines of what has been added to a log after `offset`."""
    if path is None:
        return []
    try:
        with open(path, "rb", opener=regular) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset if offset <= size else 0, size - _BLOCK))
            return file.read(_BLOCK).lstrip(b"\0").decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


class Tail:
    """One log, from the moment at which it is opened: what was before, and then what is added."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._begin = 0  # where its first line is: a cut may have left a hole before
        self._end = 0  # how far it has been read, or will have been when the past is
        self._head = b""
        self._rest = b""
        self.is_behind = False  # whether there was more to read after the last `more`
        self._open()
        if self._fd >= 0:
            self._end = _line_end(self._fd, self._begin)

    # ---- what was before

    def last(self, count: int) -> list[str]:
        """The last `count` lines; where the log has just been rotated, those of older copies before it."""
        lines = _last(self._fd, self._begin, self._end, count) if self._fd >= 0 else []
        for copy in self._copies():
            if len(lines) >= count:
                break
            lines = copy.last(count - len(lines)) + lines
        return [_text(line) for line in lines]

    def since(self, when: float, at: Callable[[str], float | None]) -> Iterator[str]:
        """The lines since then, through all copies that were written to after it; `at` tells the time of a line. It may begin
        somewhat earlier."""
        copies = []
        for copy in self._copies():
            if copy.written < when:
                break
            copies.append(copy)
        for number, copy in enumerate(reversed(copies)):
            yield from copy.lines(when if number == 0 else None, at)
        if self._fd >= 0:
            begin = self._begin if copies else _bisect(self._fd, self._begin, self._end, when, at)
            lines = map(_text, _lines(self._fd, begin, self._end))
            yield from lines if begin == self._begin else _from_time(lines, at)

    def backwards(self) -> Iterator[Iterator[str]]:
        """The lines of the log, then those of each older copy, the youngest first."""
        if self._fd >= 0:
            yield map(_text, _lines(self._fd, self._begin, self._end))
        for copy in self._copies():
            yield copy.lines()

    def unfinished(self) -> str:
        """What stands behind the last whole line."""
        if self._fd < 0:
            return ""
        return _text(os.pread(self._fd, _BLOCK, self._end))

    def _copies(self) -> list[_Copy]:
        """Youngest first; without one that is the log itself."""
        found = []
        seen = [] if self._fd < 0 else [_identity(os.fstat(self._fd))]
        for number, endings in sorted(Copies(self.path, 0, False).found().items()):
            copy = _Copy(f"{self.path}.{endings[0]}")
            if copy.identity is None:
                copy = _Copy(f"{self.path}.{number}{ENDING}")  # it was compressed at this moment
            half_cut = number == 1 and os.path.exists(f"{self.path}.cutting") and copy.head[:_HEAD] == self._head
            if copy.identity is not None and copy.identity not in seen and not half_cut:
                found.append(copy)
        return found

    # ---- what is added

    def more(self) -> Iterator[str]:
        """The lines that were added since. A log may grow as fast as it is read: they are no more than is good for one go."""
        yield from self._drain(_AT_ONCE)
        if not self.is_behind and self._has_moved():
            yield from self._drain()  # what was written between the last look and the renaming
            head, identity = self._head, None
            if self._fd >= 0:
                identity = _identity(os.fstat(self._fd))
                os.close(self._fd)
                self._fd = -1
            younger: list[_Copy] = []
            for copy in self._copies() if identity is not None else ():
                if copy.identity == identity or (head and copy.head[:_HEAD].startswith(head)):
                    break
                younger.append(copy)
            else:
                younger = []  # it is deleted already: there is no saying what came after it
            for copy in reversed(younger):
                yield from copy.lines()
            self._open()
            self._end = self._begin
            yield from self._drain()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        try:
            self._fd = regular(self.path)
        except OSError:
            self._fd = -1  # not there (yet)
        else:
            self._begin, self._head = self._front()

    def _drain(self, most: int = sys.maxsize) -> Iterator[str]:
        self.is_behind = False
        while self._fd >= 0:
            begin, head = self._front()
            if self._head and not head.startswith(self._head):
                yield from self._over_cuts()
                continue
            self._begin, self._head = begin, head
            data = os.pread(self._fd, _BLOCK, place := max(self._end, begin))
            if self._was_cut(data, place):
                continue
            self._end = place + len(data)
            yield from self._split(data)
            most -= len(data)
            self.is_behind = most <= 0
            if self.is_behind or not data:
                return

    def _front(self) -> tuple[int, bytes]:
        """Where the log begins, and how."""
        while True:
            begin = cutting.start(self._fd)
            head = os.pread(self._fd, _HEAD, begin)
            if cutting.start(self._fd) == begin:
                return begin, head

    def _was_cut(self, data: bytes, place: int) -> bool:
        """Whether the front was taken off while `data` was read (the mark is written first): then it may be anything."""
        if cutting.MARK.encode() in data[_HEAD if place == self._begin else 0 :]:
            self._wait_for_cut()
        begin, head = self._front()
        return begin != self._begin or not head.startswith(self._head)

    def _wait_for_cut(self) -> bool:
        """Wait while a cut is made; True if there was one. A keeper that was killed has left it to the next one."""
        for number in range(_TRIES):
            if not os.path.exists(f"{self.path}.cutting"):
                return number > 0
            time.sleep(_PAUSE)
        return False

    def _over_cuts(self) -> Iterator[str]:
        """The front was taken off: go on where we were, in the copy that has it now or further on."""
        for _ in range(_TRIES):
            begin, head = self._front()
            older: list[bytes] = []
            is_found = False
            for copy in self._copies():
                older.append(copy.read())
                if is_found := older[-1].startswith(self._head):
                    break
            front = os.pread(self._fd, _BLOCK, begin)
            # another cut meanwhile, and there is a copy more, under other numbers
            if not self._wait_for_cut() and self._front() == (begin, head):
                break
        place = self._end - self._begin
        self._begin, self._head = begin, head
        if not is_found:
            self._end, self._rest = begin, b""  # somebody has emptied it
            return
        for data, next_one in pairwise([*reversed(older), front]):
            mark = _mark_length(next_one)
            if place < len(data):
                yield from self._split(data[place:])
                place = mark
            else:
                place = place - len(data) + mark
        self._end = begin + place

    def _split(self, data: bytes) -> Iterator[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield _text(line)

    def _has_moved(self) -> bool:
        try:
            there = os.stat(self.path)
        except OSError:
            return False
        return self._fd < 0 or _identity(there) != _identity(os.fstat(self._fd))


class _Copy:
    """An older copy of a log. It is opened at once, so that a rotation meanwhile doesn't matter."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.identity: tuple[int, int] | None = None
        self.written = 0.0
        self.head = b""
        self._fd = -1
        try:
            self._fd = regular(path)
        except OSError:
            return
        status = os.fstat(self._fd)
        self.identity, self.written = _identity(status), status.st_mtime
        with self._opened() as file:
            self.head = file.read(_HEAD)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _opened(self) -> BinaryIO:
        os.lseek(self._fd, 0, os.SEEK_SET)
        file = os.fdopen(os.dup(self._fd), "rb")
        if self.path.endswith(ENDING):
            import gzip

            packed = gzip.GzipFile(fileobj=file)
            packed.myfileobj = cast("Any", file)  # to be closed with it
            return cast("BinaryIO", packed)
        return file

    def read(self) -> bytes:
        """All of it."""
        with self._opened() as file:
            return file.read()

    def last(self, count: int) -> list[bytes]:
        """Its last lines."""
        if self.path.endswith(ENDING):
            return self.read().splitlines(keepends=True)[-count:]
        return _last(self._fd, 0, os.fstat(self._fd).st_size, count)

    def lines(self, when: float | None = None, at: Callable[[str], float | None] | None = None) -> Iterator[str]:
        """Its lines; those since `when`, or some more, if that is given."""
        with self._opened() as file:
            if when is not None and at is not None and not self.path.endswith(ENDING):
                place = _bisect(self._fd, 0, os.fstat(self._fd).st_size, when, at)
                if place:
                    file.seek(place)
                    yield from _from_time(map(_text, file), at)
                    return
            yield from map(_text, file)


class Follow:
    """Waits until one of several logs has grown."""

    def __init__(self, paths: list[str]) -> None:
        import select

        self._poll = select.poll()
        self._folders = {os.path.dirname(path) for path in paths}
        self._fd = libc.inotify()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLIN)
            self._watch()

    def _watch(self) -> None:
        # the folder tells of writes to the files in it, and of new files after a rotation; one that is watched already
        # is not watched twice
        for folder in self._folders:
            libc.watch(self._fd, folder, libc.IN_MODIFY | _IN_CREATE | _IN_MOVED_TO)

    def wait(self) -> None:
        """Return when there may be more."""
        if self._fd < 0:
            self._poll.poll(_LONGEST_WAIT / 4)
            return
        if not self._poll.poll(_LONGEST_WAIT):
            self._watch()
        try:
            while os.read(self._fd, _BLOCK):
                pass
        except BlockingIOError:
            pass  # all news read


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _mark_length(data: bytes) -> int:
    """The length of the line that stands at the front of a log that was cut; 0 when there is none."""
    line, newline, _ = data.partition(b"\n")
    return len(line) + 1 if newline and cutting.MARK.encode() in line else 0


def _line_end(fd: int, begin: int) -> int:
    """Where the last whole line of an open file ends."""
    position = os.fstat(fd).st_size
    while position > begin:
        step = min(_BLOCK, position - begin)
        found = os.pread(fd, step, position - step).rfind(b"\n")
        if found >= 0:
            return position - step + found + 1
        position -= step
    return begin


def _last(fd: int, begin: int, end: int, count: int) -> list[bytes]:
    """The last lines of a part of an open file, with their ends."""
    data = b""
    while end > begin and data.count(b"\n") <= count:
        step = min(_BLOCK, end - begin)
        end -= step
        data = os.pread(fd, step, end) + data
    return data.splitlines(keepends=True)[-count:] if count else []


def _lines(fd: int, begin: int, end: int) -> Iterator[bytes]:
    """The lines of a part of an open file."""
    rest = b""
    while begin < end and (data := os.pread(fd, min(_BLOCK, end - begin), begin)):
        begin += len(data)
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _bisect(fd: int, begin: int, end: int, when: float, at: Callable[[str], float | None]) -> int:
    """A place in an open file, at the front of a line, before which there is nothing since `when`."""
    low, high = begin, end
    while high - low > _BLOCK:
        middle = (low + high) // 2
        data = os.pread(fd, _BLOCK, middle)
        place = middle
        found = None
        for line in data.split(b"\n")[1:-1]:
            if (found := at(_text(line))) is not None:
                break
        if found is None or found >= when:
            high = middle
        else:
            low = place
    data = os.pread(fd, _BLOCK, low)
    return low if low == begin else low + data.find(b"\n") + 1


def _from_time(lines: Iterator[str], at: Callable[[str], float | None]) -> Iterator[str]:
    """The lines from the first one on that tells its time: what is before it belongs to something older."""
    for line in lines:
        if at(line) is not None:
            yield line
            break
    yield from lines


def _text(line: bytes) -> str:
    return line.lstrip(b"\0").rstrip(b"\r\n").decode("utf-8", "replace")
