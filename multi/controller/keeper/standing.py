"""Where a node stands: what its keeper knows, and what others see of it."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from . import record
from .history import History
from .inherited import Inherited
from .logfile import Log
from .trial import Trial
from .worker import CURRENT, Worker

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

    from .hooks import Hooks
    from .owner import Owner

VERSION = 1

STARTING, RUNNING, RELOADING = "starting", "running", "reloading"
STOPPING, BACKOFF, STOPPED, FAILED = "stopping", "backoff", "stopped", "failed"

#: What a program understands whose specification doesn't say.
_SIGNALS = {"warm": 15, "cold": 3, "dump": 10, "reopen": 12, "grow": 21, "shrink": 22}
MEANINGS = {number: meaning for meaning, number in _SIGNALS.items()}


class Unusable(Exception):
    """What a node needs can't be used; the message says what, why and what to do."""


class Standing:
    """What is known of a node, with the record of it in status.json and in its history."""

    def __init__(self, rundir: str, spec: dict[str, Any], log: Log, lock: int, boot: str, trial: Trial) -> None:
        self.rundir = rundir
        self.kept = os.path.dirname(os.path.realpath(f"{rundir}/spec.json"))
        self.files = rundir  # where the worker's own files are
        self.owner: Owner | None = None  # the worker's user, where that is another than ours
        self.spec = spec
        self.name: str = spec["name"]
        self.log = log
        self.lock = lock
        self.has_lock = False
        self.boot = boot
        self.trial = trial
        self.inherited: Inherited | None = None
        self.history = History(self.kept)
        self.hooks: Hooks | None = None
        self.address = ""
        self.state = STARTING
        self.since = time.time()
        self.workers: list[Worker] = []
        self.timers: dict[str, float] = {}
        self.generation = 0
        self.restarts = 0
        self.crashes = 0
        self.ever_ready = False
        self.forced = False
        self.again = False  # whoever stops it will start it again
        self.hup_asked = False
        self.replacing = False  # the present worker is stopping, so that another one can take its place
        self.paused: list[str] = []  # queues, or "*" for all
        self.memory_pause = 10.0
        self.final = STOPPED  # what the node is when its last worker has gone
        self.done: int | None = None  # the keeper's exit status, once it is over
        self.text = ""
        self.message = ""
        self.run_by = ""  # the manager in whose foreground this keeper is, and its name for it
        self.engine = ""  # what its last ready worker said it is, if it said so
        self.last_end: dict[str, Any] | None = None
        self.reload: dict[str, Any] | None = None
        self.keeper: dict[str, Any] = {}

    # ---- what others see

    def write(self, *, must: bool = False) -> None:
        """Bring status.json up to date; where it can't be and `must` be, the error goes on."""
        value = {
            "version": VERSION,
            "name": self.name,
            "state": self.state,
            "since": self.since,
            "boot": self.boot,
            "keeper": self.keeper,
            "workers": [one.record for one in self.workers if one.end is None],
            "generation": self.generation,
            "restarts": self.restarts,
            "crashes": self.crashes,
            "text": self.text,
            "message": self.message,
            "last_end": self.last_end,
            "next_start": time.time() + self.timers["start"] - time.monotonic() if "start" in self.timers else None,
            "start_due": self.timers.get("start"),  # the same by a clock that nobody sets
            "engine": self.engine,
            "run_by": self.run_by,
            "reload": self.reload,
            "paused": self.paused,
            "forced": self.forced,
            "again": self.again,
            "log_file": self.log.path,
            "pidfile": self.spec.get("pidfile"),
        }
        try:
            record.write(f"{self.rundir}/status.json", value)
        except OSError as error:
            if must:
                raise
            self.log.say("ERROR", f"{self.name}: status.json can't be written: {error}")

    def become(self, state: str) -> None:
        """Enter a state."""
        if state != self.state:
            self.state = state
            self.since = time.time()
        self.write()

    def happened(self, event: str, **fields: object) -> None:
        """Put an event into the history, and tell it to whoever has asked for it."""
        self.history.add(event, **fields)
        if self.hooks is not None:
            self.hooks.tell(event, fields)

    # ---- what the specification says

    def goes_by(self, key: str, one: Worker | None = None) -> Any:
        """What the specification says; a worker that has said what engine it is may go by other words than the rest."""
        if one is not None and one.engine:
            other = (self.spec.get("engines") or {}).get(one.engine) or {}
            if key in other:
                return other[key]
        return self.spec.get(key)

    def meant(self, number: int, one: Worker) -> int | None:
        """The signal that says to this worker what `number` says to a worker of multi; None where there is none."""
        meaning = MEANINGS.get(number)
        said = self.goes_by("signals", one)
        if meaning is None or said is None:
            return number
        found: int | None = said.get(meaning)
        return found

    @property
    def current(self) -> Worker | None:
        """The worker that does the work, or is about to."""
        return next((one for one in self.workers if one.role == CURRENT), None)

    def signal(self, one: Worker, number: int) -> bool:
        """Tell a worker in its own words what `number` says to a worker of multi."""
        found = self.meant(number, one)
        if found is not None and one.is_foreign and number == _signal.SIGKILL:
            one.processes()  # they are remembered, to be ended after it
        return found is not None and one.signal(found)

    def tell(self, number: int) -> None:
        """Pass on a signal that is no end; a worker that isn't ready could die of it."""
        for one in self.workers:
            if one.ready is not None:
                self.signal(one, number)
