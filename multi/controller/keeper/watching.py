"""What is looked after in a worker that runs: that it answers, how much memory it takes, how old it is.

Nothing here happens for a node that has asked for none of it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from . import proc
from .standing import BACKOFF, RELOADING, RUNNING, STOPPING

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from .node import Node
    from .worker import Worker

#: Between two looks at the memory; longer, as long as looking leads to nothing but one reload after the other.
LOOK, LONGEST_LOOK = 10.0, 3600.0
#: So long a worker that doesn't answer may take to write its stacks.
LAST_WORDS = 5.0
_JITTER = 0.1
_RETRY_AGE = 600.0


def begin(node: Node, one: Worker) -> None:
    """Arm the timers for a worker that is ready."""
    now = time.monotonic()
    if node.goes_by("watchdog", one):
        one.pulse = max(one.pulse, one.healthy_since)
        _arm(node, "watchdog", one.pulse + node.goes_by("watchdog", one))
    if node.spec.get("max_memory"):
        _arm(node, "memory", now + LOOK)
    if node.spec.get("max_age"):
        longest = float(node.spec["max_age"])
        jitter = node.spec.get("max_age_jitter")
        share = (_JITTER if jitter is None else jitter) * os.urandom(1)[0] / 255
        # nodes that were started together are not to be replaced together
        left = longest * (1 - share) - _age(one)
        failed = node.reload is not None and node.reload["state"] == "failed"
        node.timers["age"] = now + max(left, min(_RETRY_AGE, longest) if failed else 0.0)


def _arm(node: Node, timer: str, due: float) -> None:
    node.timers[timer] = min(due, node.timers.get(timer, due))


def _age(one: Worker) -> float:
    """How long it lives, by a clock that nobody sets."""
    fields = proc.stat(one.pid)
    if not fields:
        return 0.0
    return proc.age(fields[19])


def due(node: Node, timer: str) -> None:
    """The time of one of the timers has come."""
    if timer == "watchdog":
        _watchdog(node)
    elif timer == "words":
        _hear(node)
    elif timer == "abort":
        _abort(node)
    elif timer == "memory":
        _memory(node)
    elif timer == "age" and node.current is not None:
        if node.state == RUNNING:
            age = _age(node.current)
            node.log.say("INFO", f"{node.name}: the worker (pid {node.current.pid}) is {age:.0f} s old and is replaced")
            node.history.add("age", generation=node.current.generation, pid=node.current.pid, seconds=round(age))
            node.hup("its keeper", f"the worker was {age:.0f} s old")
        elif node.state != STOPPING:
            node.timers["age"] = time.monotonic() + LOOK


# ---- the watchdog


def _watchdog(node: Node) -> None:
    one = node.current
    if one is None or one.ready is None or node.state not in (RUNNING, RELOADING) or node.replacing or one.verdict:
        return  # one that is stopping may be busy with just that
    limit = node.goes_by("watchdog", one)
    if not limit:
        return
    silent = time.monotonic() - one.pulse
    if silent < limit:
        node.timers["watchdog"] = one.pulse + limit
        return
    one.verdict = "watchdog"
    node.log.say("ERROR", f"{node.name}: the worker (pid {one.pid}) has not answered for {silent:.0f} s, and is ended")
    node.history.add("watchdog", generation=one.generation, pid=one.pid, silent=round(silent, 1))
    from . import lastwords

    one.last_words = lastwords.LastWords(node, one)
    _hear(node)


def _hear(node: Node) -> None:
    """Let the children say where they are, and then the worker itself."""
    for one in node.workers:
        if one.verdict != "watchdog" or one.last_words is None:
            continue
        if one.last_words.go_on():
            from . import lastwords

            node.timers["words"] = time.monotonic() + lastwords.LOOK
            continue
        one.last_words = None
        one.signal(_signal.SIGABRT)
        one.signal(_signal.SIGCONT)  # a process that was stopped has to go on, to say where it was
        node.timers["abort"] = time.monotonic() + LAST_WORDS


def _abort(node: Node) -> None:
    for one in node.workers:
        if one.verdict == "watchdog":
            one.signal(_signal.SIGKILL)


# ---- memory


def memory(one: Worker) -> int:
    """What a worker and its family occupy, in bytes; pages that several of them share count once."""
    return sum(_memory_of(pid) for pid in one.processes())


def _memory_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # gone, not to be looked into, or an old kernel
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _memory(node: Node) -> None:
    one = node.current
    pause = LOOK
    if one is not None and one.ready is not None and node.state == RUNNING:
        used, limit = memory(one), int(node.spec["max_memory"])
        if used > limit:
            what = f"it takes {size(used)} of memory, and {size(limit)} is its limit"
            young = time.monotonic() - one.healthy_since < node.memory_pause * 2
            node.memory_pause = min(node.memory_pause * 2, LONGEST_LOOK) if young else LOOK
            pause = node.memory_pause
            hint = f"; the next look is in {pause:g} s, since the worker was young" if young else ""
            node.log.say("WARNING", f"{node.name}: {what}: the worker (pid {one.pid}) is replaced{hint}")
            node.history.add("memory", generation=one.generation, pid=one.pid, used=used, limit=limit)
            node.hup("its keeper", f"the worker was too large: {what}")
    if node.state != BACKOFF or node.workers:
        node.timers["memory"] = time.monotonic() + pause


def size(number: int) -> str:
    """A number of bytes as people write it."""
    if number < 1 << 20:
        return f"{number / (1 << 10):.0f} kB"
    return f"{number / (1 << 20):.{1 if number < 10 << 20 else 0}f} MB"
