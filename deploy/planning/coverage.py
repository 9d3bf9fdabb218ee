"""Queues keep a consumer while a fleet is rolled: who goes at the same time, and what speaks against it.

At any moment each host of a batch may have one of its nodes down. Batches are made so that even then no queue is without a
node that consumes it, as far as that can be: what is consumed by a single node of the description has its gap anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from multi.deploy import steps as kinds
from multi.deploy.hosts.facts import RUNNING, HostFacts
from multi.deploy.hosts.inventory import Inventory
from multi.deploy.planning.managers import node_of
from multi.deploy.steps import SWITCH, HostPlan, Plan, batch_size
from multi.nodes.spec import NodeSpec

#: Where a node names no queues.
_DEFAULT = "celery"
_TOLD = 3


class _Turn(NamedTuple):
    """What a host's turn means for the queues: how many of their consumers are down at once at the worst, and how many there are
    more (or fewer) afterwards."""

    down: Counter[str]
    gain: Counter[str]


class Coverage:
    """The consumers of a fleet, as far as its facts tell: of hosts that don't, none are known. With `assume` hosts that were not
    asked are taken to be as they are described."""

    def __init__(self, inventory: Inventory, facts: Mapping[str, HostFacts], *, assume: bool = False) -> None:
        self._inventory = inventory
        self._queues = {node.name: queues(node.spec) for node in inventory.description.nodes}
        self._wanted: Counter[str] = Counter()
        self._up: Counter[str] = Counter()
        self._running: dict[str, frozenset[str]] = {}
        # hosts are mostly alike
        known: dict[tuple[str, ...], tuple[str, ...]] = {}
        for name, host in inventory.hosts.items():
            described = tuple(inventory.names(host))
            if described not in known:
                known[described] = tuple(queue for node in described for queue in self._queues[node])
            self._wanted.update(known[described])
            fact = facts.get(name)
            if fact is not None:
                there = self._running_on(fact)
            else:
                there = frozenset(described if assume else ())
            self._running[name] = there
            for node in there:
                self._up.update(self._queues.get(node, ()))

    def _running_on(self, facts: HostFacts) -> frozenset[str]:
        up = (fact for fact in facts.nodes.values() if fact.state == RUNNING)
        nodes = (node_of(self._inventory.project, fact, facts.recorded_units) for fact in up)
        return frozenset(node for node in nodes if node is not None)

    # ---- who goes together

    def arrange(
        self, plans: Mapping[str, HostPlan], serial: Iterable[int | str]
    ) -> tuple[list[list[str]], list[str], str]:
        """The hosts that change in batches of these sizes, smaller where a queue needs it; what is to be said about that; and
        what speaks against it all the same ("": nothing)."""
        left = [name for name, plan in plans.items() if plan.of(SWITCH)]
        turns = {name: self._turn(name, plans[name]) for name in left}
        up = Counter(self._up)
        sizes, total = list(serial) or ["100%"], len(left)
        found: list[list[str]] = []
        notes: list[str] = []
        refused: dict[str, list[str]] = {}
        while left:
            size = batch_size(sizes[min(len(found), len(sizes) - 1)], total)
            batch, waiting = self._batch(left, size, turns, up)
            if not batch:
                batch = left[:1]
                for queue in self._bare(turns[batch[0]].down, up):
                    refused.setdefault(queue, []).append(batch[0])
            for name, bare, other in waiting:
                notes.append(f"{name} goes after {other}: together they would leave {_named(bare)} without a consumer")
            found.append(batch)
            taken = set(batch)
            left = [name for name in left if name not in taken]
            for name in batch:
                up.update(turns[name].gain)
        if len(notes) > _TOLD:
            notes[_TOLD:] = [f"and so with {len(notes) - _TOLD} more hosts"]
        return found, notes, _refusal(refused)

    def _batch(
        self, left: Sequence[str], size: int, turns: Mapping[str, _Turn], up: Counter[str]
    ) -> tuple[list[str], list[tuple[str, list[str], str]]]:
        batch: list[str] = []
        waiting: list[tuple[str, list[str], str]] = []
        down: Counter[str] = Counter()
        for number, name in enumerate(left):
            if len(batch) == size:
                break
            would = down + turns[name].down
            bare = [queue for queue in self._bare(would, up) if queue in turns[name].down]
            if not bare:
                batch.append(name)
                down = would
            elif number < size and batch and not self._bare(turns[name].down, up):
                waiting.append((name, bare, batch[-1]))
        return batch, waiting

    def _bare(self, down: Counter[str], up: Counter[str]) -> list[str]:
        """The queues that would have no consumer. What is to have one node only, or none, has its gap in any case; what nobody
        consumes now loses nothing."""
        return [queue for queue, count in down.items() if 0 < up[queue] <= count and self._wanted[queue] > 1]

    def _turn(self, host: str, plan: HostPlan) -> _Turn:
        """The nodes of a host go one after the other; those that are stopped for good are gone from its first step on."""
        running = self._running[host]
        started: set[str] = set()
        stopped: set[str] = set()
        groups: list[set[str]] = []
        for step in plan.of(SWITCH):
            if step.node is None:
                continue
            if step.kind == kinds.STOP:
                stopped.add(step.node)
            elif step.kind in (kinds.START, kinds.RESTART):
                groups.append({step.node, *step.also} & running)
                started.update((step.node, *step.also))
        gone = (stopped - started) & running
        gain = Counter(queue for node in started - running for queue in self._queues.get(node, ()))
        lost = Counter(queue for node in gone for queue in self._queues.get(node, ()))
        again: Counter[str] = Counter()
        for group in groups:
            again |= Counter(queue for node in group for queue in self._queues.get(node, ()))
        # what isn't up is started before anything that is goes down
        down = lost + (again - gain)
        gain.subtract(lost)
        return _Turn(down, gain)


def covered(
    plan: Plan,
    inventory: Inventory,
    facts: Mapping[str, HostFacts],
    serial: Iterable[int | str] | None = None,
    *,
    assume: bool = False,
) -> Plan:
    """The plan with batches that leave each queue a consumer, or with what speaks against it."""
    coverage = Coverage(inventory, facts, assume=assume)
    batches, notes, refusal = coverage.arrange(plan.hosts, inventory.settings.serial if serial is None else serial)
    return plan._replace(batches=batches, notes=(*plan.notes, *notes), refusal=refusal)


def queues(spec: NodeSpec) -> tuple[str, ...]:
    """What a node consumes; nothing where it is no worker."""
    if spec.kind != "worker":
        return ()
    names = [name.strip() for name in str(spec.options.get("queues") or "").split(",")]
    left_out = {name.strip() for name in str(spec.options.get("exclude_queues") or "").split(",")}
    found = dict.fromkeys(name for name in names or () if name) or {_DEFAULT: None}
    return tuple(name for name in found if name not in left_out)


def _named(queues: Sequence[str]) -> str:
    return f"the queue{'s' if len(queues) > 1 else ''} {', '.join(map(repr, queues))}"


def _refusal(refused: Mapping[str, Sequence[str]]) -> str:
    if not refused:
        return ""
    told = "; ".join(f"{' and '.join(hosts)} would leave the queue {queue!r}" for queue, hosts in refused.items())
    return (
        f"refused: {told} without a consumer, as no other node that consumes it is up. Start another one first, or do it all "
        "the same with --force"
    )
