"""A process beside a worker's children that is to be there as long as the worker is: the scheduler of -B."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from multi import log
from multi.worker.orphans import how

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = log.get_logger("multi.worker")

#: One that ends sooner (s) than this is started again with growing pauses, up to the longest.
YOUNG, FIRST, LONGEST = 10.0, 0.5, 30.0


class Companion:
    """Forks a process that runs `body`, and another one when that ends. `name` is what the log calls it."""

    def __init__(self, worker: Worker, name: str, body: Callable[[], int]) -> None:
        self.name = name
        self.pid = 0
        self._worker = worker
        self._body = body
        self._pidfd = -1
        self._since = 0.0
        self._pause = FIRST
        self._stopping = False

    def start(self) -> None:
        """Fork it, unless it is there."""
        if self._stopping or self.pid:
            return
        parent = os.getpid()
        self._since = monotonic()
        pid = os.fork()
        if not pid:
            self._run(parent)
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._worker.loop.on_readable(self._pidfd, self._ended)

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.pid:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    def stop(self) -> None:
        """Tell it to end; another one isn't started."""
        self._stopping = True
        self.signal(signal.SIGTERM)

    def close(self) -> None:
        """End it, however it is."""
        self._stopping = True
        if self.pid:
            self.signal(signal.SIGKILL)
            self._reap()

    def _run(self, parent: int) -> None:
        code = 1
        try:
            from multi.worker.child import die_with_parent

            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTTIN, signal.SIG_IGN)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            for member in self._worker.members.values():
                member.control.close()
                os.close(member.pidfd)
            self._worker.orders.leave_to_worker()
            die_with_parent(parent)
            log.rename_process(self.name)
            call_it(f"multi {self.name.lower()}")
            self._worker.app.after_fork()
            code = self._body()
        except BaseException:
            logger.critical("%s ends because of an error", self.name, exc_info=True)
        finally:
            os._exit(code)

    def _ended(self) -> None:
        code = self._reap()
        if self._stopping:
            return
        if monotonic() - self._since > YOUNG:
            self._pause = FIRST
        logger.error("%s %s; it is started again in %g s", self.name, how(code), self._pause)
        self._worker.loop.later(self._pause, self.start)
        self._pause = min(2 * self._pause, LONGEST)

    def _reap(self) -> int:
        self._worker.loop.forget(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self.pid, self._pidfd = 0, -1
        return os.waitstatus_to_exitcode(status)


def call_it(name: str) -> None:
    """Give this process a name for `ps`."""
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
    except OSError:
        pass  # another system than Linux
