"""Fleets of deploys in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from multi.deploy.connections.simulation import Fault, Simulation
from multi.deploy.hosts.facts import HostFacts
from multi.deploy.hosts.inventory import Inventory
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases.wanted import Release
from multi.deploy.rollout.report import Event, Report
from multi.deploy.rollout.runner import Runner
from multi.deploy.steps import Plan
from multi.nodes.description import describe

TOML = """
name = "shop"
[defaults]
app = "shop.tasks"
[deploy]
serial = [1, "50%"]
min_healthy_time = 0
[hosts."app[1:4]"]
[nodes.w]
count = 2
"""


def inventory(text: str = TOML, **more: Any) -> Inventory:
    return Inventory(describe(text, "/home/me/shop/multi.toml", host="here").check(), text, **more)


def release(version: str = "1", **more: Any) -> Release:
    given = {"requirements": "requirements.lock", "requirements_digest": "r1", "has_multi": True, **more}
    return Release(f"r{version}", version, f"digest-{version}", **given)


def fresh(*names: str, **more: Any) -> dict[str, HostFacts]:
    """Hosts with systemd, on which nothing has been deployed."""
    given: dict[str, Any] = {
        "hostname": "h",
        "user": "deploy",
        "uid": 1000,
        "home": "/home/deploy",
        "sudo": "free",
        "python": "3.12.1",
        "systemd": 252,
        "disk_free": 10 << 30,
        "clock": 1000.0,
    }
    return {name: HostFacts(name, **{**given, **more}) for name in names}


class Fleet:
    """A description's hosts in memory, to which releases are pushed."""

    def __init__(self, text: str = TOML, facts: dict[str, HostFacts] | None = None) -> None:
        self.inventory = inventory(text)
        self.facts = facts or fresh(*self.inventory.hosts)
        self.done: list[tuple[str, str]] = []

    def plan(self, wanted: Release | None, **more: Any) -> Plan:
        return make_plan(self.inventory, list(self.inventory.hosts.values()), self.facts, wanted, **more)

    def push(self, wanted: Release | None, faults: Iterable[Fault] = (), **more: Any) -> bool:
        return self.report(wanted, faults, **more).ok

    def report(
        self,
        wanted: Release | None,
        faults: Iterable[Fault] = (),
        meddle: Callable[[Simulation], None] = lambda _: None,
        **more: Any,
    ) -> Report:
        """What a push comes to; `meddle` may change what the hosts are like."""
        hosts = list(self.inventory.hosts.values())
        simulation = Simulation(hosts, self.facts, faults=faults)
        meddle(simulation)
        self.said: list[str] = []
        report = Runner(self.plan(wanted, **more), hosts, simulation, self._tell).run()
        self.facts, self.done = simulation.facts, simulation.done
        return report

    def _tell(self, event: Event) -> None:
        self.said.append(f"{event.host} {event.text}".strip())

    def ages(self) -> set[tuple[str | None, str | None]]:
        """The release that is current and the one that runs, of all hosts and nodes."""
        return {(one.current, node.release) for one in self.facts.values() for node in one.nodes.values()}

    def of(self, host: str) -> list[str]:
        return [line for name, line in self.done if name == host]
