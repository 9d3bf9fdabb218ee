"""Releases of the same content that have other names on some hosts."""

from __future__ import annotations

from support.deploys import TOML, Fleet, release

from multi.deploy.connections.simulation import Simulation
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases import compatibility
from multi.deploy.rollout.runner import Runner


def test_hosts_with_the_same_content_under_another_name_are_asked_nothing_about_the_release() -> None:
    fleet = Fleet(TOML.replace("[deploy]", '[deploy]\nhooks = { migrate = "true" }'))
    fleet.push(release())
    other = release("2")._replace(name="other")
    hosts = list(fleet.inventory.hosts.values())
    first = make_plan(fleet.inventory, hosts[:1], fleet.facts, other)
    simulation = Simulation(hosts, fleet.facts)
    Runner(first, hosts[:1], simulation, lambda _: None).run()
    fleet.facts = simulation.facts
    assert fleet.facts["app1"].current == "other"
    plan = fleet.plan(release("2")._replace(name="r3"))
    assert [step.host for step in plan.once] == ["app2"]
    simulation = Simulation(hosts, fleet.facts)
    compatibility.check(fleet.inventory, hosts, plan, simulation)
    assert {host for host, _ in simulation.done} == {"app2"}
    assert plan.hosts["app1"].steps == ()
