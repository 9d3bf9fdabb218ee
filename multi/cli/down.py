"""`multi down`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.guard import FORCE, refused
from multi.cli.nodes import NodesCommand, Request, json_option, state_dir_option
from multi.cli.policy import SPAN
from multi.cli.screen import complain
from multi.cli.stop import ladder_options
from multi.cli.stop import send as send_stop
from multi.cli.stop import wait as wait_down
from multi.cli.up import DRY_RUN, ONLY, WORDS, refuse_options
from multi.controller import project
from multi.controller import stop as stopping
from multi.controller.described import facts
from multi.controller.fleet import Fleet
from multi.controller.guard import uncovered
from multi.controller.node import Node
from multi.errors import ConfigurationError, NodeError
from multi.nodes.description import Described, Description
from multi.nodes.description.needs import in_waves
from multi.nodes.spec import NodeSpec


@click.command(cls=NodesCommand)
@WORDS
@ONLY
@DRY_RUN
@ladder_options
@click.option("--timeout", type=SPAN, metavar="SECONDS", help="How long to wait (for ever).")
@FORCE
@json_option
@state_dir_option
@click.pass_context
def down(ctx: click.Context, /, **given: Any) -> None:
    """Stop the nodes of multi.toml and wait until they are gone, those first that others don't depend on.

    Nodes that were started by hand under other names are left alone.

    \b
    multi down --dry-run
    multi down
    multi down --only images --timeout 10m
    """
    request = Request(ctx, given)
    screen = request.screen
    refuse_options(request)
    description = project.description(request.cwd)
    fleet = request.fleet
    waves = _to_stop(fleet, description, given["only"])
    chosen = [node for wave in waves for node in wave]
    lost = uncovered(fleet, chosen) if given["only"] and not given["force"] else []
    refusal = f"{refused(lost)}. To do it all the same add --force" if lost else ""
    if refusal and not given["dry_run"]:
        raise NodeError(refusal)
    for problem in description.problems:
        complain(f"warning: {problem}")  # what runs can be stopped all the same
    if given["as_json"]:
        screen.quiet = True
    screen.header()
    if not chosen:
        screen.section("Nothing to do: nothing of it runs.")
    elif given["dry_run"]:
        screen.section(
            f"Would be stopped for {description.path}, {'one group after the other' if waves[1:] else 'at once'}:"
        )
        for wave in waves:
            screen.line(f"    {', '.join(node.name.short for node in wave)}")
        if refusal:
            complain(f"this would be {refusal}")
    code, results = (FAILED if refusal else DONE), dict[str, str]()
    for wave in [] if given["dry_run"] else waves:
        stops = send_stop(screen, [stopping.begin(node) for node in wave], given)
        code = max(code, wait_down(screen, stops, given["timeout"]))
        results |= {node.name.short: "up" if node.status().is_up else "down" for node in wave}
        if code == FAILED:
            break  # what others depend on stays, as long as one of them does
    if given["as_json"]:
        nodes = [{"node": node.name.short, "group": number} for number, wave in enumerate(waves, 1) for node in wave]
        steps = [{**step, "action": "stop", "result": results.get(str(step["node"]))} for step in nodes]
        shown = {"description": description.path, "steps": steps, **({"refused": refusal} if refusal else {})}
        click.echo(json.dumps(shown, indent=1))
    ctx.exit(code)


def _to_stop(fleet: Fleet, description: Description, only: Sequence[str]) -> list[list[Node]]:
    """The nodes that run, in the groups in which they are stopped."""
    known = facts(fleet, description)
    described = {node.name: node for node in description.nodes}
    running: dict[str, Node] = {}
    for one in known.values:
        is_of_it = one.name in described or one.spec.description == description.path
        if is_of_it and one.is_up and (not only or one.name in only or _section(one.name, one.spec, described) in only):
            running[one.name] = known.nodes[one.name]
    if only and not running:
        every = {*description.sections(), *described, *(one.spec.section or "" for one in known.values)}
        if unknown := [group for group in only if group not in every]:
            from multi.nodes.description.problems import suggestion

            raise ConfigurationError(
                f"--only {unknown[0]}: {description.path} has no node and no table of nodes "
                f'"{unknown[0]}"{suggestion(unknown[0], every)}'
            )
    after: dict[str, list[str]] = {
        name: [need.target[0] for need in (described[name].needs if name in described else ()) if need.kind == "node"]
        for name in running
    }
    try:
        waves = in_waves(after)
    except ValueError:
        waves = [list(running)]  # a circle, which is among the description's problems
    return [[running[name] for name in wave] for wave in reversed(waves)]


def _section(name: str, spec: NodeSpec, described: dict[str, Described]) -> str:
    return described[name].section if name in described else spec.section or ""
