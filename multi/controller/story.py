"""What has happened to a node, told in sentences, from the history that its keeper writes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from multi.controller.keeper import node as life
from multi.controller.keeper import proc
from multi.controller.keeper.watching import size
from multi.controller.node import CRASHED, ORPHANED, Node, Status
from multi.log import mask_passwords
from multi.masking import mask_arguments

Event = dict[str, Any]
GOOD, BAD = True, False
_KILLED = -9
_MOST_TASKS = 3


class Sentence(NamedTuple):
    """One line of the story: when, what, and whether that is good (None: neither)."""

    at: float
    text: str
    good: bool | None = None


def read(node: Node) -> list[Event]:
    """The events on record, eldest first; of a node whose keeper wrote none, what its last status knows."""
    events = [
        event for name in ("history.1.jsonl", "history.jsonl") for event in _lines(os.path.join(node.place.kept, name))
    ]
    unit = node.manager
    if unit is not None and not node.has_own_keeper:
        from multi.controller import unit_story

        events += unit_story.read(unit)
        events.sort(key=lambda event: event["at"])
    return events or _from_status(node.status())


def _lines(path: str) -> list[Event]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # cut off by a full disk
        if isinstance(event, dict) and isinstance(event.get("at"), int | float) and event.get("event"):
            found.append(event)
    return found


def _from_status(status: Status) -> list[Event]:
    """Keepers of older versions write no history."""
    record = status.record
    events: list[Event] = []
    last_end = record.get("last_end")
    if last_end:
        events.append({**last_end, "event": "exit"})
    for worker in record.get("workers") or ():
        events.append({"event": "starting", "at": worker["started"], **_of(worker)})
        if worker.get("ready"):
            events.append({"event": "ready", "at": worker["ready"], **_of(worker)})
    reload = record.get("reload") or {}
    if reload.get("state") == "failed":
        events.append({"event": "reload_failed", "at": reload.get("at", 0.0), "message": reload.get("message", "")})
    if status.state in (life.STOPPED, life.STOPPING):
        events.append({"event": status.state, "at": status.since, "message": record.get("message", "")})
    if status.state == life.FAILED:
        events.append({"event": "gave_up", "at": status.since, "message": record.get("message", "")})
    return sorted((event for event in events if event.get("at")), key=lambda event: event["at"])


def _of(worker: dict[str, Any]) -> Event:
    return {"pid": worker["pid"], "generation": worker["generation"]}


def tell(events: Iterable[Event]) -> list[Sentence]:
    """The story, a sentence for each event that adds something."""
    found: list[Sentence] = []
    alive: dict[Any, Event] = {}  # workers that were started, and whose end has not been told
    started: dict[Any, float] = {}
    ready: dict[Any, float] = {}
    before: Event = {}
    for event in events:
        what, pid = event["event"], event.get("pid")
        if what == "starting":
            if event.get("role", "current") == "current":
                found += [Sentence(event["at"], _unseen(one), BAD) for one in alive.values()]
                alive.clear()
            alive[pid] = event
            started[pid] = event["at"]
        elif what == "exit":
            alive.pop(pid, None)
        elif what == "reloaded":
            alive = {other: one for other, one in alive.items() if other == pid}  # those before it may go on for long
        elif what in ("lost", "stopped"):
            alive.clear()
        if what == "ready":
            ready.setdefault(pid, event["at"])
        lived = event["at"] - started[pid] if pid in started and what in ("exit", "ready") else None
        # an exit tells more than the verdict on it that follows
        repeats = what == "crashed" and before.get("event") == "exit" and before.get("pid") == pid
        if not repeats:
            sentence = _SENTENCES.get(what, _other)(event, lived)
            good = _good(event)
            if what == "exit" and good is BAD and pid in started and pid not in ready:
                sentence += "; it was never ready"
            found.append(Sentence(event["at"], mask_passwords(sentence), good))
        before = event
    return found


def is_bad(event: Event) -> bool:
    """Whether an event is trouble that the log may explain."""
    return _good(event) is BAD


def public(event: Event) -> Event:
    """An event as it may be shown: the arguments of its tasks masked, and passwords in its texts."""
    shown: Event = {name: mask_passwords(value) if isinstance(value, str) else value for name, value in event.items()}
    if isinstance(event.get("tasks"), list):
        shown["tasks"] = [{**task, "args": mask_arguments(str(task.get("args") or ""))} for task in event["tasks"]]
    return shown


def _good(event: Event) -> bool | None:
    what = event["event"]
    if what in ("ready", "reloaded"):
        return GOOD
    if what == "unit":
        return event.get("good")
    if what == "exit":
        return None if event.get("kind") == "stop" and not event.get("oom") else BAD
    if what == "climbing":
        return BAD if event.get("step") == "kill" else None
    return BAD if what in ("gave_up", "reload_failed", "watchdog", "crashed", "lost") else None


# ---- one sentence each


def _starting(event: Event, lived: float | None) -> str:
    return f"generation {event.get('generation', '?')} was started (pid {event.get('pid', '?')}){_by(event)}"


def _ready(event: Event, lived: float | None) -> str:
    after = f" after {span(lived)}" if lived is not None else ""
    return f"generation {event.get('generation', '?')} was ready{after}"


def _exit(event: Event, lived: float | None) -> str:
    text = str(event.get("text") or "ended")
    after = f", after {span(lived)}" if lived is not None else ""
    who = f"the worker (pid {event['pid']})" if event.get("pid") else "the worker"
    if event.get("role") in ("incoming", "outgoing"):
        who = f"the {event['role']} worker of a reload (pid {event.get('pid', '?')})"
    whole = f"{who} {'has stopped' if event.get('kind') == 'stop' else 'ended'}: {text}{after}"
    reason = str(event.get("reason") or "").strip()
    if reason and event.get("kind") != "stop":
        first, *more = reason.splitlines()
        last = more[-1].strip() if more else ""
        whole += f"; its own words: {first.strip().rstrip(':')}{f' … {last}' if last else ''}"
    if event.get("oom"):
        whole += "; the kernel killed it, since the memory of its control group or of the machine was used up"
    elif event.get("code") == _KILLED and not event.get("verdict"):
        whole += "; its keeper did not do that: somebody else sent KILL"
    tasks = event.get("tasks") or []
    return whole + (f"; it was running {_listed(tasks, event['at'])}" if tasks else "")


def _listed(tasks: list[dict[str, Any]], at: float) -> str:
    shown = ", ".join(_task(task, at) for task in tasks[:_MOST_TASKS])
    return shown + (f" and {len(tasks) - _MOST_TASKS} more" if len(tasks) > _MOST_TASKS else "")


def _task(task: dict[str, Any], at: float) -> str:
    since = f" for {span(at - task['since'])}" if task.get("since") else ""
    args = mask_arguments(str(task["args"])) if task.get("args") else ""
    if args and not args.startswith("("):
        args = f"({args})"
    name = task.get("name") or "a task"
    return f"{name}[{task['id']}]{args}{since}" if task.get("id") else f"{name}{args}{since}"


def _backoff(event: Event, lived: float | None) -> str:
    crashes = event.get("crashes", 0)
    times = f" (crash {crashes} in a row)" if crashes and crashes > 1 else ""
    return f"its keeper waits {event.get('delay', 0):g} s before it starts the next one{times}"


def _lost(event: Event, lived: float | None) -> str:
    keeper, workers = event.get("keeper"), event.get("workers") or []
    pids = ", ".join(map(str, workers))
    who = f"its keeper (pid {keeper or '?'})" + (
        f" and its worker (pid {pids})" if workers else ", which had no worker,"
    )
    if event.get("said"):
        reason = f" ({str(event['reason']).splitlines()[0]})" if event.get("reason") else ""
        whole = f"its keeper (pid {keeper or '?'}) was gone without a word, and the worker (pid {pids}) has ended: "
        whole += f"{event['said']}{reason}"
    elif event.get("reboot"):
        whole = f"{who} went with the machine, which was restarted"
    else:
        were = "were" if workers else "was"
        whole = f"{who} {were} found gone, and nobody saw how: killed, by somebody or for want of memory"
    if event.get("seen"):
        whole += f"; the last that is on record is of {_clock(event['seen'], event['at'])}: {event.get('state', '?')}"
    tasks = event.get("tasks") or []
    return whole + (f"; it was running {_listed(tasks, event.get('seen') or event['at'])}" if tasks else "")


def _unseen(event: Event) -> str:
    return (
        f"generation {event.get('generation', '?')} (pid {event.get('pid', '?')}) has gone meanwhile, and its end is on no "
        "record: its keeper went with it, or the machine was restarted"
    )


def _clock(at: float, now: float) -> str:
    same_day = time.strftime("%F", time.localtime(at)) == time.strftime("%F", time.localtime(now))
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", time.localtime(at))


def _stopping(event: Event, lived: float | None) -> str:
    if event.get("was"):
        return f"it was {event['was']}, and was told to stay down{_by(event)}"
    return f"{event.get('signal', 'TERM')}: it was told to stop{_by(event) or ', by a signal from somebody'}"


def _climbing(event: Event, lived: float | None) -> str:
    return f"it was still running: its keeper sent {str(event.get('step', '')).upper()}"


def _reload(event: Event, lived: float | None) -> str:
    why = f" ({event['reason']})" if event.get("reason") else ""
    return f"reload{why}: generation {event.get('generation', '?')} was to take over{_by(event)}"


def _paused(event: Event, lived: float | None) -> str:
    queues = event.get("queues") or "*"
    text = queues if isinstance(queues, str) else ", ".join(map(str, queues))
    what = "all queues" if text == "*" else f"the queue{'s' if ',' in text else ''} {text}"
    if event.get("later"):
        verb = "is not to consume" if event["event"] == "paused" else "is to consume as before"
        return f"what is started next {verb} from {what}{_by(event)}"
    verb = "stopped consuming" if event["event"] == "paused" else "took up consuming"
    return f"it {verb} from {what}{_by(event)}"


def _adopted(event: Event, lived: float | None) -> str:
    if event.get("foreign"):
        return f"the worker {event.get('pid', '?')}, which ran already, became this node"
    return f"its keeper was gone; a new one adopted the worker (pid {event.get('pid', '?')})"


def _memory(event: Event, lived: float | None) -> str:
    used, limit = (size(event.get(name, 0)) for name in ("used", "limit"))
    return f"it had grown to {used}; at {limit} it is replaced"


def _message(prefix: str) -> Callable[[Event, float | None], str]:
    def sentence(event: Event, lived: float | None) -> str:
        message = str(event.get("message") or "").strip()
        return f"{prefix}: {message}" if message else prefix

    return sentence


def _other(event: Event, lived: float | None) -> str:
    more = ", ".join(f"{name} {value}" for name, value in event.items() if name not in ("at", "event"))
    return f"{event['event']}: {more}" if more else str(event["event"])


def _by(event: Event) -> str:
    return f", by {event['by']}" if event.get("by") else ""


_SENTENCES: dict[str, Callable[[Event, float | None], str]] = {
    "starting": _starting,
    "ready": _ready,
    "exit": _exit,
    "lost": _lost,
    "crashed": _message("it crashed"),
    "backoff": _backoff,
    "gave_up": _message("it was given up"),
    "stopping": _stopping,
    "stopped": _message("everything of it has ended"),
    "climbing": _climbing,
    "reload": _reload,
    "reloaded": lambda event, lived: f"generation {event.get('generation', '?')} has taken over",
    "reload_failed": _message("the reload has failed, and the old worker went on"),
    "paused": _paused,
    "resumed": _paused,
    "adopted": _adopted,
    "unit": lambda event, lived: str(event.get("text")),
    "memory": _memory,
    "age": lambda event, lived: f"it was {span(event.get('seconds', 0))} old; at that age it is replaced",
    "watchdog": lambda event, lived: f"it was silent for {span(event.get('silent', 0))}; its keeper ended it",
}


def span(seconds: float) -> str:
    """A span of time, exact where it is short."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


