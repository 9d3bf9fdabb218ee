"""Releases of the same content that have other names on some hosts."""

from __future__ import annotations

from support.deploys import TOML, Fleet, release

from multi.deploy.connections.simulation import Simulation
from multi.deploy.hosts.facts import ReleaseFact
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases import compatibility
from multi.deploy.steps import Link, Plan


def plan_environment(plan: Plan) -> str:
    """The environment that the plan's release uses."""
    links = [step.do for step in plan.steps() if isinstance(step.do, Link) and step.do.path.endswith("/.venv")]
    return str(links[0].target).rpartition("/")[2]


def test_hosts_with_the_same_content_under_another_name_are_asked_nothing_about_the_release() -> None:
    fleet = Fleet(TOML.replace("[deploy]", '[deploy]\nhooks = { migrate = "true" }'))
    fleet.push(release())
    hosts = list(fleet.inventory.hosts.values())
    for number in (0, 1):  # one after the other, as Fabric goes, each under a name of its own
        plan = make_plan(fleet.inventory, hosts[number : number + 1], fleet.facts, release("2")._replace(name="r3"))
        name = f"other{number + 1}"
        one = hosts[number].name
        fleet.facts[one] = fleet.facts[one]._replace(
            current=name, releases=(ReleaseFact(name, "digest-2", plan_environment(plan)),)
        )
    plan = fleet.plan(release("2")._replace(name="r3"))
    assert plan.release == "other2"
    assert [step.host for step in plan.once] == ["app3"]
    assert not any(step.kind == "upload" for step in plan.hosts["app1"].steps)
    simulation = Simulation(hosts, fleet.facts)
    compatibility.check(fleet.inventory, hosts, plan, simulation)
    assert {host for host, _ in simulation.done} == {"app3"}
