"""Keeps queues from losing their last consumer on this host by mistake."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from multi.controller import activity
from multi.controller.fleet import Fleet
from multi.controller.keeper.node import RELOADING, RUNNING
from multi.controller.node import Node, Status
from multi.topology import is_own

#: What a worker consumes from that was not told otherwise.
DEFAULT_QUEUE = "celery"


class Uncovered(NamedTuple):
    """A queue that nobody here would consume from any more."""

    queue: str
    consumers: list[Node]  # that do it now, and are to go
    staying: list[Node]  # that stay up, and don't consume from it


def queues_of(node: Node, status: Status) -> set[str]:
    """What a node consumes from now: as its page tells, or where there is none, as it was started."""
    if status.state not in (RUNNING, RELOADING):
        return set()
    found = activity.of(node, status)
    if found is not None:
        return set(found.queues)
    record = node.record() or {}
    if record.get("kind", "worker") != "worker":
        return set()
    given = (record.get("kept") or {}).get("options", {}).get("queues")
    paused = set(status.record.get("paused") or ())
    if "*" in paused:
        return set()
    return {queue.strip() for queue in str(given or DEFAULT_QUEUE).split(",")} - paused


def uncovered(fleet: Fleet, going: Iterable[Node], *, whole: bool = False) -> list[Uncovered]:
    """The queues that lose their last consumer when the nodes in `going` stop consuming, while other nodes of the same
    project stay up. A project whose nodes all go leaves nothing to be guarded, unless the `whole` is to be, too."""
    projects: dict[str, list[Node]] = {}
    for node in going:
        projects.setdefault(node.place.project.key, []).append(node)
    found = []
    for leaving in projects.values():
        names = {str(node) for node in leaving}
        staying: list[Node] = []
        kept: set[str] = set()
        lost: dict[str, list[Node]] = {}
        for node in fleet.siblings(leaving[0]):
            status = node.status()
            if not status.has_keeper:
                continue
            queues = queues_of(node, status)
            if str(node) in names:
                for queue in queues:
                    if is_own(queue, str(node)):
                        continue  # nobody else could consume from it
                    lost.setdefault(queue, []).append(node)
            else:
                kept |= queues
                if status.state in (RUNNING, RELOADING):
                    staying.append(node)
        if staying or whole:
            found += [Uncovered(queue, lost[queue], staying) for queue in sorted(lost) if queue not in kept]
    return found
