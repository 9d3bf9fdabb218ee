"""A fleet that exists in memory only: a backend that says what would be done, and does it to a model of the hosts.

It serves the dry run (`multi deploy push --dry-run`) and as a double in tests: the same plan runs against it as against real
hosts, steps can be made to fail, and afterwards the facts of its hosts are what a deploy would have left there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from multi.deploy.base import Result, Sent
from multi.deploy.hosts.facts import FAILED, RUNNING, STARTING, STOPPED, HostFacts, NodeFact, ReleaseFact
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.question import SCRIPT
from multi.deploy.rollout.answering import MARK
from multi.deploy.steps import Build, Command, File, Link, Remove, Restore, Upload
from multi.errors import HostUnreachable, StepFailed

#: Told of everything that is done: the host, and what.
Told = Callable[[str, str], None]

_SHOWN = {RUNNING: "active", STARTING: "activating", STOPPED: "inactive", FAILED: "failed"}
_SUPERVISED = {RUNNING: "RUNNING", STARTING: "STARTING", STOPPED: "STOPPED", FAILED: "FATAL"}


class Fault(NamedTuple):
    """Something that goes wrong: on `host` ("" for any), with what is done whose line has `text` in it. `result` is what the
    command ends with; None: the connection is cut. `times`: how often; None: always."""

    text: str
    host: str = ""
    result: Result | None = Result(1, "", "it does not work")
    times: int | None = 1


class SimulatedHost:
    """One host: its facts, which what is done to it changes."""

    def __init__(self, host: Host, facts: HostFacts) -> None:
        self.host = host
        self.facts = facts
        self.files: dict[str, File] = {}
        self.backups: dict[str, tuple[File | None, str | None]] = {}
        #: What keepers in supervisord's foreground say of their nodes, by unit, where that is other than what supervisord says.
        self.keepers: dict[str, str] = {}

    # ---- what is done to files

    def write(self, path: str, file: File | None, digest: str | None) -> None:
        """The file at `path`, or none."""
        if file is not None:
            self.files[path] = file
        else:
            self.files.pop(path, None)
        if path == f"{self.host.settings.own}/units":
            self._record(file.content.decode() if file is not None else "")
        elif not path.startswith(f"{self.host.settings.own}/"):  # nobody asks for a deploy's own notes
            files = {at: one for at, one in self.facts.files.items() if at != path}
            self._change(files={**files, path: digest} if digest else files)

    def keep(self, path: str, backup: str | None) -> None:
        """Lay what is at `path` aside."""
        if backup is not None and backup not in self.backups:
            self.backups[backup] = (self.files.get(path), self.facts.files.get(path))

    def _record(self, text: str) -> None:
        rows = [line.split("\t") for line in text.splitlines()]
        units = {row[1]: row[2] for row in rows if row[0] == "unit"}
        self._change(recorded_units=units, recorded_files={row[1]: row[2] for row in rows if row[0] == "file"})

    # ---- what is done to releases

    def add_release(self, name: str, digest: str) -> None:
        others = tuple(one for one in self.facts.releases if one.name != name)
        self._change(releases=(*others, ReleaseFact(name, digest)))

    def point(self, link: Link) -> None:
        """A link is made; those that mean something here are `current`, and a release's environment."""
        settings = self.host.settings
        name = (link.target or "").rpartition("/")[2]
        if link.path == settings.current:
            self._change(current=name or None, current_age=0.0)
        elif link.path.endswith("/.venv"):
            release = link.path.removeprefix(f"{settings.releases}/").removesuffix("/.venv")
            found = tuple(one._replace(environment=name) if one.name == release else one for one in self.facts.releases)
            self._change(releases=found)

    def forget(self, path: str) -> None:
        """A folder is removed."""
        settings = self.host.settings
        releases = tuple(one for one in self.facts.releases if f"{settings.releases}/{one.name}" != path)
        environments = frozenset(one for one in self.facts.environments if f"{settings.environments}/{one}" != path)
        self._change(releases=releases, environments=environments)
        if path == f"{settings.own}/undo":
            self.backups.clear()

    # ---- what is done to nodes

    def turn(self, manager: str, unit: str, state: str) -> None:
        """A node is started or stopped. What runs then is what `current` points to."""
        nodes = dict(self.facts.nodes)
        if state == RUNNING:
            nodes[unit] = NodeFact(unit, manager, RUNNING, 100 + len(nodes), self.facts.current, 0.0)
        elif unit in nodes:
            nodes[unit] = nodes[unit]._replace(state=state, pid=0, release=None)
        self._change(nodes=nodes)

    def _change(self, **values: object) -> None:
        self.facts = self.facts._replace(**values)  # type: ignore[arg-type]


