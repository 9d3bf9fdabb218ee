"""Refuses what would leave a queue without a consumer, unless it is told to."""

from __future__ import annotations

import click

from multi.controller.fleet import Fleet
from multi.controller.guard import Uncovered, uncovered
from multi.controller.node import Node
from multi.errors import NodeError

FORCE = click.option(
    "--force", is_flag=True, help="Also where a queue loses its last consumer here while other nodes stay up."
)


def refuse_last_consumers(fleet: Fleet, going: list[Node], *, whole: bool = False, reloads: bool = False) -> None:
    """Raise an error that names the queues which these nodes are the last ones here to consume from. `reloads` tells that
    `multi reload` would do what they are to go down for."""
    found = uncovered(fleet, going, whole=whole)
    if not found:
        return
    names = list(dict.fromkeys(node.name.short for one in found for node in one.consumers))
    queues = ", ".join(dict.fromkeys(one.queue for one in found))
    way = (
        f"to load new code without a gap use: multi reload {' '.join(names)}"
        if reloads
        else f"or have another node consume from {queues} first"
    )
    raise NodeError(f"{refused(found)}. To do it all the same add --force; {way}")


def refused(found: list[Uncovered]) -> str:
    """That it isn't done, and why."""
    return f"refused: {'; '.join(map(_told, found))}"


def _told(one: Uncovered) -> str:
    last = " and ".join(str(node) for node in one.consumers)
    verb = "is the last node" if len(one.consumers) == 1 else "are the last nodes"
    stay = f", while {', '.join(node.name.short for node in one.staying)} stay{'s' * (len(one.staying) == 1)} up"
    return f"{last} {verb} here to consume from the queue {one.queue!r}{stay if one.staying else ''}"
