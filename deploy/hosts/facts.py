"""What a host is like and what it has, as it answers the question of `multi.deploy.hosts.question`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from multi.errors import DeployError

ROOT, FREE, PASSWORD, NONE = "root", "free", "password", "none"
UNREADABLE = "unreadable"  # in place of a file's digest
RUNNING, STARTING, STOPPED, FAILED = "running", "starting", "stopped", "failed"


class ReleaseFact(NamedTuple):
    """A complete release on a host. `digest` is that of its manifest; `good`: its nodes were healthy once."""

    name: str
    digest: str
    environment: str | None = None
    good: bool = False


class NodeFact(NamedTuple):
    """A node as its manager has it. `release` is the release that its process runs, None where that can't be told; `age`
    of the process in seconds."""

    unit: str
    manager: str
    state: str
    pid: int = 0
    release: str | None = None
    age: float | None = None


class HostFacts(NamedTuple):
    """One host. `error` tells why nothing is known of it. Sizes in bytes, times in seconds."""

    host: str
    error: str | None = None
    hostname: str = ""
    system: str = ""
    user: str = ""
    home: str = ""
    uid: int = 0
    sudo: str = NONE
    lacks: str | None = None  # the owner, where there is no such user
    python: str | None = None  # the version of the interpreter that was asked for
    uv: bool = False
    systemd: int | None = None  # its version, where it is what runs the machine
    systemd_user: bool = False
    linger: bool = False
    supervisord: str | None = None  # its version, where it answers
    supervisor_dir: str | None = None
    supervisor_error: str | None = None
    multi: str | None = None  # the version of `multi` in the current release
    current: str | None = None  # the name of the release that the link points to
    current_age: float | None = None
    releases: tuple[ReleaseFact, ...] = ()
    environments: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()  # of those that a deploy needs
    files: Mapping[str, str] = {}  # path → SHA-256, of units and what goes with them
    wanted: frozenset[str] = frozenset()  # units that are started at boot
    active: frozenset[str] = frozenset()  # targets of systemd that are reached
    recorded_units: Mapping[str, str] = {}  # by the last deploy: unit → digest of what it means
    recorded_files: Mapping[str, str] = {}  # and file → its digest
    nodes: Mapping[str, NodeFact] = {}  # by unit
    lock: str | None = None
    disk_free: int | None = None
    inodes_free: int | None = None
    clock: float | None = None  # its time of day
    nofile: int | None = None

    @property
    def reachable(self) -> bool:
        return self.error is None

    def release(self, name: str | None) -> ReleaseFact | None:
        return next((one for one in self.releases if one.name == name), None)

    def by_digest(self, digest: str) -> ReleaseFact | None:
        """The release with this content, the newest where there are several."""
        return max((one for one in self.releases if one.digest == digest), default=None, key=lambda one: one.name)


_STATES = {
    "active": RUNNING,
    "reloading": RUNNING,
    "activating": STARTING,
    "deactivating": STOPPED,
    "inactive": STOPPED,
    "failed": FAILED,
    "RUNNING": RUNNING,
    "STARTING": STARTING,
    "BACKOFF": FAILED,
    "STOPPING": STOPPED,
    "STOPPED": STOPPED,
    "EXITED": STOPPED,
    "FATAL": FAILED,
    "UNKNOWN": FAILED,
}


def parse(host: str, text: str) -> HostFacts:
    """The facts in the script's answer. Raises `DeployError` for one that is incomplete."""
    lines = text.splitlines()
    # what a login prints of its own accord may stand before it
    first = next((number for number, line in enumerate(lines) if line == "multi-facts\t1"), None)
    if first is None or not lines or lines[-1] != "end":
        shown = next((line for line in reversed(lines) if line.strip()), "nothing")
        raise DeployError(
            f"{host}: its answer about itself was cut (its last line: {shown[:200]!r}); is its shell a POSIX one, and does its "
            "start-up file print anything or end early?"
        )
    one: dict[str, list[str]] = {}
    many: dict[str, list[list[str]]] = {}
    for line in lines[first + 1 : -1]:
        key, *fields = line.split("\t")
        one.setdefault(key, fields)
        many.setdefault(key, []).append(fields)

    def field(key: str, number: int = 0) -> str | None:
        values = one.get(key, [])
        return values[number] if len(values) > number and values[number] else None

    def whole(key: str, number: int = 0) -> int | None:
        text = field(key, number)
        return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None

    releases = tuple(
        ReleaseFact(name, digest, environment or None, good == "1")
        for name, digest, environment, good in many.get("release", [])
    )
    current_age = whole("current", 1)
    nodes = {}
    for unit, manager, state, pid, release, age in many.get("node", []):
        known = float(age) if age.isdigit() else None
        found = NodeFact(unit, manager, _STATES.get(state, STOPPED), int(pid or 0), release or None, known)
        nodes[unit] = found._replace(release=_release(found, field("current"), current_age))
    nodes |= _keepers(field("keepers"), field("current"), current_age, whole("clock"), nodes)
    disk, inodes = whole("disk"), whole("disk", 1)
    systemd = whole("systemd")
    return HostFacts(
        host,
        hostname=field("hostname") or "",
        system=field("system") or "",
        user=field("user") or "",
        uid=whole("user", 1) or 0,
        home=field("user", 2) or "",
        sudo=field("sudo") or NONE,
        lacks=field("no-owner"),
        python=field("python"),
        uv="uv" in one,
        systemd=systemd,
        systemd_user="systemd-user" in one,
        linger="linger" in one,
        supervisord=field("supervisord"),
        supervisor_dir=field("supervisor-dir"),
        supervisor_error=field("supervisor-error"),
        multi=_version(field("multi")),
        current=field("current"),
        current_age=current_age,
        releases=releases,
        environments=frozenset(fields[0] for fields in many.get("environment", [])),
        folders=frozenset(fields[0] for fields in many.get("folder", [])),
        files={fields[0]: fields[1] for fields in many.get("file", [])},
        wanted=frozenset(fields[0] for fields in many.get("wanted", [])),
        active=frozenset(fields[0] for fields in many.get("active", [])),
        recorded_units={fields[0]: fields[1] for fields in many.get("recorded-unit", [])},
        recorded_files={fields[0]: fields[1] for fields in many.get("recorded-file", [])},
        nodes=nodes,
        lock=(field("lock") or "").strip() or None,
        disk_free=None if disk is None else disk * 1024,
        inodes_free=inodes,
        clock=whole("clock"),
        nofile=whole("nofile"),
    )


