"""Keepers, workers and children are killed at random under load: every task runs, every node comes back, nothing is left over."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from support.project import Project
from support.wait import until

from multi.controller.keeper import proc

TASKS, KILLS, NODES = 1500, 30, 4

PROJECT = """
    import os
    import time
    from multi import App

    app = App("load", broker=os.environ["LOAD_BROKER"], backend="disabled://", max_deliveries=50, worker_lease=4)

    @app.task
    def note(number):
        time.sleep(0.01)
        fd = os.open(os.environ["LOAD_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{number}\\n".encode())
        os.close(fd)
"""


class Load:
    """Nodes under load; `victims` are all processes of theirs."""

    def __init__(self, project: Project, broker: str) -> None:
        self.project = project
        self.notes = project.path / "notes"
        project.write("load.py", PROJECT)
        project.env |= {"LOAD_BROKER": broker, "LOAD_NOTES": str(self.notes)}
        self.names = [f"w{number}" for number in range(1, NODES + 1)]

    def records(self) -> list[dict[str, Any]]:
        files = Path(self.project.env["MULTI_STATE_DIR"]).glob("run/*/*/status.json")
        return [json.loads(file.read_text()) for file in files]

    def victims(self) -> dict[str, list[int]]:
        keepers = [int(record["keeper"]["pid"]) for record in self.records()]
        workers = [int(one["pid"]) for record in self.records() for one in record["workers"]]
        children = [pid for pid in proc.all_pids() if (found := proc.stat(pid)) and int(found[1]) in workers]
        return {"keeper": keepers, "worker": workers, "child": children}

    def states(self) -> dict[str, str]:
        found = json.loads(self.project.multi("status", "--json", code=None).stdout)
        return {one["node"].partition("@")[0]: one["state"] for one in found}


@pytest.fixture
def load(project: Project, redis_url: str) -> Load:
    return Load(project, redis_url)


@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_left_over(load: Load) -> None:
    chance = random.Random(20)
    more = ("--max-crashes", "1000", "--restart-delay", "0.1", "--longest-delay", "0.5")
    try:
        load.project.multi("start", *load.names, "-A", "load", "-c", "2", "-l", "WARNING", *more)
        load.project.python(f"from load import note\nfor number in range({TASKS}):\n    note.delay(number)")
        killed = dict.fromkeys(("keeper", "worker", "child"), 0)
        while sum(killed.values()) < KILLS:
            kind = chance.choice(("keeper", "worker", "child"))
            if pids := load.victims()[kind]:
                pid = chance.choice(sorted(pids))
                if not (start := proc.start_time(pid)):
                    continue  # killed before, and not restarted yet
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed[kind] += 1
                until(lambda pid=pid, start=start: proc.start_time(pid) != start, what=f"{kind} {pid} is gone")  # type: ignore[misc]
            match chance.randrange(6):
                case 0:
                    load.project.multi("status", code=None)
                case 1:
                    load.project.multi("reload", chance.choice(load.names), code=None)
                case 2:
                    load.project.multi("restart", chance.choice(load.names), code=None)
                case 3:
                    load.project.multi("start", *load.names, code=None)
        load.project.multi("start", *load.names)
        until(lambda: set(load.states().values()) == {"running"}, 60, what=f"all run again: {load.states()}")

        def seen() -> set[int]:
            return {int(line) for line in load.notes.read_text().split()}

        until(lambda: len(seen()) == TASKS, 60, what="every task has run")
        done = load.notes.read_text().split()
        # a task whose process was killed runs once more, others don't
        assert len(done) - TASKS <= 2 * KILLS * 2, f"{len(done)} runs of {TASKS} tasks with {killed}"
        load.project.multi("stopwait", "--all")
        assert set(load.states().values()) == {"stopped"}
    finally:
        load.project.multi("kill", "--all", code=None)
