"""What has to be true of a host's nodes before a deploy goes on: on the model of a fleet."""

from __future__ import annotations

import json

import pytest
from support.deploys import TOML, Fleet, fresh, release

from multi.deploy.base import Result
from multi.deploy.connections.simulation import Fault, Simulation
from multi.deploy.planning.plan import make_plan
from multi.deploy.rollout.operation import Operation
from multi.deploy.rollout.report import REVERTED

SUPERVISED = TOML.replace('"app[1:4]"', "app1").replace(
    "[deploy]", '[deploy]\nmanager = "supervisord"\nhealthy_deadline = "0.3s"'
)


def supervised() -> Fleet:
    facts = fresh("app1", systemd=None, supervisord="4.2.5", supervisor_dir="/etc/supervisor/conf.d")
    return Fleet(SUPERVISED, facts)


def test_a_program_that_supervisord_calls_running_is_up_when_its_keeper_says_so() -> None:
    fleet = supervised()
    assert fleet.push(release())

    def hangs(simulation: Simulation) -> None:
        simulation.hosts["app1"].keepers["shop-w1"] = "starting"

    report = fleet.report(release("2"), meddle=hangs)
    assert report.hosts["app1"].state == REVERTED
    assert report.hosts["app1"].reason == "not healthy after 0.3 s: w1 starting"
    assert "app1 waiting: w1 starting" in fleet.said
    assert not any("restart shop-w2" in line for line in fleet.of("app1"))
    assert fleet.facts["app1"].current == "r1"


def test_a_keeper_that_the_owner_cannot_ask_about_is_asked_by_root() -> None:
    fleet = supervised()
    fleet.push(release())
    asked = [line for line in fleet.of("app1") if "multi status" in line]
    assert asked
    assert not any("sudo" in line for line in asked)

    def lost(simulation: Simulation) -> None:
        simulation.hosts["app1"].keepers["shop-w1"] = "unknown"

    fleet.report(release("2"), meddle=lost)
    assert any("sudo -n /srv/shop/current/.venv/bin/multi status w1 --json" in line for line in fleet.of("app1"))


def test_a_release_that_can_not_be_imported_ends_with_that_and_not_with_advice_to_go_on() -> None:
    fleet = Fleet()
    assert fleet.push(release())
    error = "Traceback:\n  File jobs.py\nModuleNotFoundError: No module named 'x'"
    broken = Fault(
        "/srv/shop/releases/r2/.venv/bin/python -", "", Result(0, f"multi-app-1 {json.dumps({'error': error})}")
    )
    hosts = list(fleet.inventory.hosts.values())
    simulation = Simulation(hosts, fleet.facts, faults=[broken])
    said: list[str] = []
    made = Operation(
        fleet.inventory, hosts, simulation, lambda event: said.append(event.text), what="push", version="2"
    )
    report = made.run(lambda facts: make_plan(fleet.inventory, hosts, facts, release("2")))
    assert not report.ok
    first = "on app1 the release's app can't be imported: ModuleNotFoundError: No module named 'x'"
    assert report.reason == f"{first}; nothing that runs was touched. Put it right, and push again"
    assert f"against it: {first}\n{error}" in said
    assert {one.current for one in simulation.facts.values()} == {"r1"}


@pytest.mark.parametrize(
    ("journal", "told"),
    [("ImportError: x", "ImportError: x"), ("", "nothing was written since its last start")],
)
def test_a_failed_node_is_shown_with_what_it_said_since_its_start(journal: str, told: str) -> None:
    fleet = Fleet(TOML.replace('"app[1:4]"', "app1"))
    assert fleet.push(release())
    faults = [
        Fault("show --property=Id", "", Result(0, "Id=multi-shop@w1.service\nActiveState=failed\nSubState=failed")),
        Fault("show --property=InvocationID", "", Result(0, "InvocationID=abc")),
        Fault("-o cat _SYSTEMD_INVOCATION_ID=abc + INVOCATION_ID=abc", "", Result(0, journal)),
    ]
    report = fleet.report(release("2"), faults)
    assert (report.hosts["app1"].state, report.hosts["app1"].output) == (REVERTED, told)
