"""A node under a real runsv, by the files that are rendered for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import in_ci
from support.project import Project
from support.wait import until

from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units.base import Target
from multi.units.runit import RunitFormat

HOST = os.uname().nodename


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    missing = [name for name in ("runsv", "sv", "chpst") if shutil.which(name) is None]
    if missing:
        text = f"{', '.join(missing)} not found; install it with: apt install runit"
        pytest.fail(text, pytrace=False) if in_ci() else pytest.skip(text)


class Service:
    """A service directory as rendered, and the runsv that looks after it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.path / "sv"
        program = project.path / "multi"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m multi "$@"\n')
        program.chmod(0o755)
        spec = NodeSpec(
            NodeName("w1", HOST),
            executable=sys.executable,
            cwd=str(project.path),
            options={"app": "proj.tasks", "concurrency": "1", "loglevel": "INFO"},
            env={"COLOUR": "dark blue; it's $HOME"},
        )
        state = project.env["MULTI_STATE_DIR"]
        target = Target(
            "proj",
            HOST,
            multi=str(program),
            state_dir=state,
            unit_dir=str(self.folder),
            log_dir=str(project.path / "log"),
        )
        files = RunitFormat().render([spec], target)
        assert RunitFormat().check(files) == []
        for file in files:
            path = Path(file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text)
            path.chmod(file.mode)
        self.place = self.folder / "multi-proj-w1"
        self.runsv = subprocess.Popen(["runsv", str(self.place)], env=project.env)

    def sv(self, *words: str) -> str:
        done = subprocess.run(["sv", *words, str(self.place)], capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    def is_ready(self) -> bool:
        return self.project.multi("probe", "w1", "--ready", code=None).returncode == 0

    def close(self) -> None:
        self.sv("-w", "20", "force-shutdown")
        self.runsv.send_signal(signal.SIGHUP)
        self.runsv.wait(20)


@pytest.fixture
def service(project: Project) -> Iterator[Service]:
    project.quickstart()
    found = Service(project)
    yield found
    found.close()


def test_a_node_runs_under_runit_stops_warm_and_stays_down(service: Service) -> None:
    until(service.is_ready, 30, what="the node consumes")
    assert "run:" in service.sv("status")
    log = service.project.path / "log" / "multi-proj-w1" / "current"
    until(lambda: "ready" in log.read_text(), what="its lines are in svlogd's file")
    environ = Path(f"/proc/{(service.place / 'supervise/pid').read_text().strip()}/environ").read_bytes()
    assert b"COLOUR=dark blue; it's $HOME" in environ.split(b"\0")
    assert "ok: down" in service.sv("-w", "30", "stop")
    assert service.project.multi("status", "w1", code=None).returncode == 3
    service.sv("start")
    until(service.is_ready, 30, what="the node consumes again")
    # asked for by somebody else: it is not started again
    service.project.multi("stopwait", "w1")
    until(lambda: "down:" in service.sv("status"), what="runit leaves it down")
