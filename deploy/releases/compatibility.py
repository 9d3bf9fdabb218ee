"""Whether a new release can do what is still asked of the old one: its tasks, against what waits in queues and schedules."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.deploy.hosts.inventory import Host, Inventory
from multi.deploy.steps import Command, Plan
from multi.errors import HostUnreachable
from multi.nodes.spec import NodeSpec

if TYPE_CHECKING:
    from multi.deploy.base import Backend, Session

#: So many messages of a queue are looked at.
LIMIT = 10_000
TIMEOUT = 120.0
_MARK = "multi-app-1 "
_SCRIPT = "asked.py"
_MARGIN = 15.0
#: Before the script: it ends when its time is up, by a signal where a library lets no thread of Python's run.
_ENDING = """
import os, signal, sys, threading
def _end():
    sys.stderr.write("it has not told of itself within {seconds:.0f} s\\n")
    sys.stderr.flush()
    os._exit(124)
_timer = threading.Timer({seconds}, _end)
_timer.daemon = True
_timer.start()
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.alarm(int({seconds}) + 6)
"""
#: The release that runs gets so many times what the new one has taken, and so many seconds at least: who goes back because it
#: hangs is in haste.
_PATIENCE, _LEAST = 2.0, 3.0


class App(NamedTuple):
    """What a project's app has told of itself. `error`: why it can't be imported, as a traceback."""

    library: str = ""
    python: str = ""
    tasks: Mapping[str, Mapping[str, Any]] = {}
    schedule: tuple[str, ...] = ()
    settings: Mapping[str, Any] = {}
    broker: Mapping[str, Any] = {}
    redis: Mapping[str, str] = {}
    waiting: Mapping[str, Any] = {}
    error: str | None = None

    @property
    def not_looked(self) -> str | None:
        """Why nothing is known of what waits."""
        found = self.waiting.get("error")
        return None if found is None else str(found)


class Finding(NamedTuple):
    """Something that a release lacks or has changed. `stops`: messages that wait would fail for it; `broken`: nothing of the
    release would run."""

    task: str
    text: str
    stops: bool
    messages: int = 0
    broken: bool = False

    def __str__(self) -> str:
        return f"{self.task}: {self.text}" if self.task else self.text

    def json(self) -> dict[str, Any]:
        return {"task": self.task, "text": self.text, "stops": self.stops, "messages": self.messages}


def question(
    nodes: Sequence[NodeSpec],
    folder: str,
    python: str,
    *,
    user: str | None = None,
    limit: int = LIMIT,
    seconds: float = TIMEOUT,
) -> Command | None:
    """What asks the app of these nodes, as it is in `folder`, run by `python`; None where no node has an app. It ends by itself
    after these seconds: an import that hangs leaves nothing there."""
    worker = next((node for node in nodes if node.kind == "worker" and node.options.get("app")), None)
    if worker is None:
        return None
    queues = {name for node in nodes for name in str(node.options.get("queues") or "").split(",")}
    asked = {
        "app": str(worker.options["app"]),
        "queues": sorted(name.strip() for name in queues if name.strip()),
        "limit": limit,
        "env": dict(worker.environment),
        "env_files": list(worker.env_files),
        "broker": str(worker.options.get("broker") or ""),
    }
    script = Path(os.path.dirname(os.path.abspath(__file__)), _SCRIPT).read_text(encoding="utf-8")
    text = f"{_ENDING.format(seconds=seconds)}import json; MULTI_ASKED = json.loads({json.dumps(json.dumps(asked))})\n{script}"
    return Command((python, "-"), user=user, cwd=folder, stdin=text.encode(), timeout=seconds + _MARGIN)


def of_release(inventory: Inventory, host: Host, release: str, *, limit: int = LIMIT) -> Command | None:
    """What asks the app of a release on a host; None where no worker runs there."""
    settings = host.settings
    folder = f"{settings.releases}/{release}"
    python = settings.python if settings.installer == "none" else f"{folder}/.venv/bin/python"
    user = settings.owner.partition(":")[0] if settings.owner else None
    seconds = min(TIMEOUT, max(settings.healthy_deadline, 10.0))  # who takes longer will not get healthy in time either
    return question(inventory.nodes(host), folder, python, user=user, limit=limit, seconds=seconds)


def answer(code: int | None, out: str, err: str) -> App:
    """The app in what the question's command has printed."""
    line = next((line for line in out.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        said = (err.strip() or out.strip()).splitlines()[-20:]
        return App(error="\n".join(said) or f"the interpreter ended with exit code {code} and said nothing")
    value = json.loads(line.removeprefix(_MARK))
    return App(
        value.get("library", ""),
        value.get("python", ""),
        value.get("tasks", {}),
        tuple(value.get("schedule", ())),
        value.get("settings", {}),
        value.get("broker", {}),
        value.get("redis", {}),
        value.get("waiting", {}),
        value.get("error"),
    )


def compare(old: App | None, new: App, host: str = "") -> list[Finding]:
    """What the new release lacks or has changed; what stops a deploy comes first. What waits is taken from what both have
    seen of the queues, and tasks from the old one where it is known. `host` is where the apps were asked."""
    where = f"on {host} " if host else ""
    if new.error is not None:
        last = next((line for line in reversed(new.error.splitlines()) if line.strip()), "")
        more = f"\n{new.error}" if new.error.strip() != last else ""
        return [Finding("", f"{where}the release's app can't be imported: {last}{more}", True, broken=True)]
    waiting: dict[str, Mapping[str, Any]] = {}
    for app in (old, new):
        if app is not None:
            waiting |= app.waiting.get("tasks", {})
    found = []
    for task, known in sorted(waiting.items()):
        if task.startswith("celery."):
            continue
        count = int(known["count"])
        if task not in new.tasks:
            found.append(Finding(task, f"the new release doesn't have it, and {_messages(count)} for it", True, count))
            continue
        parameters = new.tasks[task].get("parameters")
        if parameters is None:
            continue
        wrong = [call for call in known["calls"] if not fits(parameters, call[0], call[1])]
        if wrong:
            text = f"takes {signature(parameters)} now, and {_messages(count)}, of which some were sent with {_call(wrong[0])}"
            found.append(Finding(task, text, True, count))
    unknown = [task for task in new.schedule if task not in new.tasks and not task.startswith("celery.")]
    text = "the schedule of the new release sends it, and the release doesn't have it"
    found += [Finding(task, text, True) for task in unknown]
    if old is not None and old.error is None:
        found += _changes(old, new, {one.task for one in found})
    if new.waiting.get("cut"):
        found.append(Finding("", f"of the longest queues only {LIMIT} messages were looked at", False))
    if new.not_looked is not None:
        found.append(Finding("", f"what waits could not be looked at: {new.not_looked}", False))
    return found


def check(inventory: Inventory, hosts: Sequence[Host], plan: Plan, backend: Backend) -> list[Finding]:
    """What `compare` finds for the plan's release, asked on the first host that has it and can tell; nothing where the release
    is on all of them already, or no worker of the description has an app."""
    if plan.release is None:
        return []
    for host in hosts:
        planned = plan.hosts[host.name]
        command = of_release(inventory, host, plan.release)
        if not planned.switches_to(plan.release) or command is None:
            continue
        try:
            session = backend.connect(host)
            before = of_release(inventory, host, planned.current) if planned.current else None
            told: queue.SimpleQueue[App | None] = queue.SimpleQueue()
            if before is not None:
                threading.Thread(target=_tell, args=(session, before, told), name="multi-asked", daemon=True).start()
            begun = time.monotonic()
            new = _ask(session, command)
            left = max(_LEAST, _PATIENCE * (time.monotonic() - begun))
            old = _old(told, left) if before is not None and new.error is None else None
        except HostUnreachable:
            continue  # another one may tell
        found = compare(old, new, host.name)
        if before is not None and old is None and new.error is None:
            text = (
                "the release that runs did not tell of its tasks in time; only with what waits was the new one compared"
            )
            found.append(Finding("", text, False))
        return found
    return []


def _tell(session: Session, command: Command, told: queue.SimpleQueue[App | None]) -> None:
    try:
        told.put(_ask(session, command))
    except Exception:  # the new release's answer tells of a host that is gone
        told.put(None)


def _old(told: queue.SimpleQueue[App | None], seconds: float) -> App | None:
    try:
        return told.get(timeout=seconds)
    except queue.Empty:
        return None


def _ask(session: Session, command: Command) -> App:
    result = session.run(command)
    if result.code is None:
        raise HostUnreachable(session.host.name, result.err)
    return answer(result.code, result.out, result.err)


def _changes(old: App, new: App, told: set[str]) -> list[Finding]:
    """What differs though nothing waits for it: whoever runs the old release may still send it."""
    found = []
    for task, before in old.tasks.items():
        if task in told:
            continue
        if task not in new.tasks:
            found.append(Finding(task, "is gone; whoever runs the old release may still send it", False))
            continue
        was, becomes = before.get("parameters"), new.tasks[task].get("parameters")
        if was is None or becomes is None or was == becomes:
            continue
        if not all(fits(becomes, count, names) for count, names in _least_and_most(was)):
            found.append(Finding(task, f"took {signature(was)}, and takes {signature(becomes)} now", False))
    return found


def fits(parameters: Sequence[Sequence[Any]], count: int, names: Sequence[str]) -> bool:
    """Whether a call with so many positional arguments, and others of these names, suits these parameters."""
    positional = [one for one in parameters if one[1] in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    takes_any = any(one[1] == "VAR_POSITIONAL" for one in parameters)
    takes_names = any(one[1] == "VAR_KEYWORD" for one in parameters)
    if count > len(positional) and not takes_any:
        return False
    filled = {one[0] for one in positional[:count]}
    named = {one[0] for one in parameters if one[1] in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")}
    if filled & set(names) & named or (not takes_names and not set(names) <= named):
        return False
    required = {one[0] for one in parameters if one[2] and one[1] not in ("VAR_POSITIONAL", "VAR_KEYWORD")}
    return required <= filled | set(names)


def signature(parameters: Sequence[Sequence[Any]]) -> str:
    """(a, b=…, *args)."""
    marks = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}
    words = []
    for name, kind, required in parameters:
        stars = marks.get(kind, "")
        words.append(f"{stars}{name}" if stars or required else f"{name}=…")
    return f"({', '.join(words)})"


def _least_and_most(parameters: Sequence[Sequence[Any]]) -> list[tuple[int, list[str]]]:
    """The shortest and the longest call of a task."""
    positional = [one for one in parameters if one[1] in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    only_named = [one for one in parameters if one[1] == "KEYWORD_ONLY"]
    least = sum(bool(one[2]) for one in positional)
    return [
        (least, [one[0] for one in only_named if one[2]]),
        (len(positional), [one[0] for one in only_named]),
    ]


def _messages(count: int) -> str:
    return "1 message waits" if count == 1 else f"{count} messages wait"


def _call(call: Sequence[Any]) -> str:
    count, names = call
    words = [f"{count} argument{'' if count == 1 else 's'}"] if count or not names else []
    return " and ".join([*words, *([f"{', '.join(names)}=…"] if names else [])])
