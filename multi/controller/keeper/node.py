"""A node's life: starting, running, reloading, restarting after crashes, stopping.

`docs/states.md` draws it. All waiting is done by the keeper's loop; here are the steps.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from . import oom, spawn
from .standing import (
    BACKOFF,
    FAILED,
    RELOADING,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    VERSION,
    Standing,
)
from .worker import CURRENT, INCOMING, OUTGOING, SIGNALS, End, Worker

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "BACKOFF",
    "FAILED",
    "RELOADING",
    "RUNNING",
    "STARTING",
    "STOPPED",
    "STOPPING",
    "VERSION",
    "Node",
    "try_lock",
]

#: A worker that ends with one of these will do so again: its command line or its configuration is wrong.
HOPELESS = (2, 64, 78)
#: Unless the specification says otherwise.
FIRST_DELAY, LONGEST_DELAY, CRASHES, HEALTHY_AFTER = 1.0, 60.0, 5, 60.0
#: So many old workers may still be finishing when another reload begins.
MOST_OUTGOING = 3


class Node(Standing):
    """The steps of one node."""

    # ---- starting

    def start(self, role: str = CURRENT, by: str = "") -> None:
        """Start a worker."""
        self.timers.pop("start", None)
        self.generation += 1
        self.secure_lock()
        self._look_at_log()
        try:
            plan = spawn.Plan(self.spec, self._variables())
            waiting, self.inherited = self.inherited, None
            found = waiting.take(plan, self.generation, self.log.fd) if waiting is not None else None
            new, opener = found or spawn.spawn(plan, self.generation, self.log.fd, self.lock)
        except (spawn.Unstartable, OSError) as error:  # no memory or no process to be had
            hopeless = isinstance(error, spawn.Unstartable) and not self.ever_ready
            self._not_started(role, End("crash", f"no worker can be started: {error}", 78 if hopeless else None))
            return
        new.role = role
        new.paused = [*self.paused]
        new.oom_kills = oom.kills()
        self.workers.append(new)
        self.text = ""
        ready = self.spec.get("ready") or {}
        if ready.get("by") == "alive":
            self.timers[f"alive.{new.generation}"] = time.monotonic() + float(ready.get("after", 1.0))
        if role == INCOMING or (self.reload or {}).get("state") == "running":
            self.write()
        else:
            self.become(STARTING)
        self.happened("starting", generation=new.generation, pid=new.pid, role=role, by=by)
        os.write(opener, b"1")
        os.close(opener)

    def _look_at_log(self) -> None:
        """Whoever is started now writes to the file that has the log's name."""
        if self.log.look():
            self.tell(_signal.SIGUSR2)
        if self.log.pause is not None:
            self.timers.setdefault("log", time.monotonic() + self.log.pause)
        if not self.workers:
            self.log.refresh()

    def _variables(self) -> dict[str, str]:
        variables = {"MULTI_RUN_DIR": self.files, "NOTIFY_SOCKET": self.address}
        if self.log.path is not None:
            variables["MULTI_LOG_FILE"] = self.log.path
        if self.log.as_json:
            variables["MULTI_LOG_FORMAT"] = "json"
        if self.paused:
            variables["MULTI_PAUSED"] = ",".join(self.paused)
        watchdog = self.spec.get("watchdog")
        if watchdog:
            variables["WATCHDOG_USEC"] = str(int(watchdog * 1_000_000))
        return variables

    def _not_started(self, role: str, end: End) -> None:
        self.log.say("ERROR", f"{self.name}: {end.text}")
        self.history.add("exit", generation=self.generation, role=role, kind=end.kind, text=end.text)
        if role == INCOMING:
            self.reload_failed(end.text)
        else:
            self.crashed(end)

    def secure_lock(self) -> None:
        """Take the worker's lock as soon as it is free: while an adopted worker lives, that one has it."""
        if not self.has_lock:
            self.has_lock = try_lock(self.lock)

    def was_ready(self, one: Worker) -> None:
        """A worker says that it consumes."""
        if one.ready is not None:
            return
        one.ready = time.time()
        one.healthy_since = one.pulse = time.monotonic()
        self.timers.pop(f"alive.{one.generation}", None)
        self.ever_ready = True
        self.engine = one.engine
        self.trial.passed()
        self.happened("ready", generation=one.generation, pid=one.pid)
        self.watch(one)
        if one.paused != self.paused:
            from . import pause

            pause.bring_up_to_date(self, one)
        if one.role == INCOMING:
            for old in self.workers:
                if old.role == CURRENT:
                    old.role = OUTGOING
                    self.signal(old, _signal.SIGTERM)
            one.role = CURRENT
        if one.role == CURRENT and self.reload is not None and self.reload["state"] == "running":
            self.reload = {**self.reload, "state": "done", "generation": one.generation, "at": time.time()}
            self.log.say("INFO", f"{self.name}: generation {one.generation} (pid {one.pid}) has taken over")
            self.happened("reloaded", generation=one.generation, pid=one.pid)
        if self.state in (STARTING, RELOADING):
            self.message = ""
            self.become(RUNNING)
            self._next_hup()
        else:
            self.write()

    def watch(self, one: Worker) -> None:
        """Begin to look after a ready worker, as far as it was asked for."""
        if self.goes_by("watchdog", one) or self.spec.get("max_memory") or self.spec.get("max_age"):
            from . import watching

            watching.begin(self, one)

    # ---- reload

    def hup(self, by: str = "", reason: str = "") -> None:
        """Start the next generation; the present one goes on until it is ready. Where two of them can't be at once, the
        present one stops first."""
        if self.state == BACKOFF:
            self.start(by=by)
        elif self.state == RUNNING and [one.role for one in self.workers].count(OUTGOING) >= MOST_OUTGOING:
            self.hup_asked = True
        elif self.state == RUNNING:
            current = self.current
            self.reload = {"state": "running", "generation": self.generation + 1, "message": "", "at": time.time()}
            self.reload["reason"] = reason
            overlap = current is None or self.goes_by("overlap", current) is not False
            how = "starting" if overlap else "stopping the worker, and then starting"
            self.log.say("INFO", f"{self.name}: reload, {how} generation {self.generation + 1}")
            self.history.add("reload", generation=self.generation + 1, by=by, reason=reason)
            self.state, self.since = RELOADING, time.time()
            if overlap or current is None:
                self.start(INCOMING, by)
            else:
                self.replacing = True
                self._arm_ladder({})
                self.signal(current, _signal.SIGTERM)
                self.write()
        elif self.state in (STARTING, RELOADING) and not self.replacing:
            self.hup_asked = True  # what starts now may have read the code before it changed

    def _next_hup(self) -> None:
        if self.hup_asked and self.state == RUNNING:
            self.hup_asked = False
            self.hup()

    def reload_failed(self, why: str) -> None:
        """The next generation has not made it; the present one has never stopped working."""
        self.reload = {**(self.reload or {}), "state": "failed", "message": why, "at": time.time()}
        self.log.say("ERROR", f"{self.name}: the reload has failed, the old worker goes on: {why}")
        self.history.add("reload_failed", generation=self.generation, message=why)
        self.become(RUNNING)
        if self.current is not None:
            self.watch(self.current)

    # ---- ends

    def worker_ended(self, one: Worker, end: End) -> None:
        """A worker is gone, with all processes of its session."""
        one.end = end
        self.workers.remove(one)
        one.close()
        self._record_end(one, end)
        self.clean(one.generation)
        self.secure_lock()
        if self.state == STOPPING:
            if self.workers:
                self.write()
            else:
                self.finish(self.final)
        elif one.role == OUTGOING:
            self.write()
            self._next_hup()
        elif one.role == INCOMING:
            self.reload_failed(f"generation {one.generation} ended before it was ready: {end.brief}")
        elif self.replacing:
            self.replacing = False
            for step in ("quit", "kill"):
                self.timers.pop(step, None)
            self.start()
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

    def _record_end(self, one: Worker, end: End) -> None:
        running: list[dict[str, Any]] = []
        if one.verdict == "watchdog":
            end.kind, end.text = "crash", f"it stopped answering: {end.text}"
        if end.kind != "stop" or end.code != 0:
            from . import tasks

            running = tasks.running(f"{self.files}/stats.{one.generation}")
        # a kill that we have sent ourselves says nothing about memory
        was_killed = end.code in (-_signal.SIGKILL, None) and not self.forced and not one.verdict
        if was_killed and 0 <= one.oom_kills < oom.kills():
            end.oom = True
            end.text += ", for want of memory"
        self.timers.pop(f"alive.{one.generation}", None)
        value = {"pid": one.pid, "kind": end.kind, "text": end.text, "code": end.code, "reason": end.reason}
        self.last_end = {**value, "oom": end.oom, "verdict": one.verdict, "at": time.time()}
        self.history.add(
            "exit",
            generation=one.generation,
            role=one.role,
            oom=end.oom or None,
            verdict=one.verdict,
            tasks=running,
            **value,
        )

    def crashed(self, end: End, one: Worker | None = None) -> None:
        """Start again, later each time, or give up."""
        what = f"the worker has ended: {end.brief}" if one is not None else end.text
        if one is not None and one.ready is not None:
            if time.monotonic() - one.healthy_since >= self.spec.get("healthy_after", HEALTHY_AFTER):
                self.crashes = 0
        pid = one.pid if one is not None else None
        if self.reload is not None and self.reload["state"] == "running":
            self.reload = {**self.reload, "state": "failed", "message": what, "at": time.time()}
            self.history.add("reload_failed", generation=self.generation, message=what)
        is_clean = end.kind == "stop" and end.code == 0  # and yet the node is always to run
        if not is_clean:
            self.crashes += 1
            self.happened("crashed", generation=self.generation, pid=pid, message=what, crashes=self.crashes)
        limit = self.spec.get("max_crashes", CRASHES)
        if not self.ever_ready:
            self.trial.failed(must=end.code in HOPELESS)
            self.give_up(f"the worker has ended before it was ready: {end.brief}" if one is not None else what)
        elif self.spec.get("restart") == "never":
            self.give_up(what)
        elif end.code in HOPELESS:
            self.give_up(f"{what}, which a restart won't change")
        elif self.crashes >= limit:
            healthy = self.spec.get("healthy_after", HEALTHY_AFTER)
            self.give_up(f"{what}; given up after {self.crashes} crashes without {healthy:g} s of health")
        else:
            first = self.spec.get("restart_delay", FIRST_DELAY)
            longest = max(first, self.spec.get("longest_delay", LONGEST_DELAY))
            delay = min(first * 2 ** min(max(0, self.crashes - 1), 60), longest)
            self.log.say("ERROR", f"{self.name}: {what}; it is started again in {delay:g} s")
            self.history.add("backoff", delay=delay, crashes=self.crashes)
            self.restarts += 1
            self.timers["start"] = time.monotonic() + delay
            self.message = what
            self.become(BACKOFF)

    def clean(self, generation: int) -> None:
        """Remove what an ended worker has left in the runtime directory."""
        for name in (f"stats.{generation}", f"exit.{generation}.json", f"control.{generation}", f"stacks.{generation}"):
            try:
                os.unlink(f"{self.files}/{name}")
            except OSError:
                pass  # it made none

    def give_up(self, message: str) -> None:
        """The node is not started again."""
        self.happened("gave_up", message=message)
        self.stop_all(FAILED, message)

    def finish(self, state: str, message: str = "") -> None:
        """The node is over; the keeper ends."""
        self.message = message or self.message
        if state == FAILED:
            self.log.say("ERROR", f"{self.name}: {self.message}")
        self.done = 1 if state == FAILED else 0
        self.timers.clear()
        if state == STOPPED:
            self.happened("stopped", message=self.message)
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

    def _arm_ladder(self, asked: dict[str, str]) -> None:
        for step in ("quit", "kill"):
            seconds = asked.get(f"{step}_after") or self.spec.get(f"{step}_after")
            if seconds is not None and (asked.get(f"{step}_after") or step not in self.timers):
                self.timers[step] = time.monotonic() + float(seconds)

    def stop(self, number: int, fields: dict[str, str] | None = None, by: str = "") -> None:
        """Pass on a signal that means the end, and set the times after which harder ones follow."""
        asked = fields or {}
        self._arm_ladder(asked)
        self.timers.pop("start", None)
        self.again = asked.get("again") == "1"
        self.replacing = False
        self.history.add("stopping", signal=SIGNALS.get(number, str(number)), by=by)
        if not any(one.end is None for one in self.workers):
            self.log.say("INFO", f"{self.name}: stopped while no worker was running")
            self.finish(STOPPED)
            return
        if self.state != STOPPING:
            self.log.say("INFO", f"{self.name}: {SIGNALS.get(number, number)}, stopping")
            self.text = ""  # what it said of its work so far
        for one in self.workers:
            # who asks a program to end in a way that it doesn't know has asked it to end
            if not self.signal(one, number) and self.meant(number, one) is None:
                self.signal(one, _signal.SIGTERM)
        self.become(STOPPING)

    def climb(self, step: str) -> None:
        """The next rung of the stop ladder."""
        number = _signal.SIGQUIT if step == "quit" else _signal.SIGKILL
        # with an overlap of generations only the whole node climbs; a worker that is being replaced, by itself
        workers = [one for one in self.workers if self.meant(number, one) is not None]
        if not workers:
            return
        self.log.say("WARNING", f"{self.name}: still running, sending {SIGNALS[number]}")
        self.history.add("climbing", step=step)
        self.forced = self.forced or (step == "kill" and self.state == STOPPING)
        for one in workers:
            if self.replacing and step == "kill":
                one.verdict = "replaced"
            self.signal(one, number)
        self.write()


def try_lock(fd: int) -> bool:
    """Take the lock of an open file, without waiting."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
