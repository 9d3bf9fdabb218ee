"""One child's events on their way to its worker: a ring of bytes in memory that both share.

The child writes lines, the worker takes them whole. Neither waits for the other: a line for which there is no room is dropped and
counted, so that what was written before stays whole, and a line that is written survives its child.

A line is an event as JSON text, or in front of it what an event needs that travels by itself, see `keyed`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from mmap import mmap
from threading import Lock

#: Bytes of one ring; pages that are never written take no memory.
SIZE = 512 * 1024
#: Whenever so many bytes were written, the worker is woken, whether it would look soon or not. More often would cost more than it
#: brings: who is woken takes the processor from a child.
PLENTY = SIZE // 2
_HEADER = 64
#: Places in the header, of 8 bytes each: whether task events are wanted, whether the worker is to be woken, bytes that were
#: written since the beginning, bytes that were taken, lines that were dropped.
WANTED, ASLEEP, WRITTEN, TAKEN, DROPPED = range(5)


def keyed(key: str, hostname: str, text: bytes) -> bytes:
    """The line of an event that travels by itself, under this routing key."""
    return b"%b %b %b\n" % (key.replace(" ", "").encode(), hostname.replace(" ", "").encode(), text)


def unkeyed(line: bytes) -> tuple[str, str, bytes]:
    """Routing key, name of the host, and text of such a line."""
    key, hostname, text = line.rstrip(b"\n").split(b" ", 2)
    return key.decode(), hostname.decode(), text


class Ring:
    """Made by the worker before it forks a child, with the eventfd at which the worker is woken. One thread writes."""

    def __init__(self, bell: int, size: int = SIZE) -> None:
        self._bell = bell
        self._size = size
        # the writer's own: what it has written, up to where there is room, and where there is plenty
        self._written, self._room, self._plenty = 0, size, PLENTY
        self._memory = mmap(-1, _HEADER + size)
        self.header = memoryview(self._memory)[:_HEADER].cast("Q")
        self.header[ASLEEP] = 1

    # the child's side ------------------------------------------------------------------------------------------------------

    def write(self, lines: bytes, count: int = 1) -> None:
        """Write `count` lines, each with its line feed, if there is room for them."""
        header, size = self.header, self._size
        length = len(lines)
        at = self._written % size + _HEADER
        written = self._written + length
        if written > self._room:
            self._room = header[TAKEN] + size
            if written > self._room:
                header[DROPPED] += count
                return
        end = at + length
        if end <= size + _HEADER:
            self._memory[at:end] = lines
        else:
            first = size + _HEADER - at
            self._memory[at:] = lines[:first]
            self._memory[_HEADER : _HEADER + length - first] = lines[first:]
        # what stands there counts from here on
        header[WRITTEN] = self._written = written
        if header[ASLEEP] or written > self._plenty:
            header[ASLEEP] = 0
            self._plenty = written + PLENTY
            self.ring()

    def ring(self) -> None:
        """Wake the worker."""
        try:
            os.eventfd_write(self._bell, 1)
        except OSError:
            pass  # it has been rung often enough, or is no more

    # the worker's side -----------------------------------------------------------------------------------------------------

    def take(self, most: int) -> bytes:
        """The lines that were written since the last time, whole ones, of about so many bytes."""
        header, memory, size = self.header, self._memory, self._size
        taken = header[TAKEN]
        waiting = header[WRITTEN] - taken
        if not waiting:
            return b""
        at = taken % size + _HEADER
        straight = min(waiting, size + _HEADER - at)
        if straight > most:
            cut = memory.rfind(b"\n", at, at + most) + 1 or memory.find(b"\n", at + most, at + straight) + 1
            straight = cut - at if cut else straight
        lines = memory[at : at + straight]
        if not lines.endswith(b"\n"):  # the end of the memory is amid a line
            rest = memory.find(b"\n", _HEADER, _HEADER + waiting - straight) + 1
            lines += memory[_HEADER:rest]
        header[TAKEN] = taken + len(lines)
        return lines

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be taken."""
        return self.header[TAKEN] == self.header[WRITTEN]

    @property
    def plenty(self) -> bool:
        """Whether there is so much that it is to be taken at once."""
        return self.header[WRITTEN] - self.header[TAKEN] > PLENTY // 2

    @property
    def dropped(self) -> int:
        """Lines that found no room, since the beginning."""
        return self.header[DROPPED]

    def close(self) -> None:
        """Give the memory back."""
        self.header.release()
        self._memory.close()


class Rings:
    """Those of one child: for events of tasks, and for what the project's own code tells, from any thread."""

    def __init__(self, bell: int) -> None:
        self.tasks = Ring(bell)
        self.own = Ring(bell)
        self._lock = Lock()

    def sink(self) -> Callable[[str, str, bytes], None]:
        """What takes the events of whatever runs in the child; those of processes that it forks are not taken."""
        owner = os.getpid()

        def take(key: str, hostname: str, text: bytes) -> None:
            if os.getpid() == owner:
                with self._lock:
                    self.own.write(keyed(key, hostname, text))

        return take
