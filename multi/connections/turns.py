"""Turns under a rate limit, kept in memory: of one process, or of a worker and its children."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from hashlib import blake2b

_LAST = struct.Struct("=d")
_ENTRY = struct.Struct("=Qd")
#: Turns that are remembered, and how far from its place one is looked for.
_PLACES, _PROBES = 4096, 64
#: A turn that nobody has come for is forgotten after so many seconds.
_KEPT = 600.0
#: Who comes back no more than this (s) before its turn has it: the clock of the place it waited at is another one.
_EARLY = 5.0


class Turns:
    """Gives one turn every `pause` seconds, to each in the order of asking; shared with processes forked later.

    Who has to wait gets its turn now and comes back for it. When more wait than are remembered (4096), the others take a
    new turn when they come back: the rate holds, the order doesn't.
    """

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self._memory = mmap.mmap(-1, _LAST.size + _PLACES * _ENTRY.size)
        self._file = _unnamed_file()
        self._lock = threading.Lock()
        _LAST.pack_into(self._memory, 0, -1e12)

    def reserve(self, member: str) -> float:
        """Seconds until the turn of `member`, 0 for now."""
        mark = int.from_bytes(blake2b(member.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)  # the kernel gives it back should this process die
            try:
                return self._reserve(mark, time.monotonic())
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _reserve(self, mark: int, now: float) -> float:
        memory = self._memory
        free = -1
        start = mark % _PLACES
        for probe in range(_PROBES):
            place = _LAST.size + (start + probe) % _PLACES * _ENTRY.size
            held, turn = _ENTRY.unpack_from(memory, place)
            if held == mark:
                wait: float = turn - now
                if wait > _EARLY:
                    return wait
                _ENTRY.pack_into(memory, place, 0, 0.0)
                return 0.0
            if free < 0 and (not held or turn < now - _KEPT):
                free = place
        mine: float = max(now, _LAST.unpack_from(memory, 0)[0] + self.pause)
        _LAST.pack_into(memory, 0, mine)
        if mine > now and free >= 0:
            _ENTRY.pack_into(memory, free, mark, mine)
        return max(0.0, mine - now)

    def __del__(self) -> None:
        try:
            os.close(self._file)
        except (AttributeError, OSError):
            pass


def _unnamed_file() -> int:
    """A descriptor to lock: locks on it are each process's own."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("multi-turns", os.MFD_CLOEXEC)
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="multi-turns-")
    os.unlink(path)
    return descriptor