# ---- how it is now


def present(status: Status, events: list[Event]) -> list[str]:
    """The present state, and what has led to it, the cause first."""
    state, record = status.state, status.record
    since = f" for {span(time.time() - status.since)}" if status.since else ""
    last_end = next((event for event in reversed(events) if event["event"] in ("exit", "lost")), None)
    # a request that came before the last start explains nothing of what is now
    latest = next((event for event in reversed(events) if event["event"] in ("stopping", "starting", "adopted")), None)
    asked = latest if latest is not None and latest["event"] == "stopping" else None
    message = mask_passwords(str(record.get("message") or ""))
    if state == life.STOPPED and not record:
        return ["it was never started"]
    if state == life.STOPPED:
        who = _by(asked) if asked is not None else ""
        return [f"it has been stopped{since}{who}" + (f": {message}" if message and not who else "")]
    if state == life.FAILED:
        ago = f" {span(time.time() - status.since)} ago" if status.since else ""
        name = str(record.get("name") or "").partition("@")[0]
        return [
            f"it was given up{ago}: {message}",
            f"it stays down until somebody starts it: multi start {name}".rstrip(),
        ]
    if state == life.BACKOFF:
        due, at = record.get("start_due"), record.get("next_start")
        wait = due - time.monotonic() if due else at - time.time() if at else None
        left = f"; it is started again in {span(wait)}" if wait is not None else ""
        return [
            f"{message or 'the worker has crashed'}{left}",
            f"it has crashed {record.get('crashes', 0)} times in a row",
        ]
    if state == CRASHED:
        if record.get("boot") and record["boot"] != proc.boot_id():
            return ["its keeper and its worker are gone: the machine was restarted"]
        return [
            "its keeper and its worker are gone without a word: both were killed, by somebody or for want of memory"
        ]
    if state == ORPHANED:
        return ["its keeper was killed; the worker goes on, and the next start gives it a new keeper"]
    found = [f"it has been {state}{since}"]
    if state == life.STOPPING and asked is not None:
        found[0] += _by(asked)
    elif state == life.STARTING and status.message:
        found[0] += f": {mask_passwords(status.message)}"
    if last_end is not None and is_bad(last_end):
        found.append(f"{tell([last_end])[0].text} ({span(time.time() - last_end['at'])} ago)")
    elif record.get("restarts") and last_end is None:
        times = record["restarts"]
        found.append(f"it was started again {times} time{'s' * (times != 1)} since somebody started it")
    reload = record.get("reload") or {}
    if reload.get("state") == "failed":
        found.append(f"its last reload has failed: {mask_passwords(str(reload.get('message')))}")
    if record.get("paused"):
        found.append(_paused({"event": "paused", "queues": record["paused"]}, None))
    return found
