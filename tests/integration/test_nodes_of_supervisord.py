"""Nodes that a real supervisord runs: the commands reach them through it, and `multi install` brings them to it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import described
from support.nodes import Nodes, is_alive, kill
from support.project import Project
from support.supervisord import PrivateSupervisord
from support.wait import until

MULTI_TOML = f'{described.MULTI_TOML}[nodes.v]\nqueues = ["a"]\n'


class Shop:
    """A project that describes w1, w2 and v, beside a supervisord of its own."""

    def __init__(self, project: Project) -> None:
        self.nodes = described.prepare(Nodes(project))
        self.project = project
        self.describe(MULTI_TOML)
        self.supervisord = PrivateSupervisord(project.env)
        project.env["SUPERVISORD_CONF"] = str(self.supervisord.config)
        self.supervisord.start()

    def describe(self, text: str) -> None:
        described.describe(self.nodes, text)

    def multi(self, *words: str, code: int | None = 0) -> str:
        done = self.nodes.run(*words, code=code)
        return done.stdout + done.stderr

    def install(self, *words: str, code: int = 0) -> str:
        return self.multi("install", "supervisord", *words, code=code)

    def status(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.nodes.run("status", "--json", code=None).stdout)
        return {one["node"].partition("@")[0]: one for one in found}

    def state(self, name: str) -> str:
        """What supervisord says of a node."""
        return str(self.supervisord.process_of(f"shop-{name}")["statename"])

    def pid(self, name: str) -> int:
        return int(self.supervisord.process_of(f"shop-{name}")["pid"])

    def file(self, name: str) -> Path:
        return self.supervisord.files / f"multi-shop.{name}.conf"


@pytest.fixture
def shop(project: Project) -> Iterator[Shop]:
    found = Shop(project)
    yield found
    found.supervisord.close()
    found.nodes.stop_all()


@pytest.fixture
def installed(shop: Shop) -> Shop:
    shop.install()
    return shop


def test_install_has_supervisord_run_the_nodes_and_then_has_nothing_to_do(shop: Shop) -> None:
    planned = json.loads(shop.nodes.run("install", "supervisord", "--dry-run", "--json").stdout)
    assert [(one["node"], one["action"]) for one in planned["nodes"]] == [
        ("w1", "start"),
        ("w2", "start"),
        ("v", "start"),
    ]
    assert not list(shop.supervisord.files.iterdir())
    said = shop.install()
    assert f"new      {shop.file('w1')}  (the node's program)" in said
    assert said.count(": OK (pid ") == 3
    found = shop.status()
    assert {name: (one["state"], one["run_by"], one["unit"]) for name, one in found.items()} == {
        "v": ("running", "supervisord", "shop-v"),
        "w1": ("running", "supervisord", "shop-w1"),
        "w2": ("running", "supervisord", "shop-w2"),
    }
    assert found["v"]["queues"] == ["a"]
    assert found["w1"]["pid"] == shop.pid("w1")
    assert "Nothing to do: 3 nodes" in shop.install()
    assert "Nothing to do: all 3 nodes run" in shop.multi("up")
    said = shop.multi("restart", "w1", "-c", "3", code=2)
    assert "w1@" in said
    assert "is run by supervisord (shop-w1)" in said
    assert "multi install supervisord" in said
    assert "multi disable w1 --now" in shop.multi("forget", "w1", code=1)


def test_install_restarts_only_what_has_changed_and_stops_what_is_gone(installed: Shop) -> None:
    pids = {name: installed.pid(name) for name in ("w1", "w2", "v")}
    installed.describe(MULTI_TOML.replace("count = 2", "count = 1").replace('["a"]', '["a", "b"]'))
    assert "-Q a," not in installed.install("--dry-run").partition("+command")[0]
    said = installed.install()
    assert "+command=" in said
    assert "restart  v  (its unit has changed)" in said
    assert "stop     w2  (it is not to be a unit any more)" in said
    assert installed.pid("w1") == pids["w1"]
    assert installed.pid("v") != pids["v"]
    assert installed.status()["v"]["queues"] == ["a", "b"]
    assert not is_alive(pids["w2"])
    assert not installed.file("w2").exists()
    assert installed.supervisord.client.process("shop-w2") is None


def test_commands_go_through_supervisord_so_that_it_knows_what_is_meant(installed: Shop) -> None:
    before = installed.pid("w1")
    assert f"TERM -> {before}" in installed.multi("stopwait", "w1")
    assert installed.state("w1") == "STOPPED"
    assert not is_alive(before)
    assert installed.nodes.run("status", "w1", code=3).stdout.splitlines()[1].split()[1] == "stopped"
    assert ": OK (pid " in installed.multi("start", "w1")
    assert "already running" in installed.multi("start", "w1")
    again = installed.pid("w1")
    said = installed.multi("restart", "w1", "w2", "--rolling")
    assert said.count("Restarting node") == 2
    assert installed.pid("w1") not in (before, again)
    installed.multi("kill", "w1")
    assert installed.state("w1") == "STOPPED"
    installed.multi("down")
    assert {installed.state(name) for name in ("w1", "w2", "v")} == {"STOPPED"}
    installed.multi("up")
    assert {one["state"] for one in installed.status().values()} == {"running"}


def test_a_node_that_is_killed_comes_back_and_its_lines_are_read_from_supervisords_file(installed: Shop) -> None:
    before = installed.pid("w1")
    worker = installed.nodes.worker("w1")
    kill(worker)
    kill(before)
    until(lambda: installed.pid("w1") not in (0, before), what="supervisord has started it again")
    until(lambda: installed.status()["w1"]["state"] == "running", what="w1 runs")
    said = installed.multi("logs", "w1")
    assert said.count("fake worker ") >= 2


def test_a_stop_waits_for_the_task_that_runs(shop: Shop) -> None:
    shop.describe(MULTI_TOML.replace('"ready"', '"ready.slow"'))
    shop.install("w1")
    with shop.project.popen("stopwait", "w1") as stopping:
        until(lambda: shop.state("w1") == "STOPPING", what="supervisord stops it")
        assert shop.status()["w1"]["state"] == "stopping"
        assert stopping.poll() is None
        shop.nodes.nudge_unseen("w1")
        assert stopping.wait(10) == 0
    assert shop.state("w1") == "STOPPED"


def test_a_node_that_runs_by_itself_is_handed_over_and_never_runs_twice(shop: Shop) -> None:
    shop.describe(MULTI_TOML.replace('"ready"', '"ready.slow"'))
    shop.multi("up", "--only", "w1")
    keeper, worker = shop.nodes.keeper("w1"), shop.nodes.worker("w1")
    with shop.project.popen("install", "supervisord", "w1") as installing:
        until(lambda: shop.nodes.record("w1").get("state") == "stopping", what="the old one is told to stop")
        assert shop.supervisord.client.process("shop-w1") is None, "it was started beside the old one"
        shop.nodes.nudge_unseen("w1")
        assert installing.wait(20) == 0
    assert not is_alive(keeper)
    assert not is_alive(worker)
    assert shop.status()["w1"]["pid"] == shop.pid("w1")
    shop.multi("kill", "w1")


def test_a_node_that_can_not_start_is_told_with_its_last_lines(shop: Shop) -> None:
    shop.describe(MULTI_TOML.replace('"ready"', '"usage"'))
    shop.project.write("usage.py", "")
    said = shop.install("v", code=1)
    assert "v@" in said
    assert "did not start" in said
    assert "supervisord tries again" in said
    shop.multi("stopwait", "v")
    assert shop.status()["v"]["state"] in ("stopped", "failed")


def test_nodes_are_known_as_stopped_when_supervisord_is_gone(installed: Shop) -> None:
    installed.supervisord.stop()
    found = installed.status()
    assert {one["state"] for one in found.values()} == {"stopped"}
    assert "supervisord does not run" in found["w1"]["message"]
    assert "supervisord does not run" in installed.multi("start", "w1", code=1)


def test_a_file_of_somebody_elses_is_not_overwritten(shop: Shop) -> None:
    shop.file("w1").write_text("[program:shop-w1]\ncommand=/bin/sleep 100\nautostart=false\n")
    said = shop.install(code=1)
    assert str(shop.file("w1")) in said
    assert "--force" in said
    assert "sleep" in shop.file("w1").read_text()
    assert not shop.file("w2").exists()


def test_enable_lets_running_nodes_run_on_and_disable_takes_them_out(shop: Shop) -> None:
    shop.multi("up", "--only", "w")
    keeper = shop.nodes.keeper("w1")
    config = str(shop.supervisord.config)
    shop.multi("enable", "--supervisord", config)
    assert is_alive(keeper)
    assert shop.file("w1").exists()
    assert not shop.file("v").exists()
    shop.multi("enable", "--supervisord", config, "--now")
    assert not is_alive(keeper)
    assert shop.state("w1") == "RUNNING" or shop.state("w1") == "STARTING"
    shop.install("w")
    pid = shop.pid("w1")
    shop.multi("disable", "w1")
    assert not shop.file("w1").exists()
    shop.multi("enable", "w1")
    assert shop.file("w1").exists()
    shop.multi("disable", "w1")
    shop.install("w")
    assert shop.file("w1").exists()
    shop.multi("disable", "w1")
    assert shop.pid("w1") == pid
    assert is_alive(pid)
    shop.multi("disable", "--now")
    assert not (shop.project.home / "state/nodes/shop/disabled").exists()
    assert not list(shop.supervisord.files.iterdir())
    assert shop.supervisord.client.process("shop-w2") is None
    assert {one["run_by"] for one in shop.status().values()} == {"multi"}


def test_a_keeper_that_is_killed_is_followed_by_one_that_takes_the_worker_over_and_replaces_it(shop: Shop) -> None:
    shop.project.quickstart()
    shop.describe('name = "shop"\n[nodes.w1]\napp = "proj"\nconcurrency = 1\n')
    shop.install()
    before, worker = shop.pid("w1"), shop.nodes.worker("w1")
    kill(before)
    shop.status()  # which gives orphans a keeper, unless supervisord does
    until(lambda: shop.pid("w1") not in (0, before), what="supervisord has started it again")
    until(lambda: not is_alive(worker), what="the worker without a reader is replaced")
    found = shop.status()["w1"]
    assert (found["state"], found["run_by"], found["pid"]) == ("running", "supervisord", shop.pid("w1"))
    assert shop.nodes.keeper("w1") == shop.pid("w1")
    shop.multi("stopwait", "w1")
    assert shop.state("w1") == "STOPPED"
    assert shop.status()["w1"]["state"] == "stopped"


def test_a_keeper_that_is_killed_in_the_middle_of_a_stop_is_followed_by_one_that_starts_the_node_anew(
    shop: Shop,
) -> None:
    shop.describe(MULTI_TOML.replace('"ready"', '"ready.slow"'))
    shop.install("w1")
    before, worker = shop.pid("w1"), shop.nodes.worker("w1")
    os.kill(before, signal.SIGTERM)
    until(lambda: shop.status()["w1"]["state"] == "stopping", what="it finishes what it runs")
    kill(before)  # as supervisord does when stopwaitsecs are over
    until(lambda: shop.pid("w1") not in (0, before), 20, what="supervisord has started it again")
    assert is_alive(worker), "its task runs on"
    shop.nodes.nudge_unseen("w1")
    until(lambda: not is_alive(worker), what="its task has ended")
    until(lambda: shop.status()["w1"]["state"] == "running", 20, what="the node is up again")
    assert shop.nodes.keeper("w1") == shop.pid("w1")
    assert shop.nodes.worker("w1") != worker
    shop.nodes.nudge_unseen("w1")
    shop.multi("kill", "w1", code=None)


def test_where_supervisord_can_not_be_asked_its_nodes_are_neither_started_nor_stopped(installed: Shop) -> None:
    said = installed.multi("scale", "w=3", code=2)
    assert "write count = 3 below [nodes.w]" in said
    assert "multi install supervisord" in said
    installed.multi("stopwait", "v", "--force")
    text = installed.supervisord.config.read_text()
    installed.supervisord.config.write_text(text.replace("s.sock", "s.sock/away"))  # no permission needs another user
    found = installed.status()
    assert {(one["state"], one["run_by"]) for one in found.values()} == {
        ("running", "supervisord"),
        ("unknown", "supervisord"),
    }
    before = installed.pid("w1")
    assert "has it: " in installed.multi("stop", "v", code=4)
    assert "has it: " in installed.multi("disable", "v", "--now", code=4)
    for verb in ("stop", "stopwait", "restart", "start", "kill"):
        said = installed.multi(verb, "w1", code=4)
        assert "supervisord (shop-w1) runs it" in said, verb
    # nothing is known of any supervisord: then its keeper tells
    installed.supervisord.config.write_text(text.replace("conf.d", "other.d"))
    (installed.project.home / "state/nodes/shop/units.json").unlink()
    assert "supervisord (shop-w1) runs it, of which nothing is known here" in installed.multi("restart", "w1", code=4)
    installed.supervisord.config.write_text(text)
    assert installed.pid("w1") == before
    said = installed.install("--dry-run")
    assert "w1" not in said.partition("To do")[2]
