"""The log of a node: a file that the worker appends to by itself, and that its keeper rotates by size and time.

The keeper stands between nobody: the worker's output is the file, so that it goes on when the keeper is gone. There are
two ways to rotate. Usually the file is renamed, and the worker is told to open the new one; until it has, lines go to the
renamed file, and none is lost. A program that never opens its log again keeps its file, and what is old is taken off at
the front of it (`cutting.py`).
"""

from __future__ import annotations

import os
import time

from . import cutting, libc
from .copies import Copies
from .record import encode

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

#: After a sign of life in the log, the next look at its size is this far away; a silent log wakes nobody.
PAUSE = 1.0
_WITHOUT_INOTIFY = 30.0
_LONGEST_SLEEP = 3600.0  # on the way to a time of day: the clock may be set meanwhile
_FIRST_RETRY, _LAST_RETRY = 1.0, 600.0
_BRISK = 0.25  # from one copy that is compressed to the next
_MOST_UNSAID = 20
_EVENTS = libc.IN_MODIFY | libc.IN_ATTRIB | libc.IN_MOVE_SELF | libc.IN_DELETE_SELF


class Log:
    """`fd` is open for appending; without a path it is standard error, and there is no rotation."""

    def __init__(
        self,
        path: str | None,
        max_bytes: int = 0,
        backups: int = 5,
        *,
        every: float = 0,
        compress: bool = False,
        in_place: bool = False,
        as_json: bool = False,
        watched: bool = True,
    ) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.every = every
        self.in_place = in_place
        self.as_json = as_json
        self.fd = 2
        self.watch_fd = -1
        #: Seconds after which `look` wants to be called even if nobody writes; None: never.
        self.pause: float | None = None
        self._watch = -1
        self._limit = max_bytes
        self._retry = self._tidy_at = 0.0
        self._unwatched, self._seen = PAUSE, -1
        self._is_lost = False
        self._unsaid: list[str] = []
        if path is None:
            return
        self.copies = Copies(path, backups, compress)
        self._period = self._rotated = 0.0
        self._open()
        if in_place:
            cutting.finish(path, self._mark())
        if watched:
            self.watch_fd = libc.inotify()
            self._rewatch()
        if every > 0:
            self._rotated = time.monotonic() - every
            status = os.fstat(self.fd)
            self._period = self._period_of(status.st_mtime if status.st_size else time.time())
        self._plan()
        if self.copies.pending() or (max_bytes > 0 and self._size() >= max_bytes):
            self.pause = PAUSE

    @classmethod
    def of(cls, spec: dict[str, Any], *, watched: bool = True) -> Log:
        """The log that a specification names; an OSError where it can't be opened.

        One that isn't `watched` takes none of the few instances of inotify that a user may have (128 is usual), and
        is looked at every second while it grows, every half minute while it doesn't.
        """
        return cls(
            spec.get("log_file"),
            spec.get("log_size", 0),
            max(1, spec.get("log_keep", 5)),
            every=spec.get("log_every") or 0,
            compress=bool(spec.get("log_compress")),
            in_place=spec.get("log_rotation") == "in_place",
            as_json=spec.get("log_format") == "json",
            watched=watched,
        )

    def say(self, level: str, text: str) -> None:
        """A line of the keeper's own. On a full disk it waits until there is room."""
        self._unsaid.append(self._line(level, text))
        del self._unsaid[:-_MOST_UNSAID]
        self._say_it()

    def _say_it(self) -> None:
        while self._unsaid:
            try:
                os.write(self.fd, self._unsaid[0].encode("utf-8", "backslashreplace"))
            except OSError:
                return  # it must not end the keeper
            del self._unsaid[0]

    def reopen(self) -> None:
        """Go on in the file that has the log's name now; on trouble the old one stays in use."""
        if self.path is None:
            return
        try:
            self._open()
        except OSError as error:
            self.say("ERROR", f"the log can't be opened anew, its old file stays in use: {error}")
        self._rewatch()

    def look(self) -> bool:
        """See to it that the log is where and as it should be. True when the workers are to open it anew."""
        if self.path is None:
            return False
        self._forget_news()
        self._say_it()
        self.pause = PAUSE if self._unsaid else None
        tell = self._is_elsewhere() and self._come_back()
        if self._is_due():
            if self.copies.is_busy():
                self.pause = PAUSE  # an older copy is being compressed: it must keep its name until that is done
            elif self.rotate() and not self.in_place:
                tell = True
        now = time.monotonic()
        if not self.copies.pending():
            self._retry = 0.0
        elif now >= self._tidy_at:
            if self.copies.tidy(self.fd):
                self._retry = _BRISK
            else:
                self._retry = min(max(self._retry * 2, _FIRST_RETRY), _LAST_RETRY)
            self._tidy_at = now + self._retry
        self._plan()
        return tell

    def rotate(self) -> bool:
        """Make what is there an older copy; False when that was not possible."""
        assert self.path is not None
        try:
            if self.in_place:
                if not cutting.cut(self.path, self.copies, self._mark()):
                    # one line longer than the log may be, or a file system that can do nothing: later
                    self._limit = self._size() + self.max_bytes
                    return False
            else:
                self.copies.shift()
                os.replace(self.path, f"{self.path}.1")
                self._open()
        except OSError as error:
            self._limit = self._size() + max(self.max_bytes, 1 << 20)  # or this line would come every second
            self._period = self._period_of(time.time())
            self.say("ERROR", f"the log can't be rotated: {error}")
            return False
        finally:
            self._rewatch()
        self._limit = self.max_bytes
        self._rotated = time.monotonic()
        self._period = self._period_of(time.time())
        if self._retry == 0 or self._tidy_at > self._rotated + _FIRST_RETRY:
            self._retry = _FIRST_RETRY
            self._tidy_at = self._rotated + self._retry
        self.copies.prune()
        return True

    def refresh(self) -> None:
        """No program of the node runs now: where the file has a hole at its front, put one without in its place."""
        if self.path is not None and self.in_place:
            try:
                if cutting.refresh(self.path):
                    self._open()
            except OSError:
                pass  # readers skip the hole
            self._rewatch()

    # ---- when

    def _is_due(self) -> bool:
        size = self._size()
        if 0 < self._limit <= size:
            return True
        if self.every <= 0:
            return False
        period = self._period_of(time.time())
        if period == self._period or size == 0:
            self._period = period
            return False
        is_over = period > self._period
        self._period = period  # also when the clock was set back: what it then reaches again is no new day
        return is_over and time.monotonic() - self._rotated >= self.every / 2

    def _period_of(self, when: float) -> float:
        if self.every <= 0:
            return 0.0
        return (when + time.localtime(when).tm_gmtoff) // self.every

    def _plan(self) -> None:
        """Set the time of the next look that is needed though nobody writes."""
        times = [] if self.pause is None else [self.pause]
        if self._retry:
            times.append(max(0.0, self._tidy_at - time.monotonic()))
        if self._watch < 0:
            # a silent log is looked at less and less often
            size = self._size()
            self._unwatched = PAUSE if size != self._seen else min(self._unwatched * 2, _WITHOUT_INOTIFY)
            self._seen = size
            times.append(self._unwatched)
        if self.every > 0:
            now = time.time()
            left = self.every - (now + time.localtime(now).tm_gmtoff) % self.every
            times.append(min(left + 0.01, _LONGEST_SLEEP))
        self.pause = min(times) if times else None

    def _size(self) -> int:
        try:
            status = os.fstat(self.fd)
        except OSError:
            return 0
        # what was cut off leaves a hole on some file systems: it counts in the length, not in the blocks
        return min(status.st_size, status.st_blocks * 512) if self.in_place else status.st_size

    # ---- where

    def _is_elsewhere(self) -> bool:
        """Whether somebody has moved or removed the log."""
        assert self.path is not None
        try:
            there = os.stat(self.path)
        except OSError:
            return True
        here = os.fstat(self.fd)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _come_back(self) -> bool:
        """Begin a new file where the log belongs; True when there is one."""
        assert self.path is not None
        is_gone = os.fstat(self.fd).st_nlink == 0
        try:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            self._open()
        except OSError as error:
            if not self._is_lost:
                self.say("ERROR", f"the log is gone, and can't be made anew: {error}")
            self._is_lost = True
            self._rewatch()
            return False
        self._is_lost = False
        self._rewatch()
        what = "removed" if is_gone else "moved away"
        if self.in_place:
            self.say(
                "WARNING",
                f"the log was {what} by somebody; this is a new one. The program can't be told, and writes to the old "
                "file until it is restarted",
            )
        else:
            self.say("WARNING" if is_gone else "INFO", f"the log was {what} by somebody; this is a new one")
        return not self.in_place

    def _open(self) -> None:
        assert self.path is not None
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)
        if self.fd > 2:
            old = os.fstat(self.fd)
            cutting.same_owner(old, fd)
            for stream in (1, 2):  # ours lead to the log, too
                there = os.fstat(stream)
                if (there.st_dev, there.st_ino) == (old.st_dev, old.st_ino):
                    os.dup2(fd, stream)
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)
        else:
            self.fd = fd

    def _rewatch(self) -> None:
        if self.watch_fd < 0 or self.path is None:
            return
        if self._watch >= 0:
            libc.unwatch(self.watch_fd, self._watch)
        self._watch = libc.watch(self.watch_fd, self.path, _EVENTS)

    def _forget_news(self) -> None:
        try:
            while self.watch_fd >= 0 and os.read(self.watch_fd, 65536):
                pass
        except OSError:
            pass  # all read

    # ---- what it says

    def _line(self, level: str, text: str) -> str:
        now = time.time()
        local = time.localtime(now)
        if self.as_json:
            hours, minutes = divmod(abs(local.tm_gmtoff) // 60, 60)
            sign = "-" if local.tm_gmtoff < 0 else "+"
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", local)
            fields = {
                "time": f"{stamp}.{int(now % 1 * 1000):03d}{sign}{hours:02d}:{minutes:02d}",
                "level": level,
                "process": "Keeper",
                "logger": "multi.keeper",
                "message": text,
            }
            line = encode(fields)
        else:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", local)
            line = f"[{stamp},{int(now % 1 * 1000):03d}: {level}/Keeper] {text}"
        return line + "\n"

    def _mark(self) -> bytes:
        """The line that stands at the front of a log that was cut."""
        assert self.path is not None
        name = os.path.basename(self.path)
        return self._line("INFO", f"{cutting.MARK} {name}.1").encode("utf-8", "backslashreplace")
