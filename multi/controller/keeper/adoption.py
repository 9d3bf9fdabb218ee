"""Taking over workers that run already: those of a keeper that is gone, and processes that were nobody's so far.

adopt.json in the runtime directory, {"pid", "start", "boot"}, names such a process; once it is on record in status.json, the
file has done its duty, and every further keeper finds it there.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import struct
import time

from . import proc, record
from .standing import RELOADING, RUNNING, STARTING, STOPPING, Unusable
from .worker import CURRENT, INCOMING, Worker

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

    from .node import Node

#: Where a stats page holds its state, and what stands there when the worker is ready (`multi.stats`).
_STATE = struct.Struct("<I")
_STATE_AT, _READY = 16, 1


def foreign_on_record(status: dict[str, Any], boot: str) -> bool:
    """Whether a worker that holds no lock of ours is on record and lives: without a keeper, it is an orphan all the same."""
    for entry in status.get("workers") or ():
        if entry.get("foreign") and (one := _known(entry, status.get("boot", ""), boot)) is not None:
            os.close(one.pidfd)
            return True
    return False


def adopt(node: Node) -> None:
    """Take over what runs. Where nothing does, and nothing should, the node is left as it is."""
    before = record.read(f"{node.rundir}/status.json")
    for entry in before.get("workers", ()):
        if not node.has_lock or entry.get("foreign"):
            one = _known(entry, before.get("boot", ""), node.boot)
            if one is not None:
                node.workers.append(one)
    if not node.workers and not node.has_lock:
        one = _holder(f"{node.rundir}/worker.lock")
        if one is None:
            raise OSError(0, "the worker's lock is held, by a process that can't be found", node.rundir)
        node.workers.append(one)
    if node.workers:
        _go_on(node, before)
    wanted = f"{node.rundir}/adopt.json"
    if os.path.exists(wanted):
        try:
            if not node.workers:
                _foreign(node, record.read(wanted))
            node.write(must=True)
        finally:
            os.unlink(wanted)


def _known(entry: dict[str, Any], boot: str, same_boot: str) -> Worker | None:
    """The worker that an earlier keeper has left on record, if it is the same process and still lives."""
    pid, start = entry.get("pid"), entry.get("start")
    if boot != same_boot or not isinstance(pid, int) or not isinstance(start, str):
        return None
    pidfd = proc.open_identified(pid, start)
    if pidfd < 0:
        return None
    worker = Worker(pid, start, pidfd, entry.get("generation", 0), is_child=False)
    worker.role = entry.get("role", CURRENT)
    worker.started = entry.get("started", worker.started)
    worker.ready = entry.get("ready")
    worker.engine = entry.get("engine", "")
    worker.is_foreign = bool(entry.get("foreign"))
    return worker


def _holder(lock_file: str) -> Worker | None:
    """The worker whose record is lost: the eldest process that holds the worker's lock and leads its session."""
    for pid in proc.holders(lock_file):
        if pid != os.getpid() and proc.session(pid) == pid:
            start = proc.start_time(pid)
            pidfd = proc.open_identified(pid, start)
            if pidfd >= 0:
                return Worker(pid, start, pidfd, 0, is_child=False)
    return None


def _foreign(node: Node, entry: dict[str, Any]) -> None:
    """Take over a process that has never had a keeper."""
    worker = _known({"pid": entry.get("pid"), "start": entry.get("start")}, entry.get("boot", ""), node.boot)
    if worker is None:
        raise Unusable(f"the process {entry.get('pid')}, which was to be adopted, is gone")
    worker.is_foreign = True
    worker.ready = worker.started = _wall_start(worker.start)
    node.workers.append(worker)
    worker.healthy_since = worker.pulse = time.monotonic()
    node.ever_ready = True
    node.state, node.since = RUNNING, worker.started
    worker.processes()
    node.log.say(
        "WARNING",
        f"{node.name}: a running process (pid {worker.pid}) has been adopted; what it writes comes here from its next start on",
    )
    node.history.add("adopted", pid=worker.pid, foreign=True)
    node.trial.passed()


def _wall_start(ticks: str) -> float:
    return time.time() - proc.age(ticks)


def _go_on(node: Node, before: dict[str, Any]) -> None:
    """Be what the keeper was that is gone."""
    node.restarts = before.get("restarts", 0)
    node.crashes = before.get("crashes", 0)
    node.text = before.get("text", "")
    node.engine = before.get("engine", "")
    node.ever_ready = True  # a crash of it is to be followed by a restart, like one of a worker of our own
    now = time.monotonic()
    for one in node.workers:
        one.healthy_since = one.pulse = now
        one.paused = [*node.paused]
    if not any(one.role == CURRENT for one in node.workers):
        (next((one for one in node.workers if one.role == INCOMING), node.workers[0])).role = CURRENT
    current = next(one for one in node.workers if one.role == CURRENT)
    pids = ", ".join(str(one.pid) for one in node.workers)
    node.log.say("WARNING", f"{node.name}: a new keeper (pid {os.getpid()}) has adopted the worker {pids}")
    node.history.add("adopted", pid=current.pid, generation=current.generation)
    node.state = STOPPING if before.get("state") == STOPPING else STARTING
    node.since = before.get("since", node.since)
    node.reload = before.get("reload")
    alive = (node.spec.get("ready") or {}).get("by") == "alive"
    for one in [*node.workers]:
        # a READY that was said while nobody listened stands on the worker's page
        if one.ready is None and (one.generation == 0 or _is_ready(f"{node.files}/stats.{one.generation}")):
            node.was_ready(one)
        elif one.ready is None and alive:
            node.timers[f"alive.{one.generation}"] = now + float(node.spec["ready"].get("after", 1.0))
        if one.is_foreign:
            one.processes()
        elif one is current and one.ready is not None:
            node.watch(one)
    if node.state == STARTING and current.ready is not None:
        reloading = any(one.role == INCOMING for one in node.workers)
        node.state = RELOADING if reloading else RUNNING
    _settle_reload(node, current)


def _settle_reload(node: Node, current: Worker) -> None:
    """Bring a reload to its end that was under way."""
    if node.reload is None or node.reload.get("state") != "running" or node.state != RUNNING:
        return
    if node.goes_by("overlap", current) is False:
        node.replacing = True
        node.state = RELOADING
        node.signal(current, _signal.SIGTERM)
    else:
        node.reload = {
            **node.reload,
            "state": "failed",
            "message": "its keeper was killed on the way",
            "at": time.time(),
        }


def _is_ready(page: str) -> bool:
    try:
        with open(record.read_regular(page), "rb") as file:
            file.seek(_STATE_AT)
            (state,) = _STATE.unpack(file.read(_STATE.size))
    except (OSError, struct.error):
        return False
    return bool(state == _READY)
