"""`multi reload`."""

from __future__ import annotations

import time
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.nodes import (
    NodesCommand,
    Request,
    nodes_argument,
    refuse_broken_environment,
    state_dir_option,
)
from multi.cli.screen import Screen, complain
from multi.cli.stop import ALL
from multi.controller import managed
from multi.controller import stop as stopping
from multi.controller.keeper.node import RELOADING, RUNNING
from multi.controller.managers.base import Errand, ManagerError, Standing
from multi.controller.node import Node
from multi.controller.watch import Watch

_LOOK = 1.0
_PAUSE = 0.2  # between looks at a unit, whose manager tells nobody when it changes
_NOT_READY = "the new generation did not get ready"


@click.command(cls=NodesCommand)
@nodes_argument
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=60.0,
    help="How long to wait until the new generations are ready (60).",
)
@ALL
@state_dir_option
@click.pass_context
def reload(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Load new code without a gap: the next generation of a node is ready before the present one stops fetching.

    \b
    multi reload w1 w2
    """
    request = Request(ctx, given)
    chosen = request.nodes(nodes)
    refuse_broken_environment([(node, node.record() or {}) for node in chosen if node.manager is None])
    request.screen.header()
    ctx.exit(reload_all(request.screen, chosen, given["timeout"]))


def reload_all(screen: Screen, nodes: list[Node], timeout: float) -> int:
    """Reload them, and tell of each; the exit code."""
    screen.section("Reloading nodes...")
    code = DONE
    pending: dict[str, tuple[Node, int]] = {}
    of_units = [node for node in nodes if node.manager is not None and not node.has_own_keeper]
    for node in of_units:
        code = max(code, _by_unit(screen, node, timeout))
    with Watch() as watch:
        for node in nodes:
            if node in of_units:
                continue
            status = stopping.settled(node)
            before = int(status.record.get("generation", 0))
            if status.state != RUNNING:
                complain(f"{node} is {status.state}; a node that is running can be reloaded")
                code = FAILED
            else:
                watch.directory(node.place.run)
                node.ask("reload")
                pending[str(node)] = (node, before)
        deadline = time.monotonic() + timeout
        while pending:
            for name, (node, before) in [*pending.items()]:
                if (result := _look(screen, node, before)) is not None:
                    code = max(code, result)
                    del pending[name]
            left = deadline - time.monotonic()
            if pending and left <= 0:
                for node, _ in pending.values():
                    complain(f"{node}: its next generation is not ready after {timeout:g} s; it goes on trying")
                return FAILED
            if pending:
                watch.wait(min(left, _LOOK))  # a keeper that is killed writes nothing
    return code


def _by_unit(screen: Screen, node: Node, timeout: float) -> int:
    """Reload a node that systemd runs, and wait until its main process is the new one; the exit code."""
    unit = node.unit
    assert unit is not None
    before = unit.standing
    if before.state != RUNNING:
        complain(f"{node} is {before.state}; a node that is running can be reloaded")
        return FAILED
    deadline = time.monotonic() + timeout
    try:
        errand = unit.reload()
    except ManagerError as error:
        screen.item(node, "FAILED, the present worker goes on", good=False)
        complain(f"{node}: {error}")
        return FAILED
    try:
        return _followed(screen, node, before, errand, timeout, deadline)
    finally:
        errand.close()


def _followed(screen: Screen, node: Node, before: Standing, errand: Errand, timeout: float, deadline: float) -> int:
    """What becomes of the reload of a unit."""
    unit = node.unit
    assert unit is not None
    trouble = ""
    was_seen = is_sent = False
    while not trouble and time.monotonic() < deadline:
        if not is_sent and managed.is_over(errand):
            is_sent = True
            trouble = errand.trouble()
            if trouble.startswith("Job for "):
                trouble = _NOT_READY  # whichever is seen first, the job's end or the unit's state
            elif "not applicable" in trouble:
                trouble = f"its unit knows no reload, since its program has none; to restart it: multi restart {node.name.short}"
        found = unit.standing
        if found.state == RUNNING and found.pid != before.pid:
            screen.item(node, f"OK (pid {found.pid})", good=True)
            return DONE
        if was_seen and found.state == RUNNING:
            trouble = _NOT_READY
        elif not found.runs:
            screen.item(node, f"FAILED, it is {found.state} now", good=False)
            complain(f"{node}: {found.message or 'it has ended'}")
            return FAILED
        was_seen = was_seen or found.state == RELOADING
        time.sleep(_PAUSE)
    if not trouble:
        complain(f"{node}: its next generation is not ready after {timeout:g} s; it goes on trying")
        return FAILED
    screen.item(node, "FAILED, the present worker goes on", good=False)
    complain(f"{node}: {trouble}; see `multi logs {node.name.short}`")
    return FAILED


def _look(screen: Screen, node: Node, before: int) -> int | None:
    """Whether the reload of this node is over: its exit code."""
    status = node.status()
    news = status.record.get("reload") or {}
    if news.get("generation", 0) > before and news.get("state") == "done":
        worker = status.worker or {}
        screen.item(node, f"OK (pid {status.keeper_pid}, worker {worker.get('pid')})", good=True)
        return DONE
    if news.get("generation", 0) > before and news.get("state") == "failed":
        screen.item(node, "FAILED, the present worker goes on", good=False)
        complain(f"{node}: {news.get('message')}; see `multi logs {node.name.short}`")
        return FAILED
    if not status.is_up:
        screen.item(node, f"FAILED, it is {status.state} now", good=False)
        return FAILED
    return None
