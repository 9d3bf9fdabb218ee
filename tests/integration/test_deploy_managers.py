"""Plans carried out with a real systemd and a real supervisord: what runs afterwards, after failures, and while nodes go from
one to the other."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.here import Here, folder_of
from support.supervisord import PrivateSupervisord
from support.systemd import PrivateSystemd, require
from support.wait import until

from multi.deploy.hosts import gathering
from multi.deploy.hosts.inventory import Inventory
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases.wanted import Release
from multi.deploy.rollout.report import Report
from multi.deploy.rollout.runner import Runner
from multi.deploy.steps import Plan
from multi.nodes.description import describe

pytestmark = pytest.mark.slow

TOML = """
name = "shop"
[deploy]
path = "{path}/srv/shop"
installer = "none"
python = "{python}"
manager = "{manager}"
min_healthy_time = 0
healthy_deadline = "4s"
{more}
[hosts.here]
[nodes.w]
count = 2
command = "{command}"
restart = "never"
ready_after = "1s"
log = {{ file = "/dev/null", size = 0 }}
stop = {{ kill_after = "5s" }}
"""


class Machine:
    """This machine as a host, with both managers, and a project that is deployed to it."""

    def __init__(self, folder: Path, mark: str) -> None:
        require()
        self.folder = folder
        self.marked = f"sleep 10{int(mark[:6], 16)}"
        wrapper = folder / "bin" / "supervisorctl"
        wrapper.parent.mkdir()
        self.env = {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
        self.supervisord = PrivateSupervisord(self.env)
        wrapper.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m supervisor.supervisorctl -c {self.supervisord.config} "$@"\n'
        )
        wrapper.chmod(0o755)
        self.systemd = PrivateSystemd(self.env, folder / "home")
        self.manager, self.command, self.more = "systemd-user", self.marked, ""
        self.manifests: dict[str, str] = {}

    def start(self) -> None:
        self.supervisord.start()
        self.systemd.start()

    def stop(self) -> None:
        self.supervisord.stop()
        self.systemd.stop()

    @property
    def inventory(self) -> Inventory:
        more = self.more
        if self.manager == "supervisord":
            more += f'\nunits_dir = "{self.supervisord.files}"'
        text = TOML.format(
            path=self.folder, python=sys.executable, manager=self.manager, command=self.command, more=more
        )
        return Inventory(describe(text, "/home/me/shop/multi.toml", host="h").check(), text)

    def plan(self, version: str) -> tuple[Plan, Here, Inventory]:
        inventory = self.inventory
        (host,) = inventory.hosts.values()
        process = self.systemd.process
        assert process is not None
        here = Here(host, ["nsenter", "-t", str(process.pid), "-m", "-C", "--"], self.systemd.env, self.manifests)
        name = f"r{version}"
        self.manifests[name] = version
        digest = hashlib.sha256(version.encode()).hexdigest()
        facts = gathering.gather(here, [host], lambda one: gathering.question(one, inventory.project))
        return make_plan(inventory, [host], facts, Release(name, version, digest)), here, inventory

    def push(self, version: str) -> Report:
        plan, here, inventory = self.plan(version)
        assert plan.errors == {}
        self.lines = here.lines
        report = Runner(plan, inventory.hosts.values(), here, lambda _: None).run()
        self.told = report.json()
        return report

    def running(self) -> list[str]:
        """The releases that the nodes' processes work in, one for each process."""
        processes = psutil.process_iter(["cmdline"])
        pids = [one.pid for one in processes if " ".join(one.info["cmdline"] or ()) == self.marked]
        return sorted(folder_of(pid).rpartition("/")[2] for pid in pids)

    def runs(self, *releases: str) -> None:
        until(lambda: self.running() == list(releases), what=f"the processes of {releases}, there are {self.running()}")


@pytest.fixture
def machine(tmp_path: Path, mark: str, no_leftovers: None) -> Iterator[Machine]:
    found = Machine(tmp_path, mark)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_releases_under_systemd_follow_each_other_and_go_back(machine: Machine) -> None:
    assert machine.push("1").ok, machine.told
    machine.runs("r1", "r1")
    assert machine.systemd.show("multi-shop.target", "ActiveState") == "active"
    assert machine.plan("1")[0].is_empty
    assert machine.push("2").ok, machine.told
    machine.runs("r2", "r2")
    assert machine.plan("2")[0].is_empty
    # a release whose nodes end at once
    before = {path.name: path.read_text() for path in machine.systemd.units.glob("multi-*")}
    machine.command = "false"
    report = machine.push("3")
    assert not report.ok
    assert report.hosts["here"].state == "went back"
    machine.runs("r2", "r2")
    assert {path.name: path.read_text() for path in machine.systemd.units.glob("multi-*")} == before
    machine.command = machine.marked
    assert machine.plan("2")[0].is_empty
    # somebody has stopped a node, and another one has crashed
    machine.systemd.run("systemctl", "--user", "stop", "multi-shop@w2")
    machine.systemd.run("systemctl", "--user", "kill", "--signal=KILL", "multi-shop@w1")
    machine.runs()
    plan = machine.plan("2")[0]
    turns = [(step.title, step.reason) for step in plan.steps() if step.kind in ("start", "restart") and step.node]
    assert turns == [("restart w1", "it has failed"), ("start w2", "it is not running")]
    assert machine.push("2").ok, machine.told
    machine.runs("r2", "r2")


def test_nodes_go_from_supervisord_to_systemd_and_back_and_never_run_twice(machine: Machine) -> None:
    machine.manager = "supervisord"
    assert machine.push("1").ok, machine.told
    machine.runs("r1", "r1")
    assert machine.plan("1")[0].is_empty
    machine.manager, machine.more = "systemd-user", 'health_command = "false"'
    assert machine.push("2").hosts["here"].state == "went back"
    machine.runs("r1", "r1")
    assert machine.supervisord.process_of("shop-w1")["statename"] in ("STARTING", "RUNNING")
    machine.more = f'units_dir = "{machine.systemd.units}"'
    plan = machine.plan("2")[0]
    assert [step.title for step in plan.steps() if step.node][:3] == ["stop w1", "start w1", "w1 is up"]


def test_programs_that_come_into_a_group_of_supervisord_and_leave_it_never_run_twice(machine: Machine) -> None:
    machine.manager = "supervisord"
    assert machine.push("1").ok, machine.told
    machine.more = 'unit_settings = { supervisord = { group = "shops" } }'
    assert machine.push("1").ok, machine.told
    machine.runs("r1", "r1")
    client = machine.supervisord.client
    assert client.process("shops:w2") is not None
    assert client.process("shop-w2") is None
    assert machine.plan("1")[0].is_empty
    machine.more = ""
    machine.command = "false"
    assert machine.push("2").hosts["here"].state == "went back"
    machine.runs("r1", "r1")
    assert client.process("shops:w2") is not None
    assert client.process("shop-w2") is None
    machine.command = machine.marked
    assert machine.push("2").ok, machine.told
    machine.runs("r2", "r2")
    assert client.process("shops:w2") is None
    assert machine.plan("2")[0].is_empty