def unreachable(host: str, error: str) -> HostFacts:
    """A host of which nothing is known."""
    return HostFacts(host, error)


def unreadable(facts: HostFacts) -> list[str]:
    """Files that are there, and that whoever logs in may not read."""
    return [path for path, digest in facts.files.items() if digest == UNREADABLE]


def _release(node: NodeFact, current: str | None, current_age: float | None) -> str | None:
    """The release that a process runs: where it works, or else, by its age, the one that the link pointed to when it began."""
    if node.release is not None or node.state != RUNNING:
        return node.release
    if node.age is not None and current_age is not None and node.age <= current_age:
        return current
    return None


def _keepers(
    text: str | None,
    current: str | None,
    current_age: float | None,
    now: int | None,
    managed: Mapping[str, NodeFact],
) -> dict[str, NodeFact]:
    """The nodes that multi's own keepers run, by their short names; and those of `managed` that supervisord calls running and
    their keepers don't."""
    if text is None:
        return {}
    import json

    try:
        values = json.loads(text)
    except ValueError:
        return {}  # a multi that is broken tells nothing; its nodes are then found missing
    found = {}
    for value in values:
        manager = value.get("run_by") or "multi"
        is_up = str(value["state"]).startswith(("running", "paused", "reloading"))
        if manager not in ("multi", "keeper"):  # systemd or supervisord, which have told of it themselves
            known = managed.get(str(value.get("unit")))
            if known is not None and known.manager == manager == "supervisord" and known.state == RUNNING and not is_up:
                found[known.unit] = known._replace(state=STARTING)
            continue
        short = str(value["node"]).partition("@")[0]
        workers = value.get("workers") or []
        since = max((one.get("started") or 0 for one in workers if isinstance(one, dict)), default=0) or value.get(
            "since"
        )
        age = float(now - since) if now is not None and since else None
        node = NodeFact(short, "multi", RUNNING if is_up else STOPPED, int(value.get("pid") or 0), None, age)
        found[short] = node._replace(release=_release(node, current, current_age))
    return found


def _version(text: str | None) -> str | None:
    """`multi v0.1.0` → 0.1.0."""
    return text.rpartition(" ")[2].removeprefix("v") if text else None
