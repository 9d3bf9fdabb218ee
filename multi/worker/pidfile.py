"""The file that names a worker's process to scripts and service managers."""

from __future__ import annotations

import fcntl
import os

from multi.errors import NodeError

#: How a successor learns which descriptor holds the file of its predecessor.
HEIRLOOM = "MULTI_PIDFILE"
_REMEDY = "this node runs already; stop it first, or give this one another name and --pidfile"


class PidFile:
    """Held by a lock for as long as this process lives, so that a leftover file is told from a living worker's.

    The number in it alone proves nothing: after a crash it may belong to any other process. Children don't keep the
    lock. Only what this process has written is removed. `remedy` is for who finds it held.
    """

    def __init__(self, path: str, remedy: str = _REMEDY) -> None:
        self.path = os.path.abspath(path)
        self._remedy = remedy
        self._fd = -1
        self._owner = 0

    def acquire(self) -> None:
        """Write our pid. Raises `NodeError` when a living process holds the file or it can't be written."""
        if self._take_over():
            return
        while True:
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise NodeError(
                    f"the pid file {self.path} can't be written: {error.strerror}; name another with --pidfile"
                ) from None
            try:
                if self._claim(fd):
                    return
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its owner removed it at this very moment: once more with a new file

    def heirloom(self) -> tuple[int, dict[str, str]]:
        """For a successor, which is to have file and lock: the descriptor to inherit, and the variable that names it."""
        return self._fd, {HEIRLOOM: f"{self._fd}:{self.path}"}

    def hand_over(self, pid: int) -> None:
        """From now on the file names the successor, who removes it in the end."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{pid}\n".encode(), 0)

    def _take_over(self) -> bool:
        number, _, path = os.environ.pop(HEIRLOOM, "").partition(":")
        if path != self.path:
            return False
        fd = int(number)
        os.set_inheritable(fd, False)
        self._keep(fd)
        return True

    def _keep(self, fd: int) -> None:
        self._fd, self._owner = fd, os.getpid()
        os.register_at_fork(after_in_child=self._close)

    def release(self) -> None:
        """Remove the file if it is still ours; may be called again, and does nothing in a forked child."""
        if self._fd < 0 or self._owner != os.getpid():
            return
        if self._is_current(self._fd) and _read(self._fd) == self._owner:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # the folder is another user's: without its lock the file is stale, and known to be
        self._close()

    def _claim(self, fd: int) -> bool:
        written = _read(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._held(written) from None
        if not self._is_current(fd):
            return False
        if written is not None and written != os.getpid() and _wrote(written, os.fstat(fd).st_mtime):
            raise self._held(written)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._keep(fd)
        return True

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(fd))
        except FileNotFoundError:
            return False

    def _held(self, pid: int | None) -> NodeError:
        who = f"process {pid}, which is running" if pid is not None else "a running process"
        return NodeError(f"the pid file {self.path} belongs to {who}: {self._remedy}")

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _read(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _wrote(pid: int, time: float) -> bool:
    """Whether the file was written by the process that has this number now: by a worker that doesn't lock it, as Celery's.

    Ours all hold the lock; a number that has gone to anything else since is no reason not to start.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        is_worker = any("celery" in word for word in process.cmdline())
        return is_worker and bool(process.create_time() <= time + 2.0)  # the system tells its boot in whole seconds
    except psutil.Error:
        return False
