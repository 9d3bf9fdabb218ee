"""One worker process, as its keeper knows it: its own child, or adopted from a keeper that is gone."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from . import proc, record

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

_NAMES = "HUP INT QUIT ILL ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STOP TTIN TTOU XCPU XFSZ SYS"
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
        self.started = time.time()
        self.ready: float | None = None
        self.healthy_since = 0.0  # on the monotonic clock, from readiness on
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

    def leftovers(self) -> list[int]:
        """The living processes of its session, once it has ended itself: its children that have not noticed yet.

        A process that has made a session of its own has left the node, and is left alone.
        """
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


def spawn(spec: dict[str, Any], generation: int, variables: dict[str, str], out: int, lock: int) -> tuple[Worker, int]:
    """Fork the next worker; it starts the program when a byte is written to the returned descriptor.

    If that descriptor is closed instead, as by the keeper's death, it ends without having done anything: so no worker
    ever runs that is not on record.
    """
    gate, opener = os.pipe2(os.O_CLOEXEC)
    # a signal that arrives between the fork and the return to default handling must end the child, not get lost in it
    _signal.pthread_sigmask(_signal.SIG_BLOCK, STOPS)
    pid = os.fork()
    if pid == 0:
        try:
            _become(spec, generation, variables, out, lock, gate, opener)
        finally:
            os._exit(127)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, STOPS)
    os.close(gate)
    return Worker(pid, proc.start_time(pid), os.pidfd_open(pid), generation, is_child=True), opener


def _become(
    spec: dict[str, Any], generation: int, variables: dict[str, str], out: int, lock: int, gate: int, opener: int
) -> None:
    os.close(opener)
    _signal.set_wakeup_fd(-1)
    for number in range(1, 32):
        if number not in (_signal.SIGKILL, _signal.SIGSTOP):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.set_inheritable(lock, True)
    if not os.read(gate, 1):
        os._exit(0)
    directory, argv = spec["cwd"], spec["argv"]
    try:
        os.umask(spec.get("umask", 0o022))
        what = f"the directory {directory!r} can't be entered"
        os.chdir(directory)
        what = f"{argv[0]!r} can't be run"
        environment = {**os.environ, **variables, "PWD": directory, "MULTI_LOCK_FD": str(lock)}
        environment["MULTI_GENERATION"] = str(generation)
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(2, f"multi: {what}: {error.strerror}\n".encode())


def ended(worker: Worker, siginfo: os.waitid_result | None, exit_file: str) -> End:
    """What became of `worker`: from its exit status, where it was our child, and from what it wrote itself."""
    said = record.read(exit_file)
    if said.get("pid") != worker.pid:
        said = {}
    reason = str(said.get("reason") or "").strip()
    if siginfo is None:
        if not said:
            return End("unknown", "ended in a way that nobody saw")
        kind = "stop" if said.get("kind") == "stop" else "crash"
        return End(kind, f"exit status {said.get('code')}", said.get("code"), reason)
    status = siginfo.si_status
    if siginfo.si_code == os.CLD_EXITED:
        stopped = status == 0 or said.get("kind") == "stop"
        return End("stop" if stopped else "crash", f"exit status {status}", status, reason)
    kind = "stop" if status in STOPS else "crash"
    return End(kind, f"killed by {SIGNALS.get(status, f'signal {status}')}", -status, reason)


def adopt(record_of: dict[str, Any], boot: str, same_boot: str) -> Worker | None:
    """The worker that an earlier keeper has left on record, if it is the same process and still lives."""
    pid, start = record_of.get("pid"), record_of.get("start")
    if boot != same_boot or not isinstance(pid, int) or not isinstance(start, str):
        return None
    pidfd = proc.open_identified(pid, start)
    if pidfd < 0:
        return None
    worker = Worker(pid, start, pidfd, record_of.get("generation", 0), is_child=False)
    worker.role = record_of.get("role", CURRENT)
    worker.started = record_of.get("started", worker.started)
    worker.ready = record_of.get("ready")
    return worker


def adopt_holder(lock_file: str) -> Worker | None:
    """The worker whose record is lost: the eldest process that holds the worker's lock and leads its session."""
    for pid in proc.holders(lock_file):
        if pid != os.getpid() and proc.session(pid) == pid:
            start = proc.start_time(pid)
            pidfd = proc.open_identified(pid, start)
            if pidfd >= 0:
                return Worker(pid, start, pidfd, 0, is_child=False)
    return None
