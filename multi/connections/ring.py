"""Rings: how one process of this machine tells another that something has come.

A waiter binds a datagram socket in a directory of its own user and leaves the socket's path where the others look
before they commit (a table of the shared file). Whoever commits something for it sends one datagram, which holds
how many things have come. A ring is a hint: it may get lost with its waiter, so that every waiter looks by itself, too,
once in a while.
"""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import stat
import tempfile
from collections.abc import Iterator

#: What a socket's path may measure on Linux, without the closing zero byte.
PATH_LIMIT = 107
#: The kernel keeps ten datagrams for a socket unless it is told otherwise.
_CROWD = 8
_numbers = itertools.count(1)
_sender: socket.socket | None = None


class Ring:
    """A socket to be rung at; never blocks."""

    def __init__(self) -> None:
        self.path = ""
        #: whether so many rings were there when it was last drained that others may have found no room
        self.crowded = False
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        trouble: OSError | None = None
        for folder in _folders():
            path = f"{folder}/{self._pid}-{next(_numbers)}"
            try:
                _sweep(folder)
                if os.path.lexists(path):
                    os.unlink(path)  # left by a dead process that had our number
                self._socket.bind(path)
            except OSError as error:
                trouble = error
                continue
            self.path = path
            return
        self._socket.close()
        raise OSError(
            f"no directory for sockets: {trouble or 'none is ours alone and short enough'}; "
            "set TMPDIR to a directory of this user"
        )

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> int:
        """Take all rings that have come; how many things they told of."""
        total = rings = 0
        while True:
            try:
                data = self._socket.recv(32)
            except (BlockingIOError, InterruptedError):
                self.crowded = rings >= _CROWD
                return total
            rings += 1
            total += int(data) if data.isdigit() else 1

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; tells whether one came, and takes it."""
        self._socket.settimeout(max(seconds, 0.000001))
        try:
            self._socket.recv(32)
        except (TimeoutError, BlockingIOError):
            return False
        finally:
            self._socket.setblocking(False)
        self.drain()
        return True

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()

    def close(self) -> None:
        """Give the socket back; in a forked process only its own descriptor."""
        if self._socket.fileno() < 0:
            return
        self._socket.close()
        if os.getpid() == self._pid:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # swept away by somebody: gone is what was wanted


def ring(path: str, count: int = 1) -> bool:
    """Ring at `path`; False when nobody is there any more."""
    global _sender
    if _sender is None:
        # never bound or connected, so that forks may share it
        _sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        atexit.register(_sender.close)
    try:
        _sender.sendto(b"%d" % count, path)
    except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # its buffer is full of rings, or we are not allowed to: it will look by itself
    return True


def _folders() -> Iterator[str]:
    """Directories that only this user can enter, best first; made if they can be."""
    user = os.geteuid()
    bases = []
    if service := os.environ.get("RUNTIME_DIRECTORY"):  # given by systemd; visible to others even with PrivateTmp
        bases.append(f"{service.split(':', 1)[0]}/rings")
    bases.append(f"/run/user/{user}/multi-rings")
    if user == 0:
        bases.append("/run/multi-rings")
    bases.append(f"{tempfile.gettempdir()}/multi-rings-{user}")
    bases.append(f"/tmp/multi-rings-{user}")
    for folder in bases:
        if len(folder) > PATH_LIMIT - 24:
            continue
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        except OSError:
            continue
        found = os.lstat(folder)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
            yield folder


_swept: set[str] = set()


def _sweep(folder: str) -> None:
    """Remove the sockets of dead processes, once per process and directory."""
    if folder in _swept:
        return
    _swept.add(folder)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        for name in os.listdir(folder):
            path = f"{folder}/{name}"
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            except OSError:
                continue
    except OSError:
        pass  # only tidying: the next process tries again
    finally:
        probe.close()
