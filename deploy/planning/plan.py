"""What has to be done on each host, and why: the description and the facts of the hosts make a plan. Pure: no host is touched.

A fleet that is as it should be gives an empty plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from multi.deploy import steps as kinds
from multi.deploy.hosts.facts import HostFacts
from multi.deploy.hosts.inventory import SOME_HOST, Host, Inventory
from multi.deploy.planning.coverage import covered
from multi.deploy.planning.hostplan import HostPlanner
from multi.deploy.planning.rendering import Renderer
from multi.deploy.releases.wanted import Kept, Release, hook, secrets_text, shown
from multi.deploy.steps import ONCE, SWITCH, HostPlan, Plan, Secret, Step


def make_plan(
    inventory: Inventory,
    hosts: Sequence[Host],
    facts: Mapping[str, HostFacts],
    release: Release | None,
    *,
    renderer: Renderer | None = None,
    secrets: Mapping[str, Secret] | None = None,
    kept: Mapping[str, Kept] | None = None,
    password: bool = False,
    serial: Sequence[int | str] | None = None,
    assume: bool = False,
) -> Plan:
    """The plan for these hosts. Without a release their units alone are brought into line, and nodes that are down started.

    `secrets` are the secret variables by name; `password`: that of sudo is known. `kept`, by host, stands for
    the description where a host goes back to `release` as it was (`rollback`). `serial` stands for that of the description.
    `facts` may tell of further hosts, whose nodes count as consumers; with `assume` those of hosts it doesn't tell of, too.
    """
    renderer = renderer or Renderer(inventory, secrets=secrets)
    if release is not None and not release.is_there:
        release = _known(release, facts.values())
    text = secrets_text(secrets) if secrets else None
    plans: dict[str, HostPlan] = {}
    for host in hosts:
        planner = HostPlanner(
            inventory,
            host,
            facts[host.name],
            release,
            renderer,
            secrets=text,
            kept=(kept or {}).get(host.name),
            password=password,
        )
        plans[host.name] = planner.plan()
    notes = [
        f"{node.name} is one in the project and runs on {inventory.places(node.name)[0]} only"
        for node in inventory.description.nodes
        if node.spec.singleton and _fits_several(inventory, node.name)
    ]
    notes += _same_names(inventory, hosts)
    once = (*_gone_singletons(inventory, plans), *_migrations(inventory, hosts, plans, release))
    name = release.name if release is not None else None
    return covered(
        Plan(inventory.project, name, plans, [], once, tuple(notes)), inventory, facts, serial, assume=assume
    )


def _known(release: Release, facts: Iterable[HostFacts]) -> Release:
    """The release under the name that it has on hosts already, so that all of them end on one."""
    names = [found.name for one in facts if (found := one.by_digest(release.digest)) is not None]
    return release._replace(name=max(names)) if names else release


def _same_names(inventory: Inventory, hosts: Sequence[Host]) -> list[str]:
    """Nodes that are told by one name on several hosts: whoever asks one of them by name is answered by any."""
    found = []
    for host in hosts[:1]:
        for spec in inventory.nodes(host):
            places = inventory.places(spec.name.short)
            if SOME_HOST not in spec.name.host and len(places) > 1:
                found.append(f"{spec.name} is on {len(places)} hosts under this one name; put %h into its hostname")
    return found


def _fits_several(inventory: Inventory, node: str) -> bool:
    return len(inventory.fitting(node)) > 1


def _gone_singletons(inventory: Inventory, plans: dict[str, HostPlan]) -> list[Step]:
    """Stops of nodes of which there is to be one, and which now run elsewhere: before any host starts its own."""
    single = {node.name for node in inventory.description.nodes if node.spec.singleton}
    found = []
    for name, plan in plans.items():
        gone = single.difference(inventory.names(inventory.hosts[name]))
        moved = [step for step in plan.steps if step.kind == kinds.STOP and step.node in gone and step.phase == SWITCH]
        if moved:
            found += [step._replace(phase=ONCE) for step in moved]
            plans[name] = plan._replace(steps=tuple(step for step in plan.steps if step not in moved))
    return found


def _migrations(
    inventory: Inventory, hosts: Sequence[Host], plans: Mapping[str, HostPlan], release: Release | None
) -> list[Step]:
    """The hooks that run once for the fleet: on the first host that gets another release."""
    commands = inventory.settings.hooks.get("migrate", ())
    if release is None or release.is_there or not commands:
        return []
    chosen = next((host for host in hosts if plans[host.name].switches_to(release.name)), None)
    if chosen is None:
        return []
    return [
        Step(
            chosen.name,
            kinds.HOOK,
            f"migrate: {shown(words)}",
            "once for the fleet, before any node runs the release",
            hook(chosen, words, release.name),
            ONCE,
        )
        for words in commands
    ]
