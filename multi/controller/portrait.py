"""Everything that is known about a node, in sections, with its secrets masked."""

from __future__ import annotations

import os
import shlex
from typing import Any
from urllib.parse import urlsplit

from multi.controller import activity, drift, family, pausing, story, usage
from multi.controller.caller import masked
from multi.controller.keeper import node as life
from multi.controller.keeper.copies import Copies
from multi.controller.node import Node, Status
from multi.log import mask_passwords
from multi.masking import STARS, is_secret, mask_arguments
from multi.nodes.spec import LOG_KEEP, LOG_SIZE, NodeSpec
from multi.rundir import RunDir

#: What the keeper goes by where nothing else was given.
DEFAULTS: dict[str, Any] = {
    "restart": "on-failure",
    "restart_delay": life.FIRST_DELAY,
    "longest_delay": life.LONGEST_DELAY,
    "max_crashes": life.CRASHES,
    "healthy_after": life.HEALTHY_AFTER,
    "quit_after": None,
    "kill_after": None,
    "watchdog": None,
    "max_memory": None,
    "max_age": None,
    "log_size": LOG_SIZE,
    "log_every": None,
    "log_keep": LOG_KEEP,
    "log_compress": False,
    "log_format": "text",
}
EVENTS = 6


class Portrait:
    """One node as it is now."""

    def __init__(self, node: Node, status: Status) -> None:
        self.node = node
        self.status = status
        self.record = node.record() or {}
        self.spec = NodeSpec.from_record(self.record) if self.record else None
        self.activity = activity.of(node, status)
        self.usage = usage.measure(status) if status.has_keeper else usage.NOTHING
        self.members = family.members(node, status)
        self.events = story.read(node)
        worker = status.worker
        self.page = activity.page_of(node, worker["generation"]) if worker is not None else None

    # ---- the sections; values are what JSON has

    @property
    def specification(self) -> dict[str, Any]:
        """How it is started."""
        record, spec = self.record, self.spec
        if spec is None:
            return {}
        engine = str((self.status.worker or {}).get("engine") or record.get("engine", "multi"))
        return {
            "engine": engine,
            "kind": record.get("kind", "worker"),
            "singleton": bool(record.get("singleton")),
            "argv": masked([str(word) for word in record.get("argv", ())]),
            "directory": record.get("cwd"),
            "interpreter": spec.executable if engine != "command" else None,
            "user": record.get("user"),
            "group": record.get("group"),
            "umask": f"{record.get('umask', 0o022):03o}",
            "nice": record.get("nice"),
            "limits": record.get("limits") or {},
            "variables": {name: _value(name, value) for name, value in sorted(spec.environment.items())},
            "variable_files": record.get("env_files") or [],
            "hooks": {event: [_hook(hook) for hook in hooks] for event, hooks in (record.get("hooks") or {}).items()},
            "description": record.get("description"),
            "section": record.get("section"),
        }

    @property
    def policy(self) -> dict[str, Any]:
        """What its keeper goes by, defaults included."""
        extra = ("ready", "signals", "overlap", "log_rotation")
        found = {name: self.record.get(name, default) for name, default in DEFAULTS.items()}
        if found["max_age"]:
            found["max_age_jitter"] = self.record.get("max_age_jitter", 0.1)
        return {**found, **{name: self.record[name] for name in extra if name in self.record}}

    @property
    def given(self) -> set[str]:
        """What of the policy is no default, but was given."""
        return set(self.spec.policy) if self.spec is not None else set()

    @property
    def state(self) -> dict[str, Any]:
        """How it is, and why."""
        record = self.status.record
        return {
            "state": self.status.state,
            "since": self.status.since or None,
            "why": story.present(self.status, self.events),
            "generation": record.get("generation", 0),
            "restarts": record.get("restarts", 0),
            "crashes": record.get("crashes", 0),
            "last_end": story.public(record["last_end"]) if record.get("last_end") else None,
            "next_start": record.get("next_start"),
            "reload": record.get("reload"),
            "paused": pausing.paused(self.status),
            "keeper": self.status.keeper_pid if self.status.has_keeper else None,
        }

    @property
    def work(self) -> dict[str, Any]:
        """What it does."""
        page, doing = self.page, self.activity
        return {
            "pool": page.pool if page is not None else None,
            "concurrency": page.concurrency if page is not None else None,
            "queues": doing.queues if doing is not None else [],
            "active": doing.active if doing is not None else None,
            "tasks": [
                {**task._asdict(), "args": mask_arguments(task.args)}
                for task in (doing.tasks if doing is not None else ())
            ],
            "succeeded": page.succeeded if page is not None else None,
            "failed": page.failed if page is not None else None,
            "retried": page.retried if page is not None else None,
            "last_loop": page.last_loop if page is not None else None,
        }

    @property
    def used(self) -> dict[str, Any]:
        """Processor time and memory of all its processes."""
        return {**self.usage._asdict(), "threads": sum(member.threads for member in self.members)}

    @property
    def files(self) -> dict[str, Any]:
        """Where its things are."""
        place = self.node.place
        log = self.node.log_file
        worker = self.status.worker
        return {
            "specification": place.spec_file,
            "history": os.path.join(place.kept, "history.jsonl"),
            "runtime": place.run,
            "stats": RunDir(place.run, worker["generation"]).stats if worker is not None else None,
            "pidfile": self.record.get("pidfile"),
            "log": log,
            "log_bytes": _size(log) if log else None,
            "log_copies": [
                f"{log}.{ending}" for _, endings in sorted(Copies(log, 0, False).found().items()) for ending in endings
            ]
            if log
            else [],
        }

    @property
    def drift(self) -> list[str]:
        """Where what runs is no longer what would be started."""
        worker = self.status.worker
        if worker is None or not self.status.is_up:
            return []
        found = drift.of([(self.node, self.status)]).get(self.node.place.kept)
        return ([found] if found else []) + _moved(self.record, worker["pid"])

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "node": str(self.node),
            "project": self.node.place.project.location,
            "specification": self.specification,
            "policy": self.policy,
            "state": self.state,
            "processes": [member.as_json() for member in self.members],
            "work": self.work,
            "usage": self.used,
            "files": self.files,
            "history": [story.public(event) for event in self.events[-EVENTS:]],
            "drift": self.drift,
        }


def _value(name: str, value: str) -> str:
    return STARS if is_secret(name) and "://" not in value else mask_passwords(value)


def _hook(hook: dict[str, Any]) -> str:
    """A command; of a URL only the host, since what follows is often the key to it."""
    if hook.get("argv"):
        return shlex.join(masked([str(word) for word in hook["argv"]]))
    parts = urlsplit(str(hook.get("url", "")))
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}/…"


def _size(path: str) -> int | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return min(status.st_size, status.st_blocks * 512) if status.st_blocks else status.st_size


def _moved(record: dict[str, Any], pid: int) -> list[str]:
    """Links that have been moved since: a restart would follow them."""
    if record.get("kind") == "command":
        return []  # a program goes where it likes
    found = []
    directory = str(record.get("cwd", ""))
    try:
        runs_in = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return []  # another user's
    leads_to = os.path.realpath(directory)
    if runs_in.endswith(" (deleted)"):
        found.append(f"its directory {runs_in.removesuffix(' (deleted)')} was removed")
    elif runs_in != leads_to and os.path.isdir(leads_to):
        found.append(f"it runs in {runs_in}, and {directory} now leads to {leads_to}")
    return found
