"""Nodes for the tests: real keepers and commands, with a worker that does as it is told (`fake_worker.py`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from multi.controller.keeper import proc
from support.project import Project
from support.wait import until

FAKE = Path(__file__).with_name("fake_worker.py")
HOST = os.uname().nodename


class Nodes:
    """The nodes of one project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.state = Path(project.env["MULTI_STATE_DIR"])
        self.python = project.path / "fake-python"
        self.python.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
        self.python.chmod(0o755)

    def run(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of multi."""
        return self.project.multi(*words, code=code)

    def start(
        self, *names: str, plan: str = "ready", more: tuple[str, ...] = (), code: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Start nodes whose worker follows `plan`."""
        return self.run("start", *names, "-A", plan, "--executable", str(self.python), *more, code=code)

    def popen_start(self, *names: str, plan: str = "ready", more: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return self.project.popen("start", *names, "-A", plan, "--executable", str(self.python), *more)

    def stop_all(self) -> None:
        """End every node that runs, whatever it thinks of it."""
        if self.state.exists():
            self.run("kill", "--all", code=None)

    # ---- what is on record

    def folder(self, name: str) -> Path:
        """A node's runtime directory."""
        found = list(self.state.glob(f"run/*/{name}@{HOST}"))
        assert len(found) == 1, found
        return found[0]

    def record(self, name: str) -> dict[str, Any]:
        """What its keeper has written, without a command in between."""
        found = list(self.state.glob(f"run/*/{name}@{HOST}/status.json"))
        if not found:
            return {}
        value = json.loads(found[0].read_text())
        assert isinstance(value, dict)
        return value

    def status(self, name: str) -> dict[str, Any]:
        """What `multi status` tells."""
        (value,) = json.loads(self.run("status", name, "--json", code=None).stdout)
        assert isinstance(value, dict)
        return value

    def until_state(self, name: str, state: str, timeout: float = 10) -> dict[str, Any]:
        """Wait until its keeper has written that the node is in this state."""
        until(lambda: self.record(name).get("state") == state, timeout, what=f"{name} is {state}: {self.record(name)}")
        return self.record(name)

    def keeper(self, name: str) -> int:
        return int(self.record(name)["keeper"]["pid"])

    def worker(self, name: str) -> int:
        """The pid of the worker that does the work."""
        return int(next(one["pid"] for one in self.record(name)["workers"] if one["role"] == "current"))

    def log(self, name: str) -> str:
        """All that is in its log now."""
        found = list(self.state.glob(f"log/*/{name}@{HOST}.log"))
        return found[0].read_text() if found else ""

    def nudge_unseen(self, name: str) -> None:
        """Send USR1 to a worker that listens, without looking into its log."""
        os.kill(self.worker(name), signal.SIGUSR1)

    def nudge(self, name: str) -> None:
        """Send USR1 to the worker, once it listens."""
        until(lambda: self.record(name).get("workers"), what=f"{name} has a worker")
        pid = self.worker(name)
        until(lambda: f"fake worker {pid} " in self.log(name), what=f"the worker of {name} has begun")
        os.kill(pid, signal.SIGUSR1)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs; a zombie doesn't."""
    fields = proc.stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal, and for a KILL wait until it has worked."""
    os.kill(pid, number)
    if number == signal.SIGKILL:
        until(lambda: not is_alive(pid), what=f"{pid} is gone")
