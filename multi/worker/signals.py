"""The signals that a worker understands. Handlers only note the number and wake the loop."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

from multi.log import get_logger
from multi.loop import Loop

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")


class Signals:
    """Turns signals into calls of the worker's verbs, on its loop."""

    def __init__(self, loop: Loop, worker: Worker) -> None:
        self._loop = loop
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._interrupts = 0
        #: the name of the signal that came last
        self.last: str | None = None
        self._worker = worker
        self._verbs = {
            signal.SIGTERM: self._terminate,
            signal.SIGINT: self._interrupt,
            signal.SIGQUIT: worker.stop_cold,
            signal.SIGHUP: self._hang_up,
            signal.SIGUSR1: worker.dump,
            signal.SIGUSR2: worker.reopen_log,
            signal.SIGTTIN: worker.grow,
            signal.SIGTTOU: worker.shrink,
        }
        signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
        for number in self._verbs:
            signal.signal(number, _noted)
        loop.on_readable(self._here.fileno(), self._read)

    def _read(self) -> None:
        for number in self._here.recv(256):
            self.last = signal.Signals(number).name
            if verb := self._verbs.get(signal.Signals(number)):
                verb()

    def _terminate(self) -> None:
        if os.environ.get("REMAP_SIGTERM") == "SIGQUIT":
            self._worker.stop_cold()
        else:
            self._worker.stop()

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            logger.warning("Hitting Control-C again interrupts the running tasks")
            self._worker.stop()
        else:
            self._worker.stop_cold()

    def _hang_up(self) -> None:
        if self._worker.rundir is not None and self._worker.rundir.has_keeper:
            logger.warning("HUP is for the keeper of this node, whose pid is in the pid file: nothing is done")
        elif os.isatty(0):
            self._worker.stop()
        else:
            self._worker.reload()

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._loop.forget(self._here.fileno())
        self._here.close()
        self._there.close()


def _noted(*_: object) -> None:
    """The number is written to the wake-up descriptor by the interpreter itself."""
