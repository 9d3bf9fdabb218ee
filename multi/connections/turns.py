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
_SIZE = _LAST.size + _PLACES * _ENTRY.size
#: A turn that nobody has come for is forgotten after so many seconds.
_KEPT = 600.0
#: Who comes back no more than this (s) before its turn has it: the clock of the place it waited at is another one.
_EARLY = 5.0


class Turns:
    """Gives one turn every `pause` seconds, to each in the order of asking; shared with processes forked later.

    Who has to wait gets its turn now and comes back for it. When more wait than are remembered (4096), the others take a
    new turn when they come back: the rate holds, the order doesn't.
    """

    def __init__(self, pause: float, file: _Unnamed | None = None, at: int = 0) -> None:
        self.pause = pause
        self._memory = mmap.mmap(-1, _SIZE)
        self._file = file or _Unnamed()
        self._at = at
        self._lock = threading.Lock()
        _LAST.pack_into(self._memory, 0, -1e12)

    @classmethod
    def several(cls, count: int) -> list[Turns]:
        """Some to be used later; they cost one descriptor together, and memory when they are used."""
        file = _Unnamed()
        return [cls(0.0, file, at) for at in range(count)]

    def begin(self, pause: float) -> None:
        """Give turns anew from now on, as if none had been given."""
        self._memory[:] = bytes(_SIZE)
        _LAST.pack_into(self._memory, 0, -1e12)
        self.pause = pause

    def reserve(self, member: str) -> float:
        """Seconds until the turn of `member`, 0 for now."""
        mark = int.from_bytes(blake2b(member.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1
        with self._lock:
            fcntl.lockf(self._file.descriptor, fcntl.LOCK_EX, 1, self._at)  # given back should this process die
            try:
                return self._reserve(mark, time.monotonic())
            finally:
                fcntl.lockf(self._file.descriptor, fcntl.LOCK_UN, 1, self._at)

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


class _Unnamed:
    """A file to lock, closed with the last who locks it: locks on it are each process's own."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("multi-turns", os.MFD_CLOEXEC)
            return
        import tempfile

        self.descriptor, path = tempfile.mkstemp(prefix="multi-turns-")
        os.unlink(path)

    def __del__(self) -> None:
        try:
            os.close(self.descriptor)
        except (AttributeError, OSError):
            pass
