"""A node that a unit manager runs, and how it is spoken to.

The manager is the one who knows whether the node runs and who starts it again, so every command goes through it: a node that
is ended behind its manager's back would come back.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from multi.controller.keeper import proc
from multi.controller.keeper.standing import FAILED, STARTING, STOPPED
from multi.controller.node import UNKNOWN
from multi.controller.places import Places
from multi.controller.watch import Watch
from multi.errors import MultiError, NodeError
from multi.stats import NodeStats, StatsPage

_FRESH = 0.2  # seconds for which an answer of the manager holds


class ManagerError(NodeError):
    """A unit manager that refuses, or can't be reached."""


class ManagerSilent(ManagerError):
    """A unit manager that gives no answer, or none to whoever asks: how its nodes are is unknown."""


class ManagerDown(ManagerError):
    """A unit manager that does not run, and so runs nothing."""


class Standing(NamedTuple):
    """What a manager says of a unit. `state` is in the words of our own nodes; `since` in seconds since the epoch."""

    state: str
    pid: int = 0
    since: float = 0.0
    message: str = ""
    restarts: int = 0
    #: whether it is started when the machine is; None where the manager doesn't tell
    at_boot: bool | None = None
    #: whether the manager has it loaded at all
    is_known: bool = True
    #: whether its last end took a KILL
    was_killed: bool = False
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def runs(self) -> bool:
        """Whether the manager holds it up, or is about to."""
        return self.state not in (STOPPED, FAILED, UNKNOWN)

    def record(self, generation: int = 1) -> dict[str, Any]:
        """The same in the form in which our keepers write of a node."""
        found: dict[str, Any] = {
            "state": self.state,
            "since": self.since,
            "message": self.message,
            "restarts": self.restarts,
            "boot": proc.boot_id(),
        }
        if self.runs and self.pid:
            start = proc.start_time(self.pid)
            found["keeper"] = {"pid": self.pid, "start": start, "boot": proc.boot_id()}
            worker = {
                "pid": self.pid,
                "start": start,
                "started": self.since,
                "generation": generation,
                "role": "current",
            }
            # after a reload the main process is in the session of the one before
            worker["leads"] = proc.session(self.pid) == self.pid
            worker["engine"] = engine_of(self.pid)
            found["workers"] = [worker if self.state == STARTING else {**worker, "ready": self.since}]
        return found


def engine_of(pid: int) -> str:
    """Which engine a process is of, as its command line shows; "" where that can't be seen."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode("utf-8", "replace").split("\0")[:4]
    except OSError:
        return ""
    names = [os.path.basename(word) for word in words]
    if names[1:3] == ["-m", "multi"] or "multi" in names[:2]:
        return "multi"
    if names[1:3] == ["-m", "celery"] or {"celery", "celery_node.py"} & {*names[:2]}:
        return "celery"
    return "command" if any(words) else ""


GONE = Standing(STOPPED, is_known=False)


def silent(error: MultiError) -> Standing:
    """What is to be thought of a unit whose manager gives no answer."""
    return Standing(STOPPED if isinstance(error, ManagerDown) else UNKNOWN, message=str(error))


class Errand:
    """Something that a manager was asked to do. `fd` becomes readable when it is time to look whether it is done."""

    fd = -1

    def trouble(self) -> str:
        """What the manager had to say, once it has refused or failed."""
        return ""

    def close(self) -> None:
        """Let go of it; what was asked for goes on."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Unit:
    """One node of a manager's. `id` is the manager's name for it, `node` the node's short name."""

    manager = ""

    def __init__(self, id: str, node: str) -> None:
        self.id = id
        self.node = node
        #: those that are asked about at the same time, since one question costs as much as many
        self.roster: Sequence[Unit] = (self,)
        #: whether something that is started at boot starts it
        self.is_wanted = False
        self._standing: Standing | None = None
        self._asked = 0.0

    def __str__(self) -> str:
        return f"{self.manager} ({self.id})"

    # ---- what the manager says

    @property
    def standing(self) -> Standing:
        """How it is, at most a fifth of a second ago."""
        if self._standing is None or time.monotonic() - self._asked > _FRESH:
            try:
                self.ask()
            except MultiError as error:
                self.told(silent(error))
        assert self._standing is not None
        return self._standing

    @property
    def at_boot(self) -> bool | None:
        """Whether it is started when the machine is; None where that is not known."""
        return True if self.is_wanted else self.standing.at_boot

    def told(self, standing: Standing) -> None:
        """Note an answer of the manager's."""
        self._standing = standing
        self._asked = time.monotonic()

    def record(self) -> dict[str, Any]:
        """What the manager says, in the form in which our keepers write of a node."""
        page = self.page()
        return self.standing.record(1 if page is None else page.generation)

    @property
    def folder(self) -> str | None:
        """The directory where the node's process meets those who look at it, if it was told of one."""
        return dict(self.standing.variables).get("MULTI_RUN_DIR")

    def page(self) -> NodeStats | None:
        """The stats page of its main process, where that was told to write one; by its number, since a reload makes another."""
        found = self.standing
        folder = self.folder
        if not folder or not found.pid:
            return None
        for path in glob.glob(os.path.join(glob.escape(folder), "stats.*")):
            page = StatsPage.read(path)
            if page is not None and page.pid == found.pid:
                return page
        return None

    @property
    def places(self) -> Places | None:
        """Where its keeper has its things, where that is another user's; None where it is as for our own nodes."""
        return None

    def forget(self) -> None:
        """The next look is to be a fresh one."""
        self._standing = None

    def look(self) -> Standing:
        """A fresh answer about this one alone."""
        roster, self.roster = self.roster, (self,)
        try:
            self.ask()
        finally:
            self.roster = roster
        assert self._standing is not None
        return self._standing

    def ask(self) -> None:
        """Ask the manager, and have each of the roster told."""
        raise NotImplementedError

    @property
    def log_file(self) -> str | None:
        """The file that holds its lines; None where the manager keeps them otherwise."""
        return None

    def journal(self, *, follow: bool, lines: int | None, since: float | None) -> Sequence[str]:
        """The command that prints its lines, where there is no file."""
        return ()

    # ---- what it is asked for

    def start(self) -> Errand | None:
        """Have it started. Where the manager doesn't tell when that is over, there is no errand to wait for."""
        raise NotImplementedError

    def stop(self) -> Errand:
        """Have it stopped, and not started again; its tasks end first."""
        raise NotImplementedError

    def settle(self) -> None:
        """It is down because it was to be; that it had failed before counts no more."""

    def reload(self) -> Errand:
        """Have it load new code."""
        raise NotImplementedError

    def send(self, number: int) -> None:
        """Send a signal to its main process, or for KILL to all of them."""
        raise NotImplementedError

    def is_over(self, errand: Errand, watch: Watch) -> bool:
        """Whether a stop has come to its end. `errand` is readable; where it was too early it is set up anew."""
        raise NotImplementedError
