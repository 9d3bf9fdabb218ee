"""The log of a node: a file that the worker appends to by itself, and that its keeper renames when it has grown.

The keeper stands between nobody: the worker's output is the file, so that it goes on when the keeper is gone. After a
rotation lines go to the renamed file until the worker has opened the new one; none is lost.
"""

from __future__ import annotations

import os
import time

from . import libc

#: After a sign of life in the log, the next look at its size is this far away; a silent log wakes nobody.
PAUSE = 1.0


class Log:
    """`fd` is open for appending; without a path it is standard error, and there is no rotation."""

    def __init__(self, path: str | None, max_bytes: int, backups: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.backups = backups
        self.fd = 2
        self.watch_fd = -1
        self._watch = -1
        self._limit = max_bytes
        if path is not None:
            self._open()
            if max_bytes > 0:
                self.watch_fd = libc.inotify()
                self._rewatch()

    def say(self, level: str, text: str) -> None:
        """A line of the keeper's own."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        line = f"[{stamp},{int(now % 1 * 1000):03d}: {level}/Keeper] {text}\n"
        try:
            os.write(self.fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # a full disk must not end the keeper

    def reopen(self) -> None:
        """Go on in the file that has the log's name now; on trouble the old one stays in use."""
        if self.path is None:
            return
        try:
            self._open()
        except OSError as error:
            self.say("ERROR", f"the log can't be opened anew, its old file stays in use: {error}")
        self._rewatch()

    def is_full(self) -> bool:
        """Whether it is time to rotate. Also forgets the signs of life so far."""
        try:
            if self.watch_fd >= 0:
                while os.read(self.watch_fd, 65536):
                    pass
        except OSError:
            pass  # all read
        try:
            return 0 < self._limit <= os.fstat(self.fd).st_size
        except OSError:
            return False

    def rotate(self) -> bool:
        """Rename the log and its older copies, and open a new one; False when that was not possible."""
        assert self.path is not None
        try:
            for number in range(self.backups - 1, 0, -1):
                if os.path.exists(f"{self.path}.{number}"):
                    os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
            os.replace(self.path, f"{self.path}.1")
            self._open()
        except OSError as error:
            self._limit = os.fstat(self.fd).st_size + self.max_bytes  # or this line would come every second
            self.say("ERROR", f"the log can't be rotated: {error}")
            return False
        finally:
            self._rewatch()
        self._limit = self.max_bytes
        return True

    def _open(self) -> None:
        assert self.path is not None
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)
        if self.fd > 2:
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)
        else:
            self.fd = fd

    def _rewatch(self) -> None:
        if self.watch_fd < 0 or self.path is None:
            return
        if self._watch >= 0:
            libc.unwatch(self.watch_fd, self._watch)
        self._watch = libc.watch(self.watch_fd, self.path, libc.IN_MODIFY)
