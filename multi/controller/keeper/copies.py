"""The older copies of a log: numbered, compressed, as many as are wanted.

    w1.log  w1.log.1  w1.log.2.gz  w1.log.3.gz

A copy is compressed, or deleted, only when no process has it open for writing any more. What compresses is a program of
its own (`compress.py`), which holds a lock on the copy while it works: so long no copy gets another number.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys

ENDING = ".gz"
_WRITING = os.O_WRONLY | os.O_RDWR


class Copies:
    """The copies of the log at `path`, of which `keep` are to stay."""

    def __init__(self, path: str, keep: int, compress: bool) -> None:
        self.path = path
        self.keep = keep
        self.compress = compress
        self._tried: set[int] = set()  # inodes of the copies that were to be compressed, as long as they are plain

    def found(self) -> dict[int, list[str]]:
        """The endings of the copies that there are, plain ones first."""
        folder, base = os.path.split(self.path)
        found: dict[int, list[str]] = {}
        try:
            names = os.listdir(folder or ".")
        except OSError:
            return found
        for name in sorted(names):
            if name.startswith(f"{base}."):
                ending = name[len(base) + 1 :]
                number = ending.removesuffix(ENDING)
                if number.isdecimal() and number[0] != "0":
                    found.setdefault(int(number), []).append(ending)
        return found

    def shift(self) -> None:
        """Count the copies up, so that number 1 is free."""
        found = self.found()
        free = 1
        while free in found:
            free += 1
        for number in range(free - 1, 0, -1):
            for ending in found[number]:
                rest = ending[len(str(number)) :]
                os.replace(f"{self.path}.{ending}", f"{self.path}.{number + 1}{rest}")

    def is_busy(self) -> bool:
        """Whether a copy is being compressed."""
        import fcntl

        for endings in self.found().values():
            if endings[0].endswith(ENDING):
                continue
            try:
                fd = _open(f"{self.path}.{endings[0]}")
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
            finally:
                os.close(fd)
        return False

    def pending(self) -> bool:
        """Whether there is a copy to be compressed or deleted."""
        found = self.found()
        too_many = any(number > self.keep for number in found)
        return too_many or (self.compress and any(not endings[0].endswith(ENDING) for endings in found.values()))

    def prune(self) -> None:
        """Delete the copies beyond the wanted number, except those that somebody still writes to."""
        for number, endings in self.found().items():
            if number > self.keep:
                for ending in endings:
                    path = f"{self.path}.{ending}"
                    if ending.endswith(ENDING) or not is_written(path):
                        os.unlink(path)

    def tidy(self, out: int) -> bool:
        """Do what is pending, as far as nobody writes to the copies: at most one is compressed at a time. True where the next
        look may come soon: another copy is at work, or was taken up that had not been tried yet. What the compressing
        program has to complain about goes to `out`."""
        if self.is_busy():
            return True
        self.prune()
        plain: dict[int, str] = {}
        for number, endings in sorted(self.found().items()):
            path = f"{self.path}.{endings[0]}"
            if self.compress and number <= self.keep and not endings[0].endswith(ENDING) and not is_written(path):
                try:
                    plain[os.stat(path).st_ino] = path
                except OSError:
                    pass  # deleted in between
        self._tried &= {*plain}
        untried = [inode for inode in plain if inode not in self._tried]
        if not untried:
            self._tried.clear()  # all of them have failed: from the first again, in the end
        for inode in untried or [*plain][:1]:
            self._tried.add(inode)
            _compress(plain[inode], out)
            break
        return bool(untried)


def is_written(path: str) -> bool:
    """Whether any process has the file open for writing."""
    import fcntl

    try:
        fd = _open(path)
    except OSError:
        return False
    # the kernel grants a lease for reading only while nobody has the file open for writing; should somebody open it at
    # this moment, it would tell us with a signal
    before = _signal.signal(_signal.SIGIO, _signal.SIG_IGN)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):  # a file system without leases
        return is_held(path)
    finally:
        _signal.signal(_signal.SIGIO, before)
        os.close(fd)
    return False


def is_held(path: str, but: int = 0) -> bool:
    """The same, of any process except one, from what they have open, as far as we may look."""
    wanted = os.stat(path)
    for pid in os.listdir("/proc"):
        if not pid.isdecimal() or pid == str(but):
            continue
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                there = os.stat(f"/proc/{pid}/fd/{name}")
                if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
                    with open(f"/proc/{pid}/fdinfo/{name}") as file:
                        flags = next(line.split()[1] for line in file if line.startswith("flags:"))
                    if int(flags, 8) & _WRITING:
                        return True
        except (OSError, StopIteration):
            continue  # another user's, or gone meanwhile
    return False


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def _compress(path: str, out: int) -> None:
    program = os.path.join(os.path.dirname(__file__), "compress.py")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, out, 2),
    ]
    try:
        os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", program, path], os.environ, file_actions=actions)
    except OSError:
        pass  # no process to be had; there is another look later
