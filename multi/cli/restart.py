"""`multi restart`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from multi.cli import stop as stop_command
from multi.cli.group import DONE, INTERRUPTED
from multi.cli.nodes import (
    NodesCommand,
    Request,
    nodes_argument,
    record_of,
    refuse_files_of_others,
    refuse_shared_files,
    state_dir_option,
)
from multi.cli.policy import policy_options
from multi.cli.screen import Screen, complain
from multi.cli.start import check_values, show, specification
from multi.cli.stop import ALL
from multi.controller import start as starting
from multi.controller import stop as stopping
from multi.controller.start import Result, Start
from multi.controller.stop import Stop
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

    A node that is down is just started. To load new code without a gap use `multi reload`. A change that the
    node can't start with is not kept.

    \b
    multi restart w1 w2
    multi restart w1 -c 8
    """
    request = Request(ctx, given)
    screen = request.screen
    # with -A it may be a new one, as `celery multi restart` has it; without, a wrong name must not become a node
    chosen = request.nodes(nodes, to_start="app" in request.options and not given["every"])
    specs = [(node, *specification(request, node, anew=False)) for node in chosen]
    check_values(request, [spec for _, spec, _ in specs])
    records = [(node, record_of(node, spec)) for node, spec, _ in specs]
    refuse_shared_files(records)
    refuse_files_of_others(records, request.fleet)
    screen.header()
    for node, spec, old in specs:
        if old is not None:
            for line in difference(old, spec):
                screen.item(node, line)
    starts = {
        str(node): Start(node, record, spec.environment)
        for (node, spec, _), (_, record) in zip(specs, records, strict=True)
    }
    for one in starts.values():
        one.node.place.make()
    stops = stop_command.send(screen, [stopping.begin(node) for node in chosen], given, again=True)
    try:
        ctx.exit(_follow(screen, stops, starts, given["timeout"]))
    except KeyboardInterrupt:
        _go_on_alone(stops, starts, given["timeout"])
        ctx.exit(INTERRUPTED)


def _follow(screen: Screen, stops: list[Stop], starts: dict[str, Start], timeout: float) -> int:
    """Start each node as soon as it is down; the exit code."""
    code = DONE
    going_down = {str(each.node) for each in stops}
    with Watch() as watch:
        for name, one in starts.items():
            if name not in going_down:
                one.begin(watch)
        if stops:
            stop_command.announce(screen, stops)
        for down in stopping.wait_down(stops):
            starts[str(down.node)].begin(watch)
            code = max(code, stop_command.show(screen, down))
        for news in starting.follow([*starts.values()], watch, timeout):
            if isinstance(news, Result):
                code = max(code, show(screen, news, timeout, restarted=str(news.node) in going_down))
            else:
                screen.item(*news)
    return code


def _go_on_alone(stops: list[Stop], starts: dict[str, Start], timeout: float) -> None:
    """Ctrl-C lets go of the terminal; a node that was told to stop for a restart is started all the same, by a process that
    waits for its end in the background."""
    left = {str(each.node): starts[str(each.node)] for each in stops if not starts[str(each.node)].has_begun}
    if left:
        sys.stdout.flush()
        if os.fork() == 0:
            _in_background(stops, left, timeout)
        complain(
            f"interrupted; {', '.join(left)}: still stopping, and started again in the background when that is done. "
            "See `multi status`"
        )
    if rest := [name for name in starts if name not in left]:
        complain(f"interrupted; {', '.join(rest)}: starting in the background. See `multi status`")


def _in_background(stops: list[Stop], left: dict[str, Start], timeout: float) -> None:
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        with Watch() as watch:
            for each in stops:
                if each.is_down and str(each.node) in left:
                    left[str(each.node)].begin(watch)
            for down in stopping.wait_down(stops):
                left[str(down.node)].begin(watch)
            for _ in starting.follow([*left.values()], watch, timeout):
                pass  # nobody listens; the node's log tells
    finally:
        os._exit(0)
