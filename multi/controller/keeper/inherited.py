"""A worker that is there before its keeper: a loader has imported the app once for many nodes, and has forked it.

It waits at a gate: a socket on which it gets its keeper's word and the node's log, and then the byte that lets it go on. If
the gate is closed instead, as by the keeper's death, it ends without having done anything.
"""

from __future__ import annotations

import _socket
import os
import struct

from . import proc
from .record import encode
from .worker import Worker

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from .spawn import Plan

_VARIABLE = "MULTI_INHERITED"


class Inherited:
    """The worker that waits for this keeper; after `take` or `drop` it is an ordinary one, or gone."""

    def __init__(self, pid: int, gate: int, lock: int) -> None:
        self.pid = pid
        self.gate = gate
        self.lock = lock
        for fd in (gate, lock):
            os.set_inheritable(fd, False)

    @classmethod
    def from_env(cls) -> Inherited | None:
        """The one that the process has been given before it became a keeper."""
        words = os.environ.pop(_VARIABLE, "").split(":")
        return cls(*map(int, words)) if len(words) == 3 else None

    def take(self, plan: Plan, generation: int, out: int) -> tuple[Worker, int] | None:
        """Tell it what it is to be, as `spawn` does: it goes on when a byte is written to the returned descriptor.

        None when it is gone, or can't become what the plan says.
        """
        gate, self.gate = self.gate, -1
        start = proc.start_time(self.pid)
        if gate < 0 or not start or plan.user is not None:
            if gate >= 0:
                os.close(gate)
            return None
        word = {
            "variables": {**plan.added, "MULTI_GENERATION": str(generation)},
            "umask": plan.umask,
            "limits": plan.limits,
            "nice": plan.nice,
        }
        sender = _socket.socket(fileno=gate)
        try:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", out))
            sender.sendmsg([encode(word).encode("utf-8", "surrogateescape")], [rights])
        except OSError:
            sender.close()
            return None
        sender.detach()
        return Worker(self.pid, start, os.pidfd_open(self.pid), generation, is_child=True), gate

    def drop(self) -> None:
        """There is no use for it."""
        if self.gate >= 0:
            os.close(self.gate)
            self.gate = -1
