"""`multi restart`."""

from __future__ import annotations

from typing import Any

import click

from multi.cli import stop as stop_command
from multi.cli.group import DONE
from multi.cli.nodes import NodesCommand, Request, nodes_argument, record_of, refuse_shared_files, state_dir_option
from multi.cli.start import policy_options, show, specification
from multi.cli.stop import ALL
from multi.controller import start as starting
from multi.controller import stop as stopping
from multi.controller.start import Result, Start
from multi.controller.watch import Watch
from multi.nodes.spec import difference


@click.command(cls=NodesCommand, passes_on=True)
@nodes_argument
@click.option(
    "--signal", "signal_name", metavar="SIGNAL", default="TERM", help="TERM, INT, QUIT or KILL; also as -QUIT."
)
@policy_options
@ALL
@state_dir_option
@click.pass_context
def restart(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Stop nodes and start them again: as they were, or with what is given changed and shown.

    A node that is down is just started. To load new code without a gap, send HUP to the pid in the pidfile instead.

    \b
    multi restart w1 w2
    multi restart w1 -c 8
    """
    request = Request(ctx, given)
    screen = request.screen
    chosen = request.nodes(nodes, to_start=not given["every"])
    screen.header()
    specs = [(node, *specification(request, node, anew=False)) for node in chosen]
    records = [(node, record_of(node, spec)) for node, spec, _ in specs]
    refuse_shared_files(records)
    for node, spec, old in specs:
        if old is not None:
            for line in difference(old, spec):
                screen.item(node, line)
    starts = {
        str(node): Start(node, record, spec.env) for (node, spec, _), (_, record) in zip(specs, records, strict=True)
    }
    stops = stop_command.send(screen, [stopping.begin(node) for node in chosen], given)
    going_down = {str(each.node) for each in stops}
    begun = []
    code = DONE
    with Watch() as watch:
        for name, one in starts.items():
            one.node.place.make()
            if name not in going_down:
                one.begin(watch)
                begun.append(one)
        if stops:
            stop_command.announce(screen, stops)
        for down in stopping.wait_down(stops):
            code = max(code, stop_command.show(screen, down))
            begun.append(starts[str(down.node)])
            begun[-1].begin(watch)
        for news in starting.follow(begun, watch, given["timeout"]):
            if isinstance(news, Result):
                code = max(code, show(screen, news, given["timeout"], restarted=str(news.node) in going_down))
    ctx.exit(code)
