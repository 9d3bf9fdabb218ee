"""The way back of a host: what brings it to what it was, from any point of the steps that change what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.deploy import steps as kinds
from multi.deploy.hosts.facts import RUNNING, STARTING, NodeFact
from multi.deploy.planning.managers import Supervisord
from multi.deploy.steps import SWITCH, Do, Link, Restore, Step

if TYPE_CHECKING:
    from multi.deploy.planning.switching import Switch

#: For what holds nodes together (s); nodes have their own times.
MARGIN = 120.0


class WayBack:
    """Makes the steps. Done in order, they do no harm where nothing had changed; those with a node are for nodes that a step
    had touched."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self._steps: list[Step] = []

    def steps(self) -> list[Step]:
        """All of them, in order."""
        switch = self.switch
        facts, settings = switch.facts, switch.settings
        for node in switch.turns:
            fact = facts.nodes.get(switch.rendered.units[node])
            if fact is None or fact.manager != switch.manager.name or fact.state not in (RUNNING, STARTING):
                self._add(
                    kinds.STOP,
                    f"stop {node}",
                    switch.manager.stop(switch.rendered.units[node], switch.time(node)),
                    node,
                )
        for path, backup in switch.backups.items():
            is_secrets = switch.secrets is not None and path == switch.secrets.path
            restore = Restore(path, backup, switch.manager.sudo or is_secrets)
            self._add(kinds.WRITE, f"restore {path}", restore)
        if switch.files or switch.removed:
            for manager in {switch.manager.name: switch.manager, **switch.others()}.values():
                if (command := manager.read_again()) is not None:
                    self._add(kinds.RELOAD, f"have {manager.name} read its files", command)
        if switch.is_linked:
            target = f"releases/{facts.current}" if facts.current else None
            link = Link(settings.current, target, switch.planner.given_owner)
            self._add(kinds.LINK, f"current -> {facts.current or 'nothing'}", link)
        changed = switch.changed()
        groups: set[str] = set()
        for node in switch.turns:
            unit = switch.rendered.units[node]
            fact = facts.nodes.get(unit)
            if fact is None or fact.manager != switch.manager.name or fact.state not in (RUNNING, STARTING):
                continue
            together = switch.manager.together(unit)
            nodes = {one for one, other in switch.rendered.units.items() if switch.manager.together(other) == together}
            apply = switch.manager.apply(unit, switch.time(node)) if changed & nodes else None
            if apply is not None:
                if together not in groups:  # this restarts them, as their files are what they were
                    groups.add(together)
                    self._add(kinds.RESTART, f"restart {node}", apply, node)
                continue
            self._add(kinds.RESTART, f"restart {node}", switch.manager.restart(unit, switch.time(node)), node)
        for former in (*switch.moved.values(), *switch.gone.values()):
            self._return(former)
        for name, systemd in switch.left().items():
            if name in facts.wanted and (enable := systemd.enable([name])) is not None:
                self._add(kinds.RUN, f"enable {name}", enable)
            if name in facts.active:
                self._add(kinds.RUN, f"start {name}", systemd.start(name, MARGIN))
        return self._steps

    def _return(self, fact: NodeFact) -> None:
        """A node that was stopped for good is started under its manager of before."""
        switch = self.switch
        node, manager = switch.node_of(fact), switch.manager_of(fact)
        if isinstance(manager, Supervisord) and (apply := manager.apply(fact.unit)) is not None:
            self._add(kinds.RELOAD, f"have {manager.name} take {manager.together(fact.unit)} over", apply, node)
        self._add(kinds.START, f"start {node}", manager.start(fact.unit, switch.time(node)), node)

    def _add(self, kind: str, title: str, do: Do, node: str | None = None) -> None:
        switch, watch = self.switch, None
        if node is not None and kind in (kinds.STOP, kinds.RESTART) and node in switch.rendered.units:
            watch = switch.watch(switch.manager.name, [node], [switch.rendered.units[node]])
        host = switch.planner.host.name
        self._steps.append(Step(host, kind, title, "as it was before", do, SWITCH, node, watch=watch))
