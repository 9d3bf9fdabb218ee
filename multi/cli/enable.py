"""`multi enable`, `multi disable`: which nodes come back after a reboot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from multi.cli import stop as stopping
from multi.cli.group import DONE
from multi.cli.guard import FORCE, refuse_last_consumers
from multi.cli.install import carry_out, refuse_words, turning, where
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.policy import SPAN
from multi.cli.stop import ladder_options
from multi.controller import boot, installed, project
from multi.controller import stop as stopper
from multi.controller.applying_units import release
from multi.controller.installation import Host, find_host
from multi.controller.installed import Installed
from multi.controller.node import Node
from multi.controller.project import Project
from multi.errors import NodeError
from multi.nodes.spec import NodeSpec


@click.command(cls=NodesCommand)
@nodes_argument
@where
@click.option("--now", is_flag=True, help="Hand them over at once, not when the machine is started.")
@turning
@click.pass_context
def enable(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Let the nodes that run now come back after a reboot, as they are: as units of systemd, or of supervisord.

    They run on as they do; with --now their manager takes them over at once. What is run by a unit already is only marked to
    be started at boot.

    \b
    multi enable
    multi enable w1 w2 --now
    multi enable --supervisord /etc/supervisor/supervisord.conf
    """
    request = Request(ctx, given)
    refuse_words(request, "they come back as they are; multi restart changes them")
    every = request.nodes(nodes) if nodes else request.fleet.all()
    home = _home(request, every)
    noted = installed.read(request.fleet.places, home) if home is not None else {}
    chosen = given["user"] is not None or given["supervisord"]
    host = find_host(None, user=given["user"], config=given["supervisord"]) if chosen else None
    marks: dict[str, list[str]] = {}
    new = []
    for node in every:
        manager = _mark(request, home, noted, node, host)
        if manager is not None:
            marks.setdefault(manager, []).append(node.name.short)
        elif node.status().is_up:
            new.append(node)
        elif nodes:
            raise NodeError(f"{node} does not run; start it first: multi start {node.name.short}")
    if not new and not marks:
        raise NodeError(
            "no node runs here, so there is nothing to come back; start them first: multi start, or multi up"
        )
    if not new:
        assert home is not None
        ctx.exit(_join(request, home, noted, marks, given))
    host = host or find_host(None, user=None, config=None)
    before = noted.get(host.manager)
    mine = marks.pop(host.manager, [])
    off = {*before.units} - boot.starting(before) - {*mine} if before is not None else set()
    specs = _specs(request, home, before, new)
    code = carry_out(request, host, specs, given, turn=bool(given["now"]), off=off - {node.name.short for node in new})
    if marks and home is not None:
        code = max(code, _join(request, home, noted, marks, {**given, "as_json": False}))
    ctx.exit(code)


def _mark(
    request: Request, home: Project | None, noted: dict[str, Installed], node: Node, host: Host | None
) -> str | None:
    """The manager that has the node already, and need only start it with the machine again; None where there is more to do."""
    if home is None or (node.manager is None and node.status().is_up):
        return None
    for one in noted.values():
        if host is not None and (one.manager, one.user, one.config) != (host.manager, host.user, host.config):
            continue
        if node.name.short in one.units and boot.can_join(request.fleet.places, home, one, node.name.short):
            return one.manager
    return None


