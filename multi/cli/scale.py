"""`multi scale`."""

from __future__ import annotations

import os
from typing import Any

import click

from multi.cli import stop as stop_command
from multi.cli.arguments import state_dir_option
from multi.cli.files import record_of, refuse_shared_files
from multi.cli.group import DONE
from multi.cli.guard import FORCE, refuse_last_consumers
from multi.cli.nodes import NodesCommand, Request
from multi.cli.policy import SPAN
from multi.cli.start import report
from multi.controller import described, project, scaling
from multi.controller import start as starting
from multi.controller import stop as stopping
from multi.controller.node import Node
from multi.controller.scaling import Change
from multi.controller.start import Start
from multi.errors import ConfigurationError, MultiError


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    try:
        nodes = Request(ctx, dict(ctx.params)).fleet.all()
    except MultiError:
        return []
    names = {node.name.short.rstrip("0123456789") for node in nodes if node.name.short[-1].isdecimal()}
    return [f"{name}=" for name in sorted(names) if name.startswith(incomplete)]


@click.command(cls=NodesCommand)
@click.argument("targets", nargs=-1, shell_complete=_complete)
@click.option("--quit-after", type=SPAN, metavar="SECONDS", help="When stopping: QUIT after this time.")
@click.option("--kill-after", type=SPAN, metavar="SECONDS", help="When stopping: KILL after this time.")
@click.option(
    "--timeout",
    type=SPAN,
    metavar="SECONDS",
    default=starting.TIMEOUT,
    help="How long to wait until nodes are ready (60).",
)
@FORCE
@state_dir_option
@click.pass_context
def scale(ctx: click.Context, /, targets: tuple[str, ...], **given: Any) -> None:
    """Change how many nodes there are: w=5 means w1 to w5.

    Those that are missing are started as w1 is kept (or the lowest number that there is), those that are too many are
    stopped when what they run is done, the highest first. What is kept of nodes stays, also with w=0.

    \b
    multi scale w=5
    multi scale w=+1 images=2
    multi scale w=0
    """
    request = Request(ctx, given)
    screen = request.screen
    if not targets:
        raise ConfigurationError("how many of which nodes? Say it as in: multi scale w=5")
    wanted = [scaling.parse(text) for text in targets]
    names = [target.name for target in wanted]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(f"{twice[0]} is given twice")
    changes = [scaling.change(request.fleet, target) for target in wanted]
    surplus = [node for change in changes for node in change.surplus]
    starts = _starts(changes)
    if surplus and not given["force"]:
        refuse_last_consumers(request.fleet, surplus)
    screen.header()
    for change in changes:
        screen.section(f"{change.name}: {change.running} -> {change.wanted}" + (_same(change)))
    code = DONE
    if starts:
        screen.section("Starting nodes...")
        code = report(screen, starts, given["timeout"])
    if surplus:
        stops = stop_command.send(screen, [stopping.begin(node) for node in surplus], {**given, "signal_name": "TERM"})
        code = max(code, stop_command.wait(screen, stops, None))
    for change in changes:
        for line in _differs(change):
            screen.line(f"> {line}")
    ctx.exit(code)


def _same(change: Change) -> str:
    return "" if change.known or change.new or change.surplus else ", nothing to do"


def _starts(changes: list[Change]) -> list[Start]:
    starts = []
    records: list[tuple[Node, dict[str, Any]]] = []
    for change in changes:
        for node in change.known:
            spec = node.spec()
            if spec is not None:
                spec.check()
                records.append((node, node.record() or {}))
                starts.append(Start(node, None, spec.environment))
        for node, spec, source in change.new:
            spec.check()
            record = record_of(node, spec)
            known = described.known(change.template, spec, source, change.template.status())
            if known.env is not None:
                record = described.with_env(record, known.env)
            records.append((node, record))
            starts.append(Start(node, record, spec.environment))
    refuse_shared_files(
        [*records, *((change.template, change.template.record() or {}) for change in changes if change.new)]
    )
    return starts


def _differs(change: Change) -> list[str]:
    """That the description which the nodes are from says another number, and what follows from that."""
    record = change.template.record() or {}
    path = record.get("description")
    if not path:
        return []
    try:
        nodes = project.description(os.path.dirname(path), path).check().nodes
    except ConfigurationError:
        return [f"{path} can't be compared, it has errors: multi check tells them"]
    count = sum(scaling.number_of(change.name, node.name) is not None for node in nodes)
    if count == change.wanted:
        return []
    back = f"{path} describes {count} of {change.name}: `multi up` goes back to that, unless you write"
    return [f"{back} count = {change.wanted} into [nodes.{record.get('section')}]"]