class Simulation:
    """The backend. `hosts` are those of the fleet by name; hosts whose facts have an error can't be connected to."""

    def __init__(
        self,
        hosts: Iterable[Host],
        facts: Mapping[str, HostFacts],
        told: Told | None = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.hosts = {host.name: SimulatedHost(host, facts[host.name]) for host in hosts}
        self.done: list[tuple[str, str]] = []
        self.faults = list(faults)
        self._told = told
        self._lock = threading.Lock()

    def connect(self, host: Host) -> SimulatedSession:
        found = self.hosts[host.name]
        if found.facts.error is not None:
            raise HostUnreachable(host.name, found.facts.error)
        return SimulatedSession(self, found)

    def close(self) -> None:
        """Nothing is open."""

    @property
    def facts(self) -> dict[str, HostFacts]:
        """What the hosts are like now."""
        return {name: host.facts for name, host in self.hosts.items()}

    def note(self, host: str, line: str) -> Fault | None:
        """Tell of something that is done; the fault that it meets, if there is one."""
        with self._lock:
            self.done.append((host, line))
            if self._told is not None:
                self._told(host, line)
            for number, fault in enumerate(self.faults):
                if fault.host in ("", host) and fault.text in line and fault.times != 0:
                    if fault.times is not None:
                        self.faults[number] = fault._replace(times=fault.times - 1)
                    return fault
        return None


class SimulatedSession:
    """A session with one of its hosts."""

    def __init__(self, fleet: Simulation, model: SimulatedHost) -> None:
        self.host = model.host
        self._fleet = fleet
        self._model = model

    def run(self, command: Command, say: Callable[[str], None] | None = None) -> Result:
        if command.stdin == SCRIPT.encode():
            return Result(0, answer(self._model.facts))  # what only looks is not told of
        fault = self._fleet.note(self.host.name, str(command))
        if fault is not None:
            return fault.result if fault.result is not None else Result(None, "", "the connection was cut")
        return _run(self._model, command)

    def put(self, file: File) -> None:
        self._do(f"write {file}")
        self._model.keep(file.path, file.backup)
        self._model.write(file.path, file, file.digest)

    def restore(self, restore: Restore) -> None:
        self._do(f"restore {restore}")
        if restore.backup in self._model.backups:
            file, digest = self._model.backups.pop(restore.backup)
            self._model.write(restore.path, file, digest)

    def remove(self, remove: Remove) -> None:
        self._do(f"remove {remove}")
        self._model.keep(remove.path, remove.backup)
        self._model.write(remove.path, None, None)
        self._model.forget(remove.path)

    def link(self, link: Link) -> None:
        self._do(f"link {link}")
        self._model.point(link)

    def send(self, upload: Upload, sent: Sent | None = None) -> None:
        self._do(f"upload {upload}")
        self._model.add_release(upload.release, upload.digest)

    def build(self, build: Build, say: Callable[[str], None] | None = None) -> Result:
        fault = self._fleet.note(self.host.name, f"build {build}")
        if fault is not None:
            return fault.result if fault.result is not None else Result(None, "", "the connection was cut")
        facts = self._model.facts
        self._model.facts = facts._replace(environments=facts.environments | {build.path.rpartition("/")[2]})
        return Result(0)

    def close(self) -> None:
        """Nothing is open."""

    def _do(self, line: str) -> None:
        fault = self._fleet.note(self.host.name, line)
        if fault is None:
            return
        if fault.result is None:
            raise HostUnreachable(self.host.name, "the connection was cut")
        raise StepFailed(self.host.name, line, fault.result.err, fault.result.tail)


# ---- commands


def _run(model: SimulatedHost, command: Command) -> Result:
    """What a command does to the model. One that it knows nothing of succeeds and changes nothing."""
    words = [str(word) for word in command.argv]
    program, rest = words[0], [word for word in words[1:] if not word.startswith("-")]
    settings = model.host.settings
    if program in ("mkdir", "install"):
        folders = frozenset(word for word in rest if word.startswith("/"))
        model.facts = model.facts._replace(folders=model.facts.folders | folders)
    elif program == "rm":
        for path in rest:
            model.forget(path)
    elif program == "systemctl":
        return _systemctl(model, "systemd-user" if "--user" in words else "systemd", rest)
    elif program == "supervisorctl":
        return _supervisorctl(model, rest)
    elif program.endswith("/multi"):
        return _multi(model, rest)
    elif command.stdin is not None and MARK in command.stdin.decode():
        asked = json.loads(json.loads(command.stdin.decode().partition("json.loads(")[2].partition(")\n")[0]))
        return Result(0, MARK + json.dumps({"answered": asked["nodes"]}))
    elif program == "sh" and words[-1].startswith(f"{settings.own}/good/"):
        good = words[-1].rpartition("/")[2]
        releases = tuple(one._replace(good=one.good or one.name == good) for one in model.facts.releases)
        model.facts = model.facts._replace(releases=releases)
    return Result(0)


def _systemctl(model: SimulatedHost, manager: str, words: list[str]) -> Result:
    verb, units = words[0], words[1:]
    if verb in ("start", "restart", "reload-or-restart", "stop"):
        targets = {unit for unit in units if unit.endswith(".target")}
        for unit in units:
            if unit not in targets:
                model.turn(manager, unit, STOPPED if verb == "stop" else RUNNING)
        active = model.facts.active
        model.facts = model.facts._replace(active=active - targets if verb == "stop" else active | targets)
    elif verb == "enable":
        model.facts = model.facts._replace(wanted=model.facts.wanted | set(units))
    elif verb == "disable":
        model.facts = model.facts._replace(wanted=model.facts.wanted - set(units))
    elif verb in ("is-active", "show"):
        states = [(unit, model.facts.nodes.get(unit)) for unit in units]
        if verb == "is-active":
            is_up = all(node is not None and node.state == RUNNING for _, node in states)
            return Result(0 if is_up else 3)
        return Result(0, "\n\n".join(_shown(unit, node) for unit, node in states))
    return Result(0)


def _shown(unit: str, node: NodeFact | None) -> str:
    state = _SHOWN[node.state] if node is not None else "inactive"
    sub = "running" if state == "active" else "dead"
    return f"Id={unit}\nActiveState={state}\nSubState={sub}\nMainPID={node.pid if node else 0}\nNRestarts=0\nResult=success"


def _supervisorctl(model: SimulatedHost, words: list[str]) -> Result:
    verb, units = words[0], words[1:]
    if verb in ("start", "restart", "stop"):
        for unit in units:
            model.turn("supervisord", unit, STOPPED if verb == "stop" else RUNNING)
    elif verb == "update":
        project = [path for path in model.facts.files if path.endswith(".conf")]
        for unit in units:
            node = unit.rpartition("-")[2]
            is_there = any(path.endswith(f".{node}.conf") for path in project)
            if is_there:
                model.turn("supervisord", unit, RUNNING)
            else:
                nodes = {name: one for name, one in model.facts.nodes.items() if name != unit}
                model.facts = model.facts._replace(nodes=nodes)
    elif verb == "status":
        lines = []
        for unit in units or model.facts.nodes:
            fact = model.facts.nodes.get(unit)
            state = _SUPERVISED[fact.state] if fact is not None else "STOPPED"
            lines.append(f"{unit} {state} pid {fact.pid if fact else 0}, uptime 0:00:10")
        return Result(0, "\n".join(lines))
    return Result(0)


def _multi(model: SimulatedHost, words: list[str]) -> Result:
    verb, units = words[0], words[1:]
    if verb in ("up", "restart", "reload", "stopwait"):
        for unit in units:
            model.turn("multi", unit, STOPPED if verb == "stopwait" else RUNNING)
    elif verb == "status":
        return Result(0, _keepers(model.facts, model.keepers, ("multi", "supervisord")))
    return Result(0)


def answer(facts: HostFacts) -> str:
    """What the script of `multi.deploy.hosts.facts` would print on a host with these facts."""
    rows: list[tuple[object, ...]] = [
        ("multi-facts", 1),
        ("user", facts.user, facts.uid, facts.home),
        ("hostname", facts.hostname),
        ("system", facts.system),
        ("clock", _whole(facts.clock)),
        ("nofile", _whole(facts.nofile)),
        ("sudo", facts.sudo),
        *((("no-owner", facts.lacks),) if facts.lacks else ()),
        ("python", facts.python or ""),
        *((("uv", 1),) if facts.uv else ()),
        *(("file", path, digest) for path, digest in facts.files.items()),
        *(("active", unit) for unit in sorted(facts.active)),
        *(("wanted", unit) for unit in sorted(facts.wanted)),
        *(("folder", folder) for folder in sorted(facts.folders)),
        *((("current", facts.current, _whole(facts.current_age)),) if facts.current else ()),
        *(("release", one.name, one.digest, one.environment or "", int(one.good)) for one in facts.releases),
        *(("environment", name) for name in sorted(facts.environments)),
        *((("multi", f"multi v{facts.multi}"),) if facts.multi else ()),
        *((("systemd", facts.systemd),) if facts.systemd is not None else ()),
        *((("systemd-user", 1),) if facts.systemd_user else ()),
        *((("linger", 1),) if facts.linger else ()),
        *((("supervisord", facts.supervisord),) if facts.supervisord else ()),
        *((("supervisor-dir", facts.supervisor_dir),) if facts.supervisor_dir else ()),
        *((("supervisor-error", facts.supervisor_error),) if facts.supervisor_error else ()),
        *(_row(node) for node in facts.nodes.values() if node.manager != "multi"),
        *((("keepers", _keepers(facts)),) if facts.multi else ()),
        *(("recorded-file", path, digest) for path, digest in facts.recorded_files.items()),
        *(("recorded-unit", unit, digest) for unit, digest in facts.recorded_units.items()),
        *((("lock", facts.lock),) if facts.lock else ()),
        ("disk", _whole(facts.disk_free and facts.disk_free // 1024), _whole(facts.inodes_free)),
        ("end",),
    ]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def _row(node: NodeFact) -> tuple[object, ...]:
    state = (_SUPERVISED if node.manager == "supervisord" else _SHOWN)[node.state]
    return ("node", node.unit, node.manager, state, node.pid, node.release or "", _whole(node.age))


def _keepers(
    facts: HostFacts, said: Mapping[str, str] = MappingProxyType({}), managers: Sequence[str] = ("multi",)
) -> str:
    """What `multi status --json` would say of nodes that keepers run: by themselves, or in a manager's foreground."""
    import json

    nodes = [node for node in facts.nodes.values() if node.manager in managers]
    return json.dumps(
        [
            {
                "node": f"{node.unit if node.manager == 'multi' else node.unit.rpartition('-')[2]}@{facts.hostname}",
                "run_by": node.manager,
                "state": said.get(node.unit, node.state),
                "pid": node.pid,
                "since": (facts.clock or 0) - (node.age or 0),
            }
            for node in nodes
        ]
    )


def _whole(value: float | None) -> str:
    return "" if value is None else str(int(value))
