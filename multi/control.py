"""The ear of a worker: orders of its keeper, as datagrams on a socket in the node's runtime directory.

An order is a line `MULTI 1` and then one assignment a line: `request=pause` or `request=resume`, with `queues=a,b` or
`queues=*`. The kernel vouches for the sender, who must be the worker's own user or root.
"""

from __future__ import annotations

import os
import socket
import struct

HELLO = "MULTI 1"
_LONGEST_PATH = 107  # what fits into a sockaddr_un
_CREDENTIALS = struct.Struct("3i")


def address(path: str) -> str:
    """The address of the socket that belongs to `path`, as NOTIFY_SOCKET spells it; the keeper has the same rule.

    A path that is too long for a socket gives way to an abstract name made from it.
    """
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    value = 14695981039346656037  # FNV-1a: a name, not a secret
    for byte in os.fsencode(path):
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return f"@multi/{value:016x}"


class Control:
    """The bound socket of one worker; raises `OSError` where it can't be bound."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._address = address(path)
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            if self._address.startswith("@"):
                self._socket.bind("\0" + self._address[1:])
            else:
                self._remove()  # of a generation with our number, from before the machine was started again
                self._socket.bind(path)
                os.chmod(path, 0o600)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> dict[str, str] | None:
        """The fields of the next order, {} for what is none or comes from somebody else; None when there is no more."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(65536, 256)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return None
        lines = data.decode("utf-8", "replace").split("\n")
        if lines[0] != HELLO or not any(_may_command(*each) for each in ancillary):
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def close(self) -> None:
        """Hear no more; in a forked child only its copy is closed."""
        self._socket.close()
        if self._pid == os.getpid() and not self._address.startswith("@"):
            self._remove()

    def _remove(self) -> None:
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass


def _may_command(level: int, kind: int, value: bytes) -> bool:
    if level != socket.SOL_SOCKET or kind != socket.SCM_CREDENTIALS:
        return False
    _, uid, _ = _CREDENTIALS.unpack(value[: _CREDENTIALS.size])
    return uid in (0, os.geteuid())
