"""What `multi deploy setup` does on hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.deploys import TOML, Fleet, fresh, release

from multi.deploy.connections.simulation import Simulation
from multi.deploy.hosts.facts import RUNNING, HostFacts
from multi.deploy.planning.first_units import put_rules, rules_path
from multi.deploy.rollout import preparing
from multi.deploy.rollout.preparing import Probe
from multi.deploy.rollout.runner import Runner
from multi.deploy.steps import Command, File, Plan

ONE = TOML.replace('"app[1:4]"', "app1").replace("[deploy]", '[deploy]\nowner = "shop"')
PROBE = Probe(frozenset(("user", "group", "venv", "apt", "useradd", "program systemctl /bin/systemctl")))
FOLDERS = frozenset(
    f"/srv/shop{one}" for one in ("", "/releases", "/environments", "/shared", "/.multi", "/.multi/kept")
)


def setup(fleet: Fleet, probe: Probe = PROBE, **more: Any) -> Plan:
    """The plan, which is carried out."""
    hosts = list(fleet.inventory.hosts.values())
    probes = dict.fromkeys(fleet.facts, probe)
    plan = preparing.make_plan(fleet.inventory, hosts, fleet.facts, probes, **{"release": release(), **more})
    simulation = Simulation(hosts, fleet.facts)
    assert Runner(plan, hosts, simulation, lambda _: None).run().ok or plan.errors
    fleet.facts, fleet.done = simulation.facts, simulation.done
    return plan


def fleet(**more: Any) -> Fleet:
    return Fleet(ONE, fresh("app1", folders=FOLDERS, **more))


def told(plan: Plan) -> list[str]:
    return [step.title for step in plan.hosts["app1"].steps]


def test_units_and_the_rule_of_sudo_are_written_and_nothing_is_started() -> None:
    shop = fleet()
    plan = setup(shop)
    units = [f"write /etc/systemd/system/multi-shop{end}" for end in ("@.service", ".target", ".slice")]
    assert told(plan) == [*units, "have systemd read its files", "write /etc/sudoers.d/zz-multi-shop"]
    (rules,) = (step.do for step in plan.steps() if "sudoers" in step.title)
    assert isinstance(rules, Command) and rules.sudo and rules.stdin is not None
    assert b"/bin/systemctl restart multi-shop@w1.service" in rules.stdin
    assert b"\ndeploy ALL=(root) NOPASSWD: " in rules.stdin
    assert not shop.facts["app1"].nodes
    # the push finds them as it would have written them, and starts
    steps = [step.title for step in shop.plan(release()).hosts["app1"].steps]
    assert not any(title.startswith("write /etc") for title in steps)
    assert shop.push(release())
    assert {node.state for node in shop.facts["app1"].nodes.values()} == {RUNNING}


def test_where_a_release_is_its_units_are_left_alone() -> None:
    shop = fleet()
    assert shop.push(release())
    shop.inventory = Fleet(ONE.replace("count = 2", "count = 3")).inventory
    assert told(setup(shop)) == ["write /etc/sudoers.d/zz-multi-shop"]


def test_programs_that_supervisord_was_not_told_of_are_taken_over_by_the_first_push() -> None:
    shop = fleet(systemd=None, supervisord="4.2.5", supervisor_dir="/etc/supervisor/conf.d")
    files = [f"write /etc/supervisor/conf.d/multi-shop.{node}.conf" for node in ("w1", "w2")]
    assert told(setup(shop)) == [*files, "write /etc/sudoers.d/zz-multi-shop"]
    assert not any("supervisorctl" in line for line in shop.of("app1"))
    assert shop.push(release())
    assert "sudo -n supervisorctl update shop-w1" in shop.of("app1")
    assert {node.state for node in shop.facts["app1"].nodes.values()} == {RUNNING}


def test_a_host_that_is_prepared_is_left_alone() -> None:
    shop = fleet()
    (rules,) = (step.do for step in setup(shop).steps() if "sudoers" in step.title)
    assert isinstance(rules, Command) and rules.stdin is not None
    there = File(rules_path("shop"), rules.stdin.decode())
    facts: HostFacts = shop.facts["app1"]
    shop.facts["app1"] = facts._replace(files={**facts.files, there.path: there.digest})
    assert told(setup(shop)) == []


def test_root_needs_no_rule_and_who_can_not_be_root_is_told_so() -> None:
    assert not any("sudoers" in title for title in told(setup(fleet(sudo="root", user="root"))))
    plan = setup(fleet(sudo="none"))
    assert told(plan) == []
    assert plan.hosts["app1"].notes[0].startswith("no units are written: ")


def run(command: Command, path: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command.argv]
    env = {**os.environ, "PATH": path}
    text = command.stdin.decode() if command.stdin else ""
    return subprocess.run(words, env=env, input=text, capture_output=True, text=True, check=False)


def test_what_visudo_speaks_against_never_counts(tmp_path: Path) -> None:
    if shutil.which("visudo", path=f"{os.environ['PATH']}:/usr/sbin") is None or os.geteuid() != 0:
        pytest.skip("it needs visudo (apt-get install sudo), and root")
    path = str(tmp_path / "multi-shop")
    wrong = run(put_rules(File(path, "deploy ALL=(root NOPASSWD: /bin/true\n", sudo=True)), os.environ["PATH"])
    assert wrong.returncode != 0 and "syntax error" in wrong.stderr
    assert not list(tmp_path.iterdir())
    assert run(put_rules(File(path, "deploy ALL=(root) NOPASSWD: /bin/true\n")), os.environ["PATH"]).returncode == 0
    assert oct(os.stat(path).st_mode & 0o777) == "0o440"
    assert os.listdir(tmp_path) == ["multi-shop"]


def test_what_apt_believes_in_and_is_not_there_is_a_failure(tmp_path: Path) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho python3 is already the newest version\n")
    apt.chmod(0o755)
    (step,) = (
        step for step in setup(fleet(python=None), Probe(PROBE.found - {"venv"})).steps() if "install" in step.title
    )
    assert isinstance(step.do, Command)
    words = tuple("no-such-python" if word == "python3" else word for word in step.do.argv)
    done = run(step.do._replace(argv=words), f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "makes no environments all the same" in done.stderr
    words = tuple("true" if word == "python3" else word for word in step.do.argv)
    assert run(step.do._replace(argv=words), f"{tmp_path}:{os.environ['PATH']}").returncode == 0
