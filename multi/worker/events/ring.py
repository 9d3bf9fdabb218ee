"""One child's events on their way to its worker: a ring of bytes in memory that both share.

The child writes lines, the worker takes them whole. Neither waits for the other: a line for which there is no room is dropped and
counted, so that what was written before stays whole, and a line that is written survives its child.

A line is an event as JSON text. One that is not to travel in the list of task events says so in front: `=`, the routing key, the
host's name and the text, with blanks between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from mmap import mmap
from threading import Lock

#: Bytes of one ring; pages that are never written take no memory.
SIZE = 512 * 1024
_HEADER = 64
#: Places in the header, of 8 bytes each: whether task events are wanted, whether the worker is to be woken, bytes that were
#: written since the beginning, bytes that were taken, lines that were dropped.
WANTED, ASLEEP, WRITTEN, TAKEN, DROPPED = range(5)


def keyed(key: str, hostname: str, text: bytes) -> bytes:
    """The line of an event that travels by itself, under this routing key."""
    return b"=%b %b %b\n" % (key.replace(" ", "").encode(), hostname.replace(" ", "").encode(), text)


class Ring:
    """Made by the worker before it forks a child, with the eventfd at which the worker is woken."""

    def __init__(self, bell: int, size: int = SIZE) -> None:
        self._bell = bell
        self._size = size
        self._memory = mmap(-1, _HEADER + size)
        self.header = memoryview(self._memory)[:_HEADER].cast("Q")
        self.header[ASLEEP] = 1
        self._lock = Lock()

    # the child's side ------------------------------------------------------------------------------------------------------

    def write(self, lines: bytes, count: int = 1) -> bool:
        """Write `count` lines, each with its line feed; False if there is no room for them."""
        header, size = self.header, self._size
        length = len(lines)
        with self._lock:
            written = header[WRITTEN]
            fill = written - header[TAKEN] + length
            if fill > size:
                header[DROPPED] += count
                return False
            at = written % size
            end = at + length
            if end <= size:
                self._memory[_HEADER + at : _HEADER + end] = lines
            else:
                first = size - at
                self._memory[_HEADER + at :] = lines[:first]
                self._memory[_HEADER : _HEADER + length - first] = lines[first:]
            # what stands there counts from here on
            header[WRITTEN] = written + length
            wake = header[ASLEEP] or (fill > size // 2 >= fill - length)
            if wake:
                header[ASLEEP] = 0
        if wake:
            self.ring()
        return True

    def sink(self) -> Callable[[str, str, bytes], None]:
        """What takes the events of whatever runs in the child; those of processes that it forks are not taken."""
        owner = os.getpid()

        def take(key: str, hostname: str, text: bytes) -> None:
            if os.getpid() == owner:
                self.write(keyed(key, hostname, text))

        return take

    def ring(self) -> None:
        """Wake the worker."""
        try:
            os.eventfd_write(self._bell, 1)
        except (BlockingIOError, OSError):
            pass  # it has been rung often enough, or is no more

    # the worker's side -----------------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """The lines that were written since the last time."""
        header = self.header
        taken, written = header[TAKEN], header[WRITTEN]
        if taken == written:
            return b""
        at, end, size = taken % self._size, written % self._size, self._size
        memory = self._memory
        if at < end:
            lines = memory[_HEADER + at : _HEADER + end]
        else:
            lines = memory[_HEADER + at : _HEADER + size] + memory[_HEADER : _HEADER + end]
        header[TAKEN] = written
        return lines

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be taken."""
        return self.header[TAKEN] == self.header[WRITTEN]

    @property
    def crowded(self) -> bool:
        """Whether more than half of it is filled."""
        return self.header[WRITTEN] - self.header[TAKEN] > self._size // 2

    @property
    def dropped(self) -> int:
        """Lines that found no room, since the beginning."""
        return self.header[DROPPED]

    def close(self) -> None:
        """Give the memory back."""
        self.header.release()
        self._memory.close()
