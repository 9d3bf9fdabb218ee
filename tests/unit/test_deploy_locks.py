"""Locks of deploys: what takes them, keeps them, and ends them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.deploys import Fleet, release
from support.here import Here

from multi.deploy.base import Result
from multi.deploy.connections.simulation import Fault, Simulation
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import Settings
from multi.deploy.planning.plan import make_plan
from multi.deploy.rollout import locking
from multi.deploy.rollout.locking import Holder
from multi.deploy.rollout.operation import Operation
from multi.deploy.rollout.report import DONE, LEFT_OUT, STUCK, UNCHANGED, Report
from multi.errors import DeployError, DeployLocked


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """This machine as a host."""
    host = Host("h1", "h1", (), (), Settings(path=str(tmp_path), sudo=False))
    return Here(host, [], dict(os.environ), {})


def test_the_lock_of_a_deploy_that_runs_is_not_ended_without_force(here: Here) -> None:
    Holder("push 1", 3600).take(here)
    held = locking.show(here)
    assert held is not None
    assert "a deploy of yours is at it" in held.why_not_to_end()
    assert f"process {os.getpid()}" in held.why_not_to_end()


def test_locks_that_nobody_holds_are_ended(here: Here) -> None:
    Holder("the weekend", 3600, lasting=True).take(here)
    held = locking.show(here)
    assert held is not None
    assert held.why_not_to_end() == ""
    others = held._replace(who="somebody-else")
    assert "--break" in others.why_not_to_end()
    assert others._replace(left=0).why_not_to_end() == ""
    gone = held._replace(process={**locking._process(), "start": 1})
    assert gone.why_not_to_end() == ""
    assert "left by a process that is no more; ends by itself in 60 min" in str(gone)
    assert str(held._replace(left=5)).endswith("(ends by itself in 5 s)")


def test_who_holds_a_lock_notices_that_it_is_gone_or_is_another_ones(here: Here) -> None:
    mine = Holder("push 1", 3600)
    mine.take(here)
    mine.confirm(here)
    held = locking.show(here)
    assert held is not None
    locking.remove(here, held)
    mine.confirm(here, age=60)  # it was seen just now
    with pytest.raises(DeployLocked, match="taken away \\(nobody has it locked\\)"):
        mine.confirm(here)
    Holder("push 2", 3600).take(here)
    with pytest.raises(DeployLocked, match="it is locked by .*: push 2"):
        mine.confirm(here)


def push(fleet: Fleet, faults: list[Fault], meddle: Callable[[Simulation], None] = lambda _: None) -> Report:
    """A push with all that stands around it, of release 2."""
    hosts = list(fleet.inventory.hosts.values())
    simulation = Simulation(hosts, fleet.facts, faults=faults)
    meddle(simulation)
    made = Operation(fleet.inventory, hosts, simulation, lambda _: None, what="push", version="2", with_check=False)
    try:
        return made.run(lambda facts: make_plan(fleet.inventory, hosts, facts, release("2")))
    finally:
        fleet.facts, fleet.done = simulation.facts, simulation.done


def test_a_deploy_whose_lock_was_taken_away_changes_nothing_more_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multi.deploy.rollout.runner._SEEN", 0.0)
    fleet = Fleet()
    assert fleet.push(release())
    # of the four hosts, the first is done when the lock is taken away on all
    cut = Fault("multi-lock-holds", "", Result(75, ""), None)
    report = push(fleet, [cut._replace(host=host) for host in ("app2", "app3", "app4")])
    assert not report.ok
    assert "app2: the lock of this deploy was taken away" in report.reason
    assert not any("current -> " in line or "systemctl" in line for line in fleet.of("app2"))
    assert {name: one.current for name, one in fleet.facts.items()} == dict.fromkeys(fleet.facts, "r1")

    report = push(fleet, [cut])
    assert {one.current for one in fleet.facts.values()} == {"r1"}
    assert not report.ok


def test_a_host_whose_lock_is_another_ones_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multi.deploy.rollout.runner._SEEN", 0.0)
    fleet = Fleet()
    assert fleet.push(release())

    def taken(simulation: Simulation) -> None:
        def tell(host: str, line: str) -> None:
            if host == "app2" and "systemctl restart" in line:
                simulation.faults.append(Fault("multi-lock-holds", "app1", Result(75, ""), None))

        simulation._told = tell

    report = push(fleet, [Fault("systemctl restart multi-shop@w1", "app2")], taken)
    assert report.hosts["app1"].state == STUCK
    assert "not even the way back" in report.hosts["app1"].warnings[0]
    assert fleet.facts["app1"].current == "r2"
    assert fleet.facts["app2"].current == "r1"


def test_a_host_that_is_not_prepared_is_left_out_and_the_others_are_deployed_to() -> None:
    fleet = Fleet()
    unknown = Fault("multi-lock", "app2", Result(1, "", "sudo: unknown user shop"), None)
    report = push(fleet, [unknown])
    states = {name: one.state for name, one in report.hosts.items()}
    assert states == {"app1": DONE, "app2": LEFT_OUT, "app3": DONE, "app4": DONE}
    assert report.hosts["app2"].reason.startswith("exit code 1")
    assert UNCHANGED not in states.values()
    with pytest.raises(DeployError, match="no host that can be deployed to:\n  app1: "):
        push(Fleet(), [unknown._replace(host="")])
