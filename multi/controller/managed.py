"""Stopping and starting nodes that a unit manager runs, in the same steps as our own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from typing import Any

from multi.controller.keeper.standing import BACKOFF, FAILED, RELOADING, RUNNING
from multi.controller.managers.base import Errand, ManagerError, ManagerSilent, Unit
from multi.controller.node import Node
from multi.controller.start import ALREADY, OK, WAITING, Result, Start
from multi.controller.start import FAILED as START_FAILED
from multi.controller.stop import Down, Stop
from multi.controller.tail import added
from multi.controller.watch import Watch
from multi.errors import ConfigurationError

_LINES = 20


class UnitStop(Stop):
    """A node on its way down by its manager, who waits for its tasks as its unit says."""

    def __init__(self, node: Node, unit: Unit) -> None:
        super().__init__(node, node.status(), -1)
        self.unit = unit
        self._errand: Errand | None = None
        self._deadlines: list[tuple[float, int]] = []
        self._forced = False
        self._runs = unit.standing.runs

    @property
    def is_down(self) -> bool:
        return self.fd < 0 and not self._runs

    def send(
        self, number: int, quit_after: float | None = None, kill_after: float | None = None, *, again: bool = False
    ) -> bool:
        """Have the manager stop it: it would start again what was ended by a signal alone."""
        self._request = (number, quit_after, kill_after)
        self._again = again
        if not self._runs:
            if self.unit.standing.state == FAILED:
                self.unit.settle()
            return False
        has_keeper = self.node.has_own_keeper
        self._errand = self.unit.stop()
        self.fd = self._errand.fd
        if number == signal.SIGKILL:
            self._kill()
        elif number != signal.SIGTERM:
            self.unit.send(number)
        if has_keeper and (quit_after is not None or kill_after is not None):
            self.node.ask("stop", signal=number, quit_after=quit_after, kill_after=kill_after)
        elif quit_after is not None or kill_after is not None:
            begun = time.monotonic()
            ladder = ((quit_after, signal.SIGQUIT), (kill_after, signal.SIGKILL))
            self._deadlines = [(begun + after, int(number)) for after, number in ladder if after is not None]
        return True

    def _kill(self) -> None:
        self._forced = True
        if not (self.node.has_own_keeper and self.node.ask("kill")):
            self.unit.send(signal.SIGKILL)

    def step(self, watch: Watch) -> Down | None:
        if self._errand is None:
            return Down(self.node, False)
        if not select.select([self.fd], [], [], 0)[0]:
            self._climb()
            return None
        if not self.unit.is_over(self._errand, watch):
            return None
        trouble = self._errand.trouble()
        watch.forget(self.fd)
        self.close()
        found = self.unit.standing
        if found.runs and trouble:
            raise ManagerError(f"{self.node} was not stopped: {trouble}")
        if found.state == FAILED:
            self.unit.settle()
        record = self.node.status().record
        forced = self._forced or found.was_killed or bool(record.get("forced"))
        return Down(self.node, forced, found.message if found.state == FAILED else "")

    def _climb(self) -> None:
        while self._deadlines and time.monotonic() >= self._deadlines[0][0]:
            number = self._deadlines.pop(0)[1]
            if number == signal.SIGKILL:
                self._kill()
            else:
                self.unit.send(number)

    def close(self) -> None:
        if self._errand is not None:
            self._errand.close()
            self._errand = None
        self.fd = -1
        self._runs = False


class UnitStart(Start):
    """A node on its way up by its manager, with what its unit says."""

    shares_imports = False

    def __init__(self, node: Node, unit: Unit) -> None:
        super().__init__(node, None, {})
        self.unit = unit
        self._errand: Errand | None = None
        self._result: Result | None = None
        self.is_good = False  # whether it runs
        self._since = 0.0

    def begin(self, watch: Watch) -> None:
        self.has_begun = True
        self.begun = time.monotonic()
        self._since = time.time()
        watch.directory(self.node.place.run)  # where a keeper, if it has one, writes that it is ready
        self.unit.look()
        self.node.have(self.unit)  # which it may be handed over to
        before = self.node.status()
        if before.state in (RUNNING, RELOADING):
            worker = before.worker or {}
            since = worker.get("ready") or before.since
            self.is_good = True
            self._result = Result(self.node, ALREADY, before.keeper_pid, since=since)
            return
        if self.unit.log_file is not None:
            self._log_from = _size(self.unit.log_file)
        try:
            self._errand = self.unit.start()
        except ManagerError as error:
            self._result = self._failure(str(error))
            return
        if self._errand is not None:
            watch.process(self._errand.fd)

    def step(self, watch: Watch) -> Result | None:
        if self._result is not None:
            return self._result
        if self._errand is not None and not select.select([self._errand.fd], [], [], 0)[0]:
            return None
        trouble = self._errand.trouble() if self._errand is not None else ""
        is_told = self._errand is not None  # that it is over, by its manager
        self._drop(watch)
        if is_told:
            self.unit.look()
        status = self.node.status()
        if not trouble and status.state in (RUNNING, RELOADING):
            self.is_good = True
            return Result(self.node, OK, status.keeper_pid, time.monotonic() - self.begun)
        found = self.unit.standing
        if trouble or not found.runs or found.state == BACKOFF:
            again = f"; {self.unit.manager} tries again" if found.state == BACKOFF else ""
            why = self.node.last_words or found.message or trouble or "it ended before it was ready"
            return self._failure(why + again)
        return None

    @property
    def is_watched(self) -> bool:
        return self._errand is not None or self._result is not None

    def waiting(self) -> Result:
        found = self.node.status()
        seconds = time.monotonic() - self.begun
        lines = self._lines()
        return Result(
            self.node, WAITING, found.keeper_pid, seconds, message=found.message, lines=lines, log_file=self._where()
        )

    def close(self, watch: Watch) -> None:
        self._drop(watch)

    def _drop(self, watch: Watch) -> None:
        if self._errand is not None:
            watch.forget(self._errand.fd)
            self._errand.close()
            self._errand = None

    def _failure(self, message: str) -> Result:
        return Result(self.node, START_FAILED, message=message, lines=self._lines(), log_file=self._where())

    def _where(self) -> str:
        return self.unit.log_file or f"the journal of {self.unit.id}"

    def _lines(self) -> tuple[str, ...]:
        if self.unit.log_file is not None:
            return tuple(added(self.unit.log_file, self._log_from))
        words = self.unit.journal(follow=False, lines=_LINES, since=self._since)
        if not words:
            return ()
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        return tuple(done.stdout.splitlines())


def refuse_beyond(node: Node) -> None:
    """A node that a manager runs which can't be asked: done behind its back, it would be started twice, or not again."""
    if why := node.beyond:
        if os.geteuid() == 0:
            gone = (
                f"; if that is gone for good: multi disable {node.name.short} --now --force"
                if node.unit is not None
                else ""
            )
            raise ManagerSilent(f"{node}: {why}{gone}")
        raise ManagerSilent(f"{node}: {why} (sudo multi … {node.name.short})")


def stop_of(node: Node) -> UnitStop | None:
    """How a node is stopped that a manager has; None for any other."""
    unit = node.manager
    if unit is None and node.unit is not None and node.unit.standing.runs:
        node.unit.stop().close()  # it tries in vain to start it, and would do so when it is down
    return UnitStop(node, unit) if unit is not None and unit.standing.is_known else None


def start_of(node: Node, record: dict[str, Any] | None = None, environment: dict[str, str] | None = None) -> Start:
    """How a node is started: by its manager, where it has one."""
    refuse_beyond(node)
    unit = node.manager
    return Start(node, record, environment or {}) if unit is None else UnitStart(node, unit)


def is_over(errand: Errand) -> bool:
    """Whether it is time to look what has become of it."""
    return bool(select.select([errand.fd], [], [], 0)[0])


def refuse_change(node: Node, given: str) -> None:
    """What a unit runs is said by the unit."""
    if node.manager is not None:
        raise ConfigurationError(
            f"{given}: {node} is run by {node.manager}, and what it is run with stands there; change multi.toml, then: "
            f"multi install {node.manager.manager}"
        )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
