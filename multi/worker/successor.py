"""Reload of a worker that no keeper looks after: a new worker with fresh code, ready before this one stops fetching.

The successor is the same command line, started afresh (so that it follows a `current` link and imports new code). It
reports to this worker first; when it is ready, the manager of the service, if there is one, hears `MAINPID=`, the pid
file changes hands, and this worker shuts down warm.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from multi.log import get_logger
from multi.loop import Loop
from multi.notify import Notifier
from multi.rundir import RunDir
from multi.worker.options import SUCCESSOR
from multi.worker.pidfile import PidFile

logger = get_logger("multi.worker")

#: How a successor learns the socket of the service's manager, to which it reports once it has taken over.
MANAGER = "MULTI_MANAGER_SOCKET"
#: And that this manager wants signs of life, so often (WATCHDOG_USEC).
WATCHDOG = "MULTI_MANAGER_WATCHDOG_USEC"


#: A descriptor (pidfd) of the process that it takes over from.
PREDECESSOR = "MULTI_PREDECESSOR"
#: Starts a program that is no child of ours, and tells its pid. A service's manager waits for the main process to end only where
#: that is a child of the manager's, as an orphan is: it kills any other at once when the service is to stop.
_LAUNCH = """
import os, sys
pipe = int(sys.argv[1])
os.set_inheritable(pipe, False)
os.write(pipe, b"%d" % os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ))
"""


def predecessor() -> int:
    """A descriptor of the process that this one takes over from, readable when it has ended; -1 where there is none.

    A manager that is told of this process knows the other one no more, and would kill it, with what it still runs, as soon as
    this one ends.
    """
    fd = int(os.environ.pop(PREDECESSOR, "-1"))
    if fd >= 0:
        os.set_inheritable(fd, False)
    return fd


class Successor:
    """The next generation of this worker, from its start until it is ready or has failed.

    `directory` is where it is started, `rundir` this worker's own runtime directory, if it has one. Raises `OSError` when it
    can't be started (the directory or the interpreter is gone).
    """

    def __init__(
        self,
        loop: Loop,
        notifier: Notifier,
        pidfile: PidFile | None,
        on_ready: Callable[[], None],
        on_failed: Callable[[str], None],
        directory: str | None = None,
        rundir: RunDir | None = None,
    ) -> None:
        self._loop = loop
        self._notifier = notifier
        self._on_ready = on_ready
        self._on_failed = on_failed
        import tempfile  # not needed before a reload, and not cheap to import

        self._directory = tempfile.mkdtemp(prefix="multi-")
        self._ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ears.setblocking(False)
        path = os.path.join(self._directory, "notify")
        self._ears.bind(path)
        environment = {**os.environ, "NOTIFY_SOCKET": path, SUCCESSOR: "1"}
        if rundir is not None:
            environment |= rundir.variables(rundir.generation + 1)
        if notifier.address:
            environment[MANAGER] = notifier.address
            if notifier.watchdog_usec:
                environment[WATCHDOG] = str(notifier.watchdog_usec)
        self._pidfile = pidfile
        inherited: list[int] = []
        if pidfile is not None:
            fd, variable = pidfile.heirloom()
            environment.update(variable)
            inherited.append(fd)
        try:
            self._pid, self._pidfd = _launch(environment, inherited, directory)
        except OSError:
            self._ears.close()
            self._clear()
            raise
        loop.on_readable(self._ears.fileno(), self._heard)
        loop.on_readable(self._pidfd, self._ended)

    def _heard(self) -> None:
        if "READY=1" in self._ears.recv(65536).decode("utf-8", "replace").splitlines():
            self._close()
            if self._pidfile is not None:
                self._pidfile.hand_over(self._pid)
            self._notifier.mainpid(self._pid)
            logger.warning("The successor (pid %d) is ready and takes over", self._pid)
            self._on_ready()

    def _ended(self) -> None:
        self._close()
        logger.error("The successor (pid %d) has ended before it was ready: this worker goes on", self._pid)
        self._on_failed(f"the new worker (pid {self._pid}) has ended before it was ready")

    def _close(self) -> None:
        self._loop.forget(self._ears.fileno())
        self._loop.forget(self._pidfd)
        self._ears.close()
        os.close(self._pidfd)
        self._clear()

    def _clear(self) -> None:
        from shutil import rmtree

        rmtree(self._directory, ignore_errors=True)


def _launch(environment: dict[str, str], inherited: list[int], directory: str | None) -> tuple[int, int]:
    """Start this worker's command line afresh: its pid, and a descriptor of it. Raises `OSError` when it can't be started."""
    import subprocess

    reader, writer = os.pipe()
    me = os.pidfd_open(os.getpid())
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, str(writer), sys.executable, *sys.orig_argv[1:]],
            env={**environment, PREDECESSOR: str(me)},
            pass_fds=(*inherited, writer, me),
            cwd=directory,
            check=False,
        )
        os.close(writer)
        writer = -1
        text = os.read(reader, 64)
        if done.returncode or not text:
            raise OSError(f"{sys.executable} could not start the successor")
        return int(text), os.pidfd_open(int(text))
    finally:
        for fd in (reader, writer, me):
            if fd >= 0:
                os.close(fd)


def report_to_manager(notifier: Notifier) -> Notifier:
    """After the take-over a successor reports to the service's manager instead of its predecessor."""
    address, usec = os.environ.pop(MANAGER, None), os.environ.pop(WATCHDOG, "0")
    if address is None:
        return notifier
    notifier.close()
    return Notifier(address, int(usec))
