"""The process of a scheduler: its loop, its signals, and what it tells its manager."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

from multi import __version__, log, signals, stacks
from multi.beat.beat import LOOK, Beat
from multi.loop import Loop
from multi.notify import Notifier
from multi.rundir import RunDir
from multi.stats import READY, STOPPING, StatsPage

if TYPE_CHECKING:
    from collections.abc import Callable

logger = log.get_logger("multi.beat")

#: The line for people is told anew so often (s), should it have changed.
_STATUS = 5.0


class Service:
    """Runs a `Beat` until it is told to stop. `reload` is called at HUP, after the end: it starts the program anew, with these
    variables, which tell it who its manager is."""

    def __init__(
        self, beat: Beat, *, reload: Callable[[dict[str, str]], None] | None = None, embedded: bool = False
    ) -> None:
        self.beat = beat
        self.loop = Loop()
        self._embedded = embedded
        self._reload = reload
        self._reloads = False
        # that of a worker is none of an embedded scheduler's business
        self.rundir = None if embedded else RunDir.from_env()
        self.notifier = Notifier() if embedded else Notifier.from_env()
        self.page = None if self.rundir is None else StatsPage.create(self.rundir.stats, 1)
        self._ready = False
        self._status = ""
        self._here, self._there = socket.socketpair()

    def run(self) -> int:
        """Serve; the exit code."""
        self._listen()
        if self.rundir is not None:
            stacks.listen(self.rundir.stacks)
        if self.page is not None:
            generation = self.rundir.generation if self.rundir is not None else 1
            self.page.node(pid=os.getpid(), started=time.time(), generation=generation, pool="beat", concurrency=0)
        logger.info("beat: Starting...")
        app = self.beat.app
        logger.info(
            "beat: multi %s, app %s, broker %s, entries in the code: %d; looks at the clock every %g s at least",
            *(__version__, app.main, app.broker.masked, len(self.beat.entries), min(self.beat.longest, LOOK)),
        )
        if self.beat.shelf.local:
            logger.warning(
                "beat: neither the broker nor a result backend can keep the schedule: it is kept in %s, so only schedulers on "
                "this machine know of one another. Run them on one machine, or set result_backend to redis://…",
                self.beat.shelf.where,
            )
        else:
            logger.info("beat: the schedule is kept in %s (%s)", self.beat.shelf.where, self.beat.shelf.name)
        (signals.beat_embedded_init if self._embedded else signals.beat_init).send(self)
        if interval := self.notifier.watchdog_interval:
            self.notifier.watchdog()
            self.loop.every(interval, self.notifier.watchdog)
        self.loop.later(0.0, self._tick)
        if not self._embedded:
            self.loop.every(_STATUS, self._show)
        try:
            self.loop.run()
        finally:
            self._end()
        if self._reloads and self._reload is not None:
            self._reload(self._variables())
        return 0

    def _variables(self) -> dict[str, str]:
        found = {} if self.rundir is None else self.rundir.variables(self.rundir.generation)
        if self.notifier.enabled:
            found["NOTIFY_SOCKET"] = self.notifier.address
            if self.notifier.watchdog_usec:
                found["WATCHDOG_USEC"] = str(self.notifier.watchdog_usec)
        return found

    def stop(self) -> None:
        """End after what is being sent at this moment."""
        self.notifier.stopping()
        if self.page is not None:
            self.page.node(state=STOPPING)
        self.loop.stop()

    def _tick(self) -> None:
        wait = self.beat.tick()
        if self.page is not None:
            self.page.node(last_loop=time.time())
        if not self._ready and self.beat.is_ready:
            self._ready = True
            if self.page is not None:
                self.page.node(state=READY)
            logger.info("beat: Ready: %s", self.status)
            self.notifier.ready(self.status)
        self.loop.later(wait, self._tick)

    def _show(self) -> None:
        status = self.status
        if self._ready and status != self._status:
            self._status = status
            self.notifier.status(status)

    @property
    def status(self) -> str:
        """How it is, in a line for people."""
        if self.beat.away:
            return f"waiting for {self.beat.shelf.where}: {self.beat.away}"
        count = len(self.beat.items)
        text = f"{count} {'entry' if count == 1 else 'entries'}"
        if (found := self.beat.next) is not None:
            text += (
                f", next {found[1]} at {datetime.fromtimestamp(found[0], self.beat.app.timezone):%Y-%m-%d %H:%M:%S %Z}"
            )
        return text

    # -- signals -------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._verbs = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGQUIT: self.stop,
            signal.SIGHUP: self._hang_up,
            signal.SIGUSR1: self._dump,
            signal.SIGUSR2: self._reopen,
        }
        signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
        for number in self._verbs:
            signal.signal(number, _noted)
        self.loop.on_readable(self._here.fileno(), self._read)

    def _read(self) -> None:
        for number in self._here.recv(256):
            if verb := self._verbs.get(signal.Signals(number)):
                verb()

    def _hang_up(self) -> None:
        if self._embedded or os.isatty(0):
            self.stop()
        elif self.rundir is not None and self.rundir.has_keeper:
            logger.warning("HUP is for the keeper of this node, whose pid is in the pid file: nothing is done")
        else:
            logger.warning("Reload: begins anew with fresh code")
            self.notifier.reloading()
            self._reloads = True
            self.loop.stop()

    def _dump(self) -> None:
        logger.warning("Stacks of the scheduler:")
        log.dump_stacks()

    def _reopen(self) -> None:
        if self.rundir is not None:
            self.rundir.reopen_log()
        log.reopen()

    def _end(self) -> None:
        signal.set_wakeup_fd(-1)
        self.loop.forget(self._here.fileno())
        self._here.close()
        self._there.close()
        self.loop.close()
        logger.info("beat: Shutting down...")
        self.beat.app.close()
        if self.beat.shelf.local:
            self.beat.shelf.close()
        if self.rundir is not None and not self._reloads:
            trouble = sys.exc_info()[1]
            self.rundir.write_exit(
                "stop" if trouble is None else "error", 0 if trouble is None else 1, str(trouble or "")
            )
            self.rundir.clear()


def _noted(*_: object) -> None:
    """The number is written to the wake-up descriptor by the interpreter itself."""
