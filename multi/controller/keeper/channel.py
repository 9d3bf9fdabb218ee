"""The keeper's socket: readiness and news from workers (sd_notify), requests from commands.

Both are datagrams, and the kernel vouches for who sent them. A worker speaks as sd_notify has it (`READY=1`); a command sends a
line `MULTI 1` and then one assignment a line. Requests are taken from the keeper's own user and from root.
"""

from __future__ import annotations

import _socket
import os
import struct

HELLO = "MULTI 1"
_LONGEST_PATH = 107  # what fits into a sockaddr_un
_CREDENTIALS = struct.Struct("3i")


def address(path: str) -> str:
    """The address of the socket that belongs to `path`, as NOTIFY_SOCKET spells it.

    A path that is too long for a socket gives way to an abstract name made from it.
    """
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    value = 14695981039346656037  # FNV-1a: a name, not a secret
    for byte in os.fsencode(path):
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return f"@multi/{value:016x}"


class Message:
    """A datagram and its sender."""

    def __init__(self, text: str, pid: int, uid: int) -> None:
        lines = text.split("\n")
        self.pid = pid
        self.uid = uid
        self.is_request = lines[0] == HELLO
        self.fields = dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def may_command(self) -> bool:
        return self.uid in (0, os.geteuid())


class Channel:
    """The bound socket; only the holder of the keeper's lock may make one."""

    def __init__(self, path: str, uid: int | None = None) -> None:
        """`uid` is a user besides us who may speak here (what is said is believed by who says it)."""
        self.address = address(path)
        self._path = path
        self._socket = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        )
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        if self.address.startswith("@"):
            self._socket.bind("\0" + self.address[1:])
        else:
            # bound under another name first: who looks meets the old socket or one that listens
            temporary = path[:-1] + "~"
            self._remove(temporary)
            self._socket.bind(temporary)
            if uid is not None:
                os.chown(temporary, uid, -1, follow_symlinks=False)
            os.replace(temporary, path)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Message | None:
        """The next message; None when there is no more for now."""
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(65536, 256)
            except BlockingIOError:
                return None
            except OSError:
                return None
            for level, kind, value in ancillary:
                if level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
                    pid, uid, _ = _CREDENTIALS.unpack(value[: _CREDENTIALS.size])
                    return Message(data.decode("utf-8", "replace"), pid, uid)

    def close(self) -> None:
        """Stop listening; nobody mistakes the node for a living one."""
        self._socket.close()
        if not self.address.startswith("@"):
            self._remove(self._path)

    @staticmethod
    def _remove(path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
