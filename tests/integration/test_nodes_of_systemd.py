"""Nodes that a real systemd runs: the commands reach them through it, and `multi install` brings them to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support import described
from support.nodes import Nodes, is_alive, kill
from support.project import Project
from support.supervisord import PrivateSupervisord
from support.systemd import PrivateSystemd, require
from support.wait import until

MULTI_TOML = f'{described.MULTI_TOML}[nodes.v]\nqueues = ["a"]\n'


class Shop:
    """A project that describes w1, w2 and v, beside a systemd of its own."""

    def __init__(self, project: Project) -> None:
        self.nodes = described.prepare(Nodes(project))
        self.project = project
        self.describe(MULTI_TOML)
        self.systemd = PrivateSystemd(project.env, project.home)
        self.systemd.start()

    def describe(self, text: str) -> None:
        described.describe(self.nodes, text)

    def multi(self, *words: str, code: int | None = 0) -> str:
        done = self.systemd.multi(*words, cwd=self.project.path, code=code)
        return done.stdout + done.stderr

    def install(self, *words: str, code: int = 0) -> str:
        return self.multi("install", "systemd", "--user", *words, code=code)

    def status(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.systemd.multi("status", "--json", cwd=self.project.path, code=None).stdout)
        return {one["node"].partition("@")[0]: one for one in found}

    def state(self, name: str) -> str:
        return self.systemd.show(f"multi-shop@{name}.service", "ActiveState")

    def pid(self, name: str) -> int:
        return int(self.systemd.show(f"multi-shop@{name}.service", "MainPID"))

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        return self.systemd.popen(sys.executable, "-m", "multi", *words, cwd=self.project.path)


@pytest.fixture
def shop(project: Project) -> Iterator[Shop]:
    require()
    found = Shop(project)
    yield found
    found.systemd.stop()
    found.nodes.stop_all()


@pytest.fixture
def installed(shop: Shop) -> Shop:
    shop.install()
    return shop


def test_install_has_systemd_run_the_nodes_at_boot_too_and_then_has_nothing_to_do(shop: Shop) -> None:
    assert "-c 3: what nodes run with is not said here" in shop.install("-c", "3", code=2)
    assert "--batch 0" in shop.install("--rolling", "--batch", "0", code=2)
    shop.install("--dry-run")
    assert not list(shop.systemd.units.iterdir())
    said = shop.install()
    assert said.count(": OK (pid ") == 3
    found = shop.status()
    assert {name: (one["state"], one["run_by"], one["unit"], one["at_boot"]) for name, one in found.items()} == {
        name: ("running", "systemd", f"multi-shop@{name}.service", True) for name in ("v", "w1", "w2")
    }
    assert found["v"]["queues"] == ["a"]
    assert found["w1"]["pid"] == shop.pid("w1")
    assert shop.systemd.show("multi-shop.target", "UnitFileState") == "enabled"
    assert "Nothing to do: 3 nodes" in shop.install()
    assert "Nothing to do: all 3 nodes run" in shop.multi("up")
    assert "multi disable --now" in shop.multi("install", "systemd", "--system", code=1)
    # one node changes, one goes
    assert found["v"]["drift"] is None
    pids = {name: shop.pid(name) for name in ("w1", "w2", "v")}
    shop.describe(MULTI_TOML.replace('["a"]', '["a", "b"]'))
    said = shop.multi("up", "--dry-run")
    assert "v: what systemd --user runs is not as" in said
    assert "multi install systemd" in said
    assert {name: bool(one["drift"]) for name, one in shop.status().items()} == {"v": True, "w1": False, "w2": False}
    shop.describe(MULTI_TOML.replace("count = 2", "count = 1").replace('["a"]', '["a", "b"]'))
    said = shop.install()
    assert "restart  v  (its unit has changed)" in said
    assert "+ExecStart=" in said
    assert shop.pid("w1") == pids["w1"]
    assert shop.pid("v") != pids["v"]
    assert shop.status()["v"]["queues"] == ["a", "b"]
    assert not is_alive(pids["w2"])
    # and all of them
    shop.multi("disable", "--now")
    assert not [path for path in shop.systemd.units.rglob("*") if not path.is_dir()]
    assert {one["state"] for one in shop.status().values()} <= {"stopped"}


def test_disable_enable_and_install_change_the_boot_and_no_node_that_runs(installed: Shop) -> None:
    def at_boot() -> dict[str, bool]:
        return {name: one["at_boot"] for name, one in installed.status().items()}

    pids = {name: installed.pid(name) for name in ("w1", "w2", "v")}
    installed.multi("disable")
    assert set(at_boot().values()) == {False}
    assert "multi-shop.target  (it is not started with the machine)" in installed.install("--dry-run")
    installed.multi("enable", "w1")
    assert at_boot() == {"w1": True, "w2": False, "v": False}
    assert "Starting with the machine again" in installed.multi("enable")
    assert set(at_boot().values()) == {True}
    assert "Nothing to do" in installed.multi("enable")
    assert "w1" in json.loads(installed.multi("disable", "w1", "--json"))["nodes"][0]["node"]
    # from elsewhere, where nothing is known of the nodes but that they are units
    done = installed.systemd.multi("enable", "w1", cwd=installed.project.home)
    assert "w1" in done.stdout
    assert at_boot()["w1"] is True
    installed.multi("disable", "w1", "v")
    said = installed.install()
    assert "    restart  " not in said
    assert set(at_boot().values()) == {True}
    installed.multi("disable")
    installed.install()
    assert set(at_boot().values()) == {True}
    assert {name: installed.pid(name) for name in ("w1", "w2", "v")} == pids
    # a foreign file under the name of an instance would be started in its place
    foreign = installed.systemd.units / "multi-shop@w3.service"
    foreign.write_text("[Service]\nExecStart=/bin/sleep 1000\n")
    installed.describe(MULTI_TOML.replace("count = 2", "count = 3"))
    assert f"{foreign}: there is such a file already" in installed.install(code=1)
    installed.install("--force")
    assert not foreign.exists()
    assert installed.status()["w3"]["queues"] == ["celery"]
    # and one of ours, when a node has become like the others
    installed.describe(MULTI_TOML.replace('queues = ["a"]', "").replace("count = 2", "count = 3"))
    installed.install()
    assert not (installed.systemd.units / "multi-shop@v.service").exists()
    assert installed.status()["v"]["queues"] == ["celery"]


def test_commands_go_through_systemd_so_that_it_knows_what_is_meant(installed: Shop) -> None:
    before = installed.pid("w1")
    assert f"TERM -> {before}" in installed.multi("stopwait", "w1")
    assert installed.state("w1") == "inactive"
    assert not is_alive(before)
    assert ": OK (pid " in installed.multi("start", "w1")
    assert "already running" in installed.multi("start", "w1")
    again = installed.pid("w1")
    assert installed.multi("restart", "w1", "w2", "--rolling").count("Restarting node") == 2
    assert installed.pid("w1") not in (before, again)
    said = installed.multi("restart", "w1", "-c", "3", code=2)
    assert "is run by systemd --user (multi-shop@w1.service)" in said
    assert "knows no pause" in installed.multi("pause", "w1", code=1)
    # a crash is systemd's business, a kill of ours is none
    kill(installed.pid("w2"))
    until(lambda: installed.state("w2") == "active" and installed.pid("w2"), what="systemd has started it again")
    until(lambda: installed.status()["w2"]["restarts"] == 1, what="that is counted")
    installed.multi("kill", "w2")
    assert installed.state("w2") == "inactive"
    installed.multi("down")
    assert {installed.state(name) for name in ("w1", "w2", "v")} == {"inactive"}


def test_a_stop_waits_for_the_task_that_runs_unless_it_is_told_otherwise(shop: Shop) -> None:
    shop.describe(MULTI_TOML.replace('"ready"', '"ready.slow"'))
    shop.install("w")
    with shop.popen("stopwait", "w1") as stopping:
        until(lambda: shop.state("w1") == "deactivating", what="systemd stops it")
        assert shop.status()["w1"]["state"] == "stopping"
        assert stopping.poll() is None
        os.kill(shop.pid("w1"), signal.SIGUSR1)
        assert stopping.wait(10) == 0
    said = shop.multi("stop", "w2", "--kill-after", "1", code=2)
    assert "multi stopwait w2" in said
    assert "DOWN, killed" in shop.multi("stopwait", "w2", "--kill-after", "0.5", code=5)
    assert shop.status()["w2"]["state"] == "stopped"


def test_a_node_is_handed_over_from_supervisord_and_never_runs_twice(shop: Shop) -> None:
    shop.describe(MULTI_TOML.replace('"ready"', '"ready.slow"'))
    supervisord = PrivateSupervisord(shop.systemd.env)
    try:
        supervisord.start()
        shop.systemd.env["SUPERVISORD_CONF"] = str(supervisord.config)
        shop.multi("install", "supervisord", "w1")
        worker = shop.nodes.worker("w1")
        with shop.popen("install", "systemd", "--user", "w1") as installing:
            until(lambda: supervisord.process_of("shop-w1")["statename"] == "STOPPING", what="it is stopped there")
            assert shop.state("w1") == "inactive", "it was started beside the old one"
            os.kill(worker, signal.SIGUSR1)
            assert installing.wait(20) == 0
        assert not is_alive(worker)
        assert shop.state("w1") == "active"
        assert not list(supervisord.files.iterdir())
        assert supervisord.client.process("shop-w1") is None
        found = shop.status()["w1"]
        assert (found["run_by"], found["state"]) == ("systemd", "running")
    finally:
        shop.multi("kill", "w1")
        supervisord.close()


def test_a_node_that_can_not_start_is_told_why_and_is_given_up(shop: Shop) -> None:
    shop.describe(MULTI_TOML.replace('"ready"', '"usage"'))
    shop.project.write("usage.py", "")
    said = shop.install("v", code=1)
    assert "did not start: it ended with exit status 2" in said
    assert shop.state("v") == "failed"
    assert shop.status()["v"]["state"] == "failed"
    shop.multi("stop", "v")
    assert shop.status()["v"]["state"] == "stopped"


def test_a_reload_of_a_real_worker_leaves_no_gap_and_systemd_follows_it(shop: Shop) -> None:
    shop.project.quickstart()
    shop.describe('name = "shop"\n[nodes.w1]\napp = "proj"\nconcurrency = 1\n')
    shop.install()
    before = shop.pid("w1")
    assert ": OK (pid " in shop.multi("reload", "w1")
    until(lambda: not is_alive(before), what="the old generation has ended")
    assert shop.state("w1") == "active"
    found = shop.status()["w1"]
    assert found["pid"] == shop.pid("w1") != before
    assert found["queues"] == ["celery"]
    assert found["memory"] > 0
    shop.multi("stopwait", "w1")
    assert shop.state("w1") == "inactive"
