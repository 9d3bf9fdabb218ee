"""A node's life: starting, running, reloading, restarting after crashes, stopping.

`docs/states.md` draws it. All waiting is done by the keeper's loop; here are the steps.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from . import record, worker
from .channel import Message
from .logfile import Log
from .trial import Trial
from .worker import CURRENT, INCOMING, OUTGOING, SIGNALS, End, Worker

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

VERSION = 1

STARTING, RUNNING, RELOADING = "starting", "running", "reloading"
STOPPING, BACKOFF, STOPPED, FAILED = "stopping", "backoff", "stopped", "failed"

#: A worker that ends with one of these will do so again: its command line or its configuration is wrong.
HOPELESS = (2, 64, 78)
#: Unless the specification says otherwise.
FIRST_DELAY, LONGEST_DELAY, CRASHES, HEALTHY_AFTER = 1.0, 60.0, 5, 60.0


class Node:
    """The steps of one node, and the record of them in status.json."""

    def __init__(self, rundir: str, spec: dict[str, Any], log: Log, lock: int, boot: str, trial: Trial) -> None:
        self.rundir = rundir
        self.spec = spec
        self.name: str = spec["name"]
        self.log = log
        self.lock = lock
        self.has_lock = False
        self.boot = boot
        self.trial = trial
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
        self.final = STOPPED  # what the node is when its last worker has gone
        self.done: int | None = None  # the keeper's exit status, once it is over
        self.text = ""
        self.message = ""
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
            "reload": self.reload,
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

    # ---- starting

    def start(self, role: str = CURRENT) -> None:
        """Start a worker."""
        self.timers.pop("start", None)
        self.generation += 1
        variables = {"MULTI_RUN_DIR": self.rundir, "NOTIFY_SOCKET": self.address}
        if self.log.path is not None:
            variables["MULTI_LOG_FILE"] = self.log.path
        if self.log.as_json:
            variables["MULTI_LOG_FORMAT"] = "json"
        self.secure_lock()
        if not self.workers:
            self.log.refresh()
        try:
            new, opener = worker.spawn(self.spec, self.generation, variables, self.log.fd, self.lock)
        except OSError as error:  # no memory or no process to be had
            self.log.say("ERROR", f"{self.name}: no worker can be started: {error}")
            if role == INCOMING:
                self.reload_failed(f"no worker can be started: {error}")
            else:
                self.crashed(End("crash", f"no worker can be started: {error}"))
            return
        new.role = role
        self.workers.append(new)
        self.text = ""
        if role == CURRENT:
            self.become(STARTING)
        else:
            self.write()
        os.write(opener, b"1")
        os.close(opener)

    def secure_lock(self) -> None:
        """Take the worker's lock as soon as it is free: while an adopted worker lives, that one has it."""
        if not self.has_lock:
            self.has_lock = try_lock(self.lock)

    def was_ready(self, one: Worker) -> None:
        """A worker says that it consumes."""
        if one.ready is not None:
            return
        one.ready = time.time()
        one.healthy_since = time.monotonic()
        self.ever_ready = True
        self.trial.passed()
        if one.role == INCOMING:
            for old in self.workers:
                if old.role == CURRENT:
                    old.role = OUTGOING
                    old.signal(_signal.SIGTERM)
            one.role = CURRENT
            self.reload = {"state": "done", "generation": one.generation, "message": "", "at": time.time()}
            self.log.say("INFO", f"{self.name}: generation {one.generation} (pid {one.pid}) has taken over")
        if self.state in (STARTING, RELOADING):
            self.message = ""
            self.become(RUNNING)
            if self.hup_asked:
                self.hup_asked = False
                self.hup()
        else:
            self.write()

    # ---- reload

    def hup(self) -> None:
        """Start the next generation; the present one goes on until it is ready."""
        if self.state == BACKOFF:
            self.start()
        elif self.state == RUNNING:
            self.reload = {"state": "running", "generation": self.generation + 1, "message": "", "at": time.time()}
            self.log.say("INFO", f"{self.name}: reload, starting generation {self.generation + 1}")
            self.state, self.since = RELOADING, time.time()
            self.start(INCOMING)
        elif self.state in (STARTING, RELOADING):
            self.hup_asked = True  # what starts now may have read the code before it changed

    def reload_failed(self, why: str) -> None:
        """The next generation has not made it; the present one has never stopped working."""
        self.reload = {"state": "failed", "generation": self.generation, "message": why, "at": time.time()}
        self.log.say("ERROR", f"{self.name}: the reload has failed, the old worker goes on: {why}")
        self.become(RUNNING)

    # ---- ends

    def worker_ended(self, one: Worker, end: End) -> None:
        """A worker is gone, with all processes of its session."""
        one.end = end
        self.workers.remove(one)
        one.close()
        self.clean(one.generation)
        self.secure_lock()
        self.last_end = {
            "pid": one.pid,
            "kind": end.kind,
            "text": end.text,
            "code": end.code,
            "reason": end.reason,
            "at": time.time(),
        }
        if self.state == STOPPING:
            if self.workers:
                self.write()
            else:
                self.finish(self.final)
        elif one.role == OUTGOING:
            self.write()
        elif one.role == INCOMING:
            self.reload_failed(f"generation {one.generation} ended before it was ready: {end.brief}")
        elif end.kind == "stop" and self.spec.get("restart") != "always":
            self.log.say("INFO", f"{self.name}: the worker has stopped: {end.brief}")
            self.stop_all(STOPPED, f"the worker has stopped: {end.brief}")
        elif any(other.role == INCOMING for other in self.workers):
            # it crashed during its own replacement; the new one, still starting, is the node now
            for other in self.workers:
                if other.role == INCOMING:
                    other.role = CURRENT
            self.restarts += 1
            self.become(STARTING)
        else:
            self.crashed(end, one)

    def crashed(self, end: End, one: Worker | None = None) -> None:
        """Start again, later each time, or give up."""
        what = f"the worker has ended: {end.brief}"
        limit = self.spec.get("max_crashes", CRASHES)
        if one is not None and one.ready is not None:
            if time.monotonic() - one.healthy_since >= self.spec.get("healthy_after", HEALTHY_AFTER):
                self.crashes = 0
        self.crashes += 1
        if not self.ever_ready:
            self.trial.failed(must=end.code in HOPELESS)
            self.stop_all(FAILED, f"the worker has ended before it was ready: {end.brief}")
        elif self.spec.get("restart") == "never":
            self.stop_all(FAILED, what)
        elif end.code in HOPELESS:
            self.stop_all(FAILED, f"{what}, which a restart won't change")
        elif self.crashes >= limit:
            healthy = self.spec.get("healthy_after", HEALTHY_AFTER)
            self.stop_all(FAILED, f"{what}; given up after {self.crashes} crashes without {healthy:g} s of health")
        else:
            first = self.spec.get("restart_delay", FIRST_DELAY)
            delay = min(first * 2 ** (self.crashes - 1), LONGEST_DELAY)
            self.log.say("ERROR", f"{self.name}: {what}; it is started again in {delay:g} s")
            self.restarts += 1
            self.timers["start"] = time.monotonic() + delay
            self.message = what
            self.become(BACKOFF)

    def clean(self, generation: int) -> None:
        """Remove what an ended worker has left in the runtime directory."""
        for name in (f"stats.{generation}", f"exit.{generation}.json"):
            try:
                os.unlink(f"{self.rundir}/{name}")
            except OSError:
                pass  # it wrote none

    def finish(self, state: str, message: str = "") -> None:
        """The node is over; the keeper ends."""
        self.message = message or self.message
        if state == FAILED:
            self.log.say("ERROR", f"{self.name}: {self.message}")
        self.done = 1 if state == FAILED else 0
        self.timers.clear()
        self.become(state)

    # ---- stopping

    def stop_all(self, state: str, message: str) -> None:
        """End as `state`, once the other workers (of a reload) have ended too."""
        self.final = state
        if self.workers:
            self.message = message
            self.stop(_signal.SIGTERM)
        else:
            self.finish(state, message)

    def stop(self, number: int, fields: dict[str, str] | None = None) -> None:
        """Pass on a signal that means the end, and set the times after which harder ones follow."""
        asked = fields or {}
        for step in ("quit", "kill"):
            seconds = asked.get(f"{step}_after") or self.spec.get(f"{step}_after")
            if seconds is not None and (asked.get(f"{step}_after") or step not in self.timers):
                self.timers[step] = time.monotonic() + float(seconds)
        self.timers.pop("start", None)
        self.again = asked.get("again") == "1"
        if not any(one.end is None for one in self.workers):
            self.log.say("INFO", f"{self.name}: stopped while no worker was running")
            self.finish(STOPPED)
            return
        if self.state != STOPPING:
            self.log.say("INFO", f"{self.name}: {SIGNALS.get(number, number)}, stopping")
            self.text = ""  # what it said of its work so far
        for one in self.workers:
            one.signal(number)
        self.become(STOPPING)

    def climb(self, step: str) -> None:
        """The next rung of the stop ladder."""
        number = _signal.SIGQUIT if step == "quit" else _signal.SIGKILL
        self.log.say("WARNING", f"{self.name}: still running, sending {SIGNALS[number]}")
        self.forced = self.forced or step == "kill"
        for one in self.workers:
            one.signal(number)
        self.write()

    def tell(self, number: int) -> None:
        """Pass on a signal that is no end; a worker that isn't ready could die of it."""
        for one in self.workers:
            if one.ready is not None:
                one.signal(number)

    # ---- messages

    def heard(self, message: Message) -> None:
        """News from a worker."""
        for one in self.workers:
            if one.pid == message.pid:
                break
        else:
            return  # nobody whom we have started
        if "STATUS" in message.fields and one.role != OUTGOING:
            self.text = message.fields["STATUS"]
        if "EXTEND_TIMEOUT_USEC" in message.fields:
            try:
                until = time.monotonic() + int(message.fields["EXTEND_TIMEOUT_USEC"]) / 1_000_000
            except ValueError:
                return
            for step in ("quit", "kill"):
                if step in self.timers:
                    self.timers[step] = max(self.timers[step], until)
        if message.fields.get("READY") == "1":
            self.was_ready(one)
        else:
            self.write()

    def asked(self, message: Message) -> None:
        """A request of a command."""
        what = message.fields.get("request")
        try:
            number = int(message.fields.get("signal", _signal.SIGTERM))
        except ValueError:
            return
        if what == "stop":
            self.stop(number, message.fields)
        elif what == "kill":
            self.forced = True
            self.stop(_signal.SIGKILL)
        elif what == "reload":
            self.hup()
        elif what == "signal" and number in SIGNALS:
            self.tell(number)


def try_lock(fd: int) -> bool:
    """Take the lock of an open file, without waiting."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
