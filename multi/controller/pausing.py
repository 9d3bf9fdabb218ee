"""Stops and takes up the consuming of nodes whose processes go on."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from multi.controller import activity
from multi.controller.keeper import channel
from multi.controller.keeper.node import RELOADING, RUNNING
from multi.controller.node import Node, Status
from multi.errors import NodeError
from multi.rundir import RunDir

EVERY = "*"


def paused(status: Status) -> list[str]:
    """The queues that a node was told not to consume from; `*` for all."""
    found: list[str] = list(status.record.get("paused") or ())
    return found


def ask(node: Node, request: str, queues: Sequence[str]) -> bool:
    """Let a node's keeper `pause` or `resume` these queues, none meaning all; False when no keeper listens."""
    status = node.status()
    if any(worker.get("foreign") for worker in status.workers):
        return _ask_foreign(node, status, request, queues)
    return node.ask(request, queues=",".join(queues) or EVERY)


def _ask_foreign(node: Node, status: Status, request: str, queues: Sequence[str]) -> bool:
    """The same for a worker that was adopted while it ran: it hears its broker only, and must be told each queue by name. The
    keeper is told as well, for the worker that follows."""
    from multi.controller import asking  # speaks to brokers, which few nodes need

    if not asking.can_ask(node):
        raise NodeError(
            f"{node} was adopted while it ran, and its project did not tell where it can be asked; after a restart it can be "
            f"paused: multi restart {node.name.short}"
        )
    if request == "pause":
        found = asking.activity(node)
        meant = [*queues] or (found.queues if found is not None else [])
        did = bool(found) and asking.leave(node, meant)
    else:
        meant = [*queues] or paused(status)
        did = asking.take_up(node, meant)
    if not did:
        raise NodeError(
            f"{node} does not answer through its broker; it may be busy in its only process, try again later"
        )
    return node.ask(request, queues=",".join(meant)) if meant else True


def is_of_older(status: Status) -> bool:
    """Whether the node's keeper was started by a version of multi that knew no pause, and would not hear of one."""
    return "version" in status.record and "paused" not in status.record


def is_deaf(node: Node, status: Status) -> bool:
    """Whether the worker at work has no ear for orders, as those of older versions."""
    worker = status.worker
    if worker is None or not worker.get("ready") or worker.get("foreign"):
        return False
    address = channel.address(RunDir(node.place.run, worker["generation"]).control)
    if not address.startswith("@"):
        return not os.path.exists(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect("\0" + address[1:])
        except ConnectionRefusedError:
            return True  # nobody has this name
    return False


def is_paused(node: Node, status: Status, queues: Sequence[str]) -> bool | None:
    """Whether the node consumes from none of these queues (none given: from no queue at all) now, as its page tells; None
    where it has no page."""
    found = activity.of(node, status)
    if found is None:
        return None
    return not found.queues if not queues else not {*found.queues} & {*queues}


def is_resumed(node: Node, status: Status, queues: Sequence[str]) -> bool | None:
    """Whether it consumes again from all of these queues (none given: whether nothing is paused any more); None where it has
    no page."""
    found = activity.of(node, status)
    if found is None:
        return None
    if queues:
        return {*queues} <= {*found.queues}
    return not paused(status) and bool(found.queues)


class Idle:
    """A node that consumes nothing until it has nothing to do any more; taken back, it is as it was before."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._before: list[str] = []
        self.has_begun = False

    def begin(self) -> None:
        """Let it consume nothing new."""
        self.has_begun = True
        self._before = paused(self.node.status())
        if EVERY not in self._before:
            ask(self.node, "pause", ())

    def take_back(self) -> None:
        """Let it, or the worker that follows, consume as before."""
        if self.has_begun and EVERY not in self._before:
            ask(self.node, "resume", ())
            if self._before:
                ask(self.node, "pause", self._before)
        self.has_begun = False

    def is_reached(self) -> bool:
        """Whether nothing runs in it; a node that is not up has nothing to do."""
        status = self.node.status()
        if status.state not in (RUNNING, RELOADING):
            return True
        found = activity.of(self.node, status)
        return found is not None and not found.active and not found.queues
