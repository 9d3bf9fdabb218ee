"""A child's process, as its worker sees it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from time import monotonic

from multi.brokers.base import Port
from multi.worker.slots import Slot


class Member:
    """One forked child: its process, held by a descriptor that no recycled number can fool, and what both share."""

    def __init__(self, number: int, pid: int, slot: Slot, port: Port, control: socket.socket) -> None:
        self.number = number
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.slot = slot
        self.port = port
        self.control = control
        self.since = monotonic()
        self.ready = False
        self.idle = False
        self.stopping = False
        #: the claim whose limit was exceeded and for which the child was killed
        self.condemned: dict[str, float] = {}
        self.warned: set[str] = set()
        #: the claim that was terminated, with the signal
        self.terminated: dict[str, int] = {}

    def tell(self, word: bytes) -> None:
        """Say a word to the child; one that is dying hears nothing."""
        try:
            self.control.send(word)
        except OSError:
            pass

    def signal(self, number: int) -> None:
        """Send a signal to exactly this process."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass

    def reap(self) -> int:
        """After its end: the exit code, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        os.close(self.pidfd)
        self.control.close()
        self.port.release()
        self.slot.close()


def fork(body: Callable[[socket.socket], int], others: list[Member]) -> tuple[int, socket.socket]:
    """Fork a process that runs `body(control)` and ends with its exit code; returns its pid and the control socket.

    The descriptors that belong to `others` are closed in it, so that an end of theirs is an end for their worker.
    """
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    parent = os.getpid()
    pid = os.fork()
    if pid:
        there.close()
        here.setblocking(False)
        return pid, here
    code = 1
    try:
        here.close()
        for member in others:
            member.control.close()
            os.close(member.pidfd)
        from multi.worker.child import die_with_parent

        die_with_parent(parent)
        code = body(there)
    except BaseException:
        from multi.log import get_logger

        get_logger("multi.worker").critical("A child ends because of an error of multi itself", exc_info=True)
    finally:
        os._exit(code)
