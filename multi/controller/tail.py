"""Reads the logs of nodes: the last lines, and what is added, over rotations."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from multi.controller.keeper import libc

_BLOCK = 65536
_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80
_WITHOUT_INOTIFY = 0.25


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
            return file.read(_BLOCK).decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


class Tail:
    """One log file, read on from where the last call has stopped."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: int | None = None
        self._rest = b""

    def last(self, count: int) -> list[str]:
        """The last `count` lines; where the file has just been rotated, those of the older file before it."""
        self._open()
        lines = [] if self._file is None else _last(self._file, count)
        if self._file is not None:
            if lines and not lines[-1].endswith(b"\n"):
                self._rest = lines.pop()  # unfinished: told when it is whole
            os.lseek(self._file, 0, os.SEEK_END)
        if len(lines) < count:
            try:
                older = regular(f"{self.path}.1")
            except OSError:
                pass  # never rotated
            else:
                lines = _last(older, count - len(lines)) + lines
                os.close(older)
        return [_text(line) for line in lines]

    def more(self) -> Iterator[str]:
        """The lines that were added since. After a rotation first the rest of the old file, then the new one."""
        yield from self._drain()
        if self._moved():
            yield from self._drain()  # what was written between the last look and the rename
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._open()
            yield from self._drain()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        if self._file is None:
            try:
                self._file = regular(self.path)
            except OSError:
                self._file = None  # not there (yet)

    def _drain(self) -> Iterator[str]:
        if self._file is None:
            return
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)  # somebody has emptied it
        while data := os.read(self._file, _BLOCK):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield _text(line)

    def _moved(self) -> bool:
        try:
            there = os.stat(self.path)
        except OSError:
            return False
        if self._file is None:
            return True
        ours = os.fstat(self._file)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


class Follow:
    """Waits until one of several logs has grown."""

    def __init__(self, paths: list[str]) -> None:
        import select

        self._poll = select.poll()
        self._paths = paths
        self._fd = libc.inotify()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLIN)
            for folder in {os.path.dirname(path) for path in paths}:
                # the folder tells of writes to the files in it, and of new files after a rotation
                libc.watch(self._fd, folder, libc.IN_MODIFY | _IN_CREATE | _IN_MOVED_TO)

    def wait(self) -> None:
        """Return when there may be more."""
        self._poll.poll(None if self._fd >= 0 else _WITHOUT_INOTIFY * 1000)
        try:
            while self._fd >= 0 and os.read(self._fd, _BLOCK):
                pass
        except BlockingIOError:
            pass  # all news read


def _last(file: int, count: int) -> list[bytes]:
    """The last lines of an open file, with their ends."""
    position = os.fstat(file).st_size
    data = b""
    while position > 0 and data.count(b"\n") <= count:
        step = min(_BLOCK, position)
        position -= step
        data = os.pread(file, step, position) + data
    return data.splitlines(keepends=True)[-count:] if count else []


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode("utf-8", "replace")
