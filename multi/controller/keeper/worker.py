"""One worker process, as its keeper knows it: its own child, or adopted from a keeper that is gone, or from nobody."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from . import proc, record

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

    from .lastwords import LastWords

_NAMES = "HUP INT QUIT ILL ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STOP CONT TTIN TTOU XCPU XFSZ SYS"
SIGNALS: dict[int, str] = {getattr(_signal, f"SIG{name}"): name for name in _NAMES.split(" ")}
#: Ended by one of these, a worker was stopped, whoever sent it.
STOPS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT)

CURRENT, INCOMING, OUTGOING = "current", "incoming", "outgoing"


class End:
    """How a worker ended: `kind` is "stop", "crash" or "unknown"; `reason` is its own word for it, if it left one."""

    def __init__(self, kind: str, text: str, code: int | None = None, reason: str = "") -> None:
        self.kind = kind
        self.text = text
        self.code = code
        self.reason = reason
        self.oom = False

    @property
    def brief(self) -> str:
        """One line."""
        if not self.reason:
            return self.text
        first, *more = self.reason.splitlines()
        # the whole of it is in the log
        return f"{self.text} ({first.rstrip(':')}{' …' if more else ''})"


class Worker:
    """A running worker. Signals go through a descriptor of the process, never to a number."""

    def __init__(self, pid: int, start: str, pidfd: int, generation: int, *, is_child: bool) -> None:
        self.pid = pid
        self.start = start
        self.pidfd = pidfd
        self.generation = generation
        self.is_child = is_child
        self.role = CURRENT
        self.engine = ""  # what it said it is, if it said so
        self.is_foreign = False  # it was running before it was a node's, with a session of others
        self.relatives: dict[int, str] = {}  # of a foreign one: its descendants, as they were seen last
        self.started = time.time()
        self.ready: float | None = None
        self.healthy_since = 0.0  # on the monotonic clock, from readiness on
        self.pulse = 0.0  # on the same, when it was last heard to be alive
        self.verdict = ""  # why its keeper has ended it
        self.last_words: LastWords | None = None  # of its children, while they are asked for them
        self.oom_kills = -1  # how many there were in its control group when it was started
        self.paused: list[str] = []  # what it was told last
        self.left_behind = False  # processes of its session ran on when it had ended
        self.end: End | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What status.json tells of it."""
        return {
            "pid": self.pid,
            "start": self.start,
            "generation": self.generation,
            "role": self.role,
            "started": self.started,
            "ready": self.ready,
            "adopted": not self.is_child,
            "engine": self.engine,
            "foreign": self.is_foreign,
        }

    def signal(self, number: int) -> bool:
        """Send a signal; False when the worker is gone."""
        if self.end is not None:
            return False
        try:
            _signal.pidfd_send_signal(self.pidfd, number)
        except OSError:
            return False
        return True

    def processes(self) -> list[int]:
        """It and the living processes of its session; of a foreign one, its descendants."""
        if self.is_foreign:
            from . import foreign

            return foreign.family(self)
        return proc.members(self.pid)

    def leftovers(self) -> list[int]:
        """The living processes of its session, once it has ended itself: its children that have not noticed yet.

        A process that has made a session of its own has left the node, and is left alone.
        """
        if self.is_foreign:
            from . import foreign

            return foreign.orphans(self)
        # orphans have become ours: without any child but the worker there is no need to look through all processes
        if self.is_child and proc.children() == [self.pid]:
            return []
        return [pid for pid in proc.members(self.pid) if pid != self.pid]

    def close(self) -> None:
        """Give back what it holds, the zombie too."""
        if self.is_child:
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass  # somebody ignores SIGCHLD for us
        os.close(self.pidfd)


def ended(worker: Worker, siginfo: os.waitid_result | None, exit_file: str, warm: int | None) -> End:
    """What became of `worker`: from its exit status, where it was our child, and from what it wrote itself.

    `warm` is the signal that stops it.
    """
    said = record.read_unfollowed(exit_file)
    if said.get("pid") != worker.pid:
        said = {}
    reason = str(said.get("reason") or "").strip()
    if siginfo is None:
        if not said:
            return End("unknown", "in a way that nobody saw")
        kind = "stop" if said.get("kind") == "stop" else "crash"
        return End(kind, f"exit status {said.get('code')}", said.get("code"), reason)
    status = siginfo.si_status
    if siginfo.si_code == os.CLD_EXITED:
        stopped = status == 0 or said.get("kind") == "stop"
        return End("stop" if stopped else "crash", f"exit status {status}", status, reason)
    kind = "stop" if status in STOPS or status == warm else "crash"
    return End(kind, f"killed by {SIGNALS.get(status, f'signal {status}')}", -status, reason)