def _join(
    request: Request,
    home: Project,
    noted: dict[str, Installed],
    marks: dict[str, list[str]],
    given: dict[str, Any],
) -> int:
    """Have units that are there started with the machine; the exit code."""
    screen = request.screen
    screen.quiet = screen.quiet or given["as_json"]
    screen.header()
    shown = []
    for manager, names in marks.items():
        one = noted[manager]
        who = Host(one.manager, one.user, one.config)
        there = boot.starting(one)
        missing = [name for name in names if name not in there]
        shown += [{"node": name, "manager": manager, "changed": name in missing} for name in names]
        if not missing:
            many = "s" * (len(names) != 1)
            screen.section(
                f"Nothing to do: {len(names)} node{many} of {who} start{'' if many else 's'} with the machine."
            )
            continue
        screen.section(f"{'Would start' if given['dry_run'] else 'Starting'} with the machine again, by {who}:")
        for name in missing:
            screen.line(f"    {name}")
        if not given["dry_run"]:
            boot.join(request.fleet.places, home, one, missing)
    if given["as_json"]:
        click.echo(json.dumps({"nodes": shown}, indent=1))
    return DONE


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--now", is_flag=True, help="Stop them, too, and remove their units.")
@ladder_options
@click.option("--timeout", type=SPAN, metavar="SPAN", help="With --now: how long to wait for their end (for ever).")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@FORCE
@json_option
@state_dir_option
@click.pass_context
def disable(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Nodes that are units are no longer started with the machine. They run on, unless --now stops them.

    \b
    multi disable
    multi disable w1 --now
    """
    request = Request(ctx, given)
    places, screen = request.fleet.places, request.screen
    every = request.nodes(nodes) if nodes else request.fleet.all()
    home = _home(request, every)
    noted = installed.read(places, home) if home is not None else {}
    named = {node.name.short for node in every} if nodes else None
    screen.quiet = screen.quiet or given["as_json"]
    screen.header()
    code = DONE
    shown: list[dict[str, Any]] = []
    for one in noted.values():
        names = [name for name in one.units if named is None or name in named]
        if not names:
            continue
        assert home is not None
        who = Host(one.manager, one.user, one.config)
        would = given["dry_run"]
        screen.section(f"{'Would no longer start' if would else 'No longer starting'} with the machine, by {who}:")
        for name in names:
            more = f"  ({'would be ' * would}stopped, and its unit removed)" if given["now"] else ""
            screen.line(f"    {name}{more}")
        shown += [{"node": name, "unit": one.units[name], "manager": one.manager} for name in names]
        if would:
            continue
        gone = [node for node in every if node.name.short in names and node.manager is not None]
        if given["force"]:
            gone = [node for node in gone if not node.beyond]  # its manager is gone for good
        if given["now"] and not given["force"]:
            refuse_last_consumers(request.fleet, gone)
        boot.leave(places, home, one, names)
        if given["now"]:
            stops = stopping.send(screen, [stopper.begin(node) for node in gone], given)
            code = max(code, stopping.wait(screen, stops, given["timeout"]))
            if code == DONE:
                release(places, home, one, names)
    if not shown:
        raise NodeError("no unit of these was installed here; multi status shows who runs the nodes")
    if given["as_json"]:
        click.echo(json.dumps({"nodes": shown}, indent=1))
    ctx.exit(code)


def _home(request: Request, nodes: Sequence[Node]) -> Project | None:
    """The project that the nodes are of; outside of any folder of a project's they may tell it by their names."""
    homes = {node.place.project for node in nodes}
    if request.fleet.current is None and len(homes) == 1:
        return homes.pop()
    return request.fleet.current


def _specs(request: Request, home: Project | None, before: Installed | None, new: Sequence[Node]) -> list[NodeSpec]:
    """What the nodes are: those that run by themselves as they were started; those that are units already as multi.toml
    describes them, or as they were when they became units."""
    there = before.units if before is not None else {}
    described: dict[str, NodeSpec] = {}
    folder = home.location if home is not None and home.location else request.cwd
    if there and project.find_file(folder) is not None:
        described = {node.name: node.spec for node in project.description(folder).check().nodes}
    kept = {node.name.short: node.spec() for node in [*(request.fleet.siblings(new[0])), *new]}
    alone = {node.name.short for node in new if node.manager is None}
    found = []
    for name in dict.fromkeys([*there, *(node.name.short for node in new)]):
        spec = (None if name in alone else described.get(name)) or kept.get(name) or described.get(name)
        if spec is None:
            raise NodeError(f"nothing is known here of how {name} is run: multi.toml doesn't describe it")
        found.append(spec)
    return found


__all__: list[str] = ["disable", "enable"]
