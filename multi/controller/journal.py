"""The lines of a node that its manager keeps in a journal: copied into a file, from which they are read as any log."""

from __future__ import annotations

import os
import subprocess
import tempfile

from multi.controller.keeper import libc
from multi.controller.managers.base import ManagerError, Unit

_CURSOR = b"-- cursor: "
_BLOCK = 4096


class Journal:
    """A copy of what a unit's journal holds; `lines` and `since` say how much is wanted of it (None: all)."""

    def __init__(self, unit: Unit, *, lines: int | None, since: float | None) -> None:
        self._unit = unit
        self._follower: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="multi-journal-")  # its own, since that is what is watched
        self.path = os.path.join(self._folder.name, "lines")
        self._file = open(self.path, "w+b")  # noqa: SIM115 (it is open as long as this object)
        words = [*unit.journal(follow=False, lines=lines, since=since), "--show-cursor"]
        try:
            done = subprocess.run(words, stdout=self._file, stderr=subprocess.PIPE, check=False)
        except FileNotFoundError:
            self.close()
            raise ManagerError(f"the lines of {unit} are in the journal, and there is no journalctl here") from None
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        self._cursor = self._cut_cursor()
        # with nothing in the wanted time it ends with 1, and says nothing of it
        is_empty = done.returncode == 1 and not said
        if not self._cursor and not is_empty and (done.returncode or "not seeing messages" in said):
            self.close()
            raise ManagerError(
                f"the journal of {unit} can't be read ({said or f'exit status {done.returncode}'}); read it as root, or as a "
                "member of the group systemd-journal"
            )

    def follow(self) -> None:
        """Have what comes from now on added to the copy."""
        words = [*self._unit.journal(follow=True, lines=None, since=None)]
        if self._cursor:
            words.append(f"--after-cursor={self._cursor}")
        self._follower = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.DEVNULL,
            preexec_fn=libc.end_with_parent,  # noqa: PLW1509 (no threads here; it would go on for ever when we are killed)
        )

    def close(self) -> None:
        """End it; the copy is gone then."""
        if self._follower is not None:
            self._follower.terminate()
            self._follower.wait()
            self._follower = None
        self._file.close()
        self._folder.cleanup()

    def _cut_cursor(self) -> str:
        """Where the journal was when it was read, which is the last line of what was printed; that is taken off."""
        fd = self._file.fileno()
        size = os.fstat(fd).st_size
        end = os.pread(fd, _BLOCK, max(0, size - _BLOCK))
        at = end.rfind(_CURSOR)
        if at < 0:
            return ""
        begin = size - len(end) + at
        os.ftruncate(fd, begin)
        os.lseek(fd, begin, os.SEEK_SET)
        return end[at + len(_CURSOR) :].decode().strip()
