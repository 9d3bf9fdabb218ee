"""`multi stop`, `multi stopwait`, `multi kill`."""

from __future__ import annotations

import signal
from typing import Any

import click

from multi.cli.arguments import complete_words
from multi.cli.group import DONE, FAILED, FORCED
from multi.cli.guard import FORCE, refuse_last_consumers
from multi.cli.nodes import ENDS, NodesCommand, Request, nodes_argument, parse_signal, state_dir_option
from multi.cli.progress import Progress, draining
from multi.cli.screen import Screen, complain
from multi.controller import stop as stopping
from multi.controller.keeper.node import STARTING
from multi.controller.keeper.standing import MEANINGS
from multi.controller.keeper.worker import SIGNALS
from multi.controller.node import Node
from multi.controller.stop import Down, Stop
from multi.errors import ConfigurationError
from multi.nodes.policy import signal_number

_KILL_PATIENCE = 3.0

LADDER = (
    click.option(
        "--signal",
        "signal_name",
        metavar="SIGNAL",
        default="TERM",
        shell_complete=complete_words(("TERM", "INT", "QUIT", "KILL")),
        help="TERM, INT, QUIT or KILL; also as -QUIT or -9.",
    ),
    click.option("--quit-after", type=click.FloatRange(min=0), metavar="SECONDS", help="QUIT after this time."),
    click.option("--kill-after", type=click.FloatRange(min=0), metavar="SECONDS", help="KILL after this time."),
)
ALL = click.option("--all", "every", is_flag=True, help="All nodes of the project.")


def ladder_options(function: Any) -> Any:
    """How a node is brought down."""
    for option in reversed(LADDER):
        function = option(function)
    return function


@click.command(cls=NodesCommand)
@nodes_argument
@ladder_options
@ALL
@FORCE
@state_dir_option
@click.pass_context
def stop(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Tell nodes to stop; they finish what they run. Doesn't wait for it.

    \b
    multi stop w1 w2
    multi stop w1 --quit-after 60 --kill-after 90
    multi stop w1 -QUIT
    multi stop w1 -USR1          no end: just passed on to the worker
    """
    request = Request(ctx, given)
    screen = request.screen
    chosen = request.nodes(nodes)
    number = signal_number(given["signal_name"])
    if number not in ENDS:
        screen.header()
        ctx.exit(pass_on(screen, chosen, number))
    if not given["force"]:
        refuse_last_consumers(request.fleet, chosen)
    for node in chosen:
        unit = node.manager
        if unit is not None and not node.has_own_keeper and (given["quit_after"], given["kill_after"]) != (None, None):
            raise ConfigurationError(
                f"--quit-after and --kill-after: {node} is run by {unit}, which goes by the times of its unit; to have others, "
                f"stay with it: multi stopwait {node.name.short}"
            )
    screen.header()
    for each in send(screen, [stopping.begin(node) for node in chosen], given):
        each.close()
    ctx.exit(DONE)


@click.command(cls=NodesCommand)
@nodes_argument
@ladder_options
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait (for ever).")
@ALL
@FORCE
@state_dir_option
@click.pass_context
def stopwait(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Stop nodes and wait until every process of theirs is gone.

    \b
    multi stopwait w1 w2
    multi stopwait --all --kill-after 300
    """
    request = Request(ctx, given)
    screen = request.screen
    chosen = request.nodes(nodes)
    if not given["force"]:
        refuse_last_consumers(request.fleet, chosen)
    screen.header()
    stops = send(screen, [stopping.begin(node) for node in chosen], given)
    ctx.exit(wait(screen, stops, given["timeout"]))


@click.command(cls=NodesCommand)
@nodes_argument
@ALL
@state_dir_option
@click.pass_context
def kill(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """End all processes of nodes at once. What they ran is delivered again, to others.

    \b
    multi kill w1
    """
    request = Request(ctx, given)
    screen = request.screen
    chosen = request.nodes(nodes)
    screen.header()
    stops = send(screen, [stopping.begin(node) for node in chosen], {"signal_name": "KILL"})
    for down in stopping.wait_down(stops, _KILL_PATIENCE):
        screen.item(down.node, "DOWN", good=True)
    rest = [each for each in stops if not each.is_down]
    for each in rest:
        stopping.force(each)
    for down in stopping.wait_down(rest, _KILL_PATIENCE):
        screen.item(down.node, "DOWN", good=True)
    stuck = [each for each in rest if not each.is_down]
    for each in stuck:
        complain(
            f"{each.node} (pid {each.pid}) is still there {_KILL_PATIENCE:g} s after KILL; it may be waiting for a disk"
        )
    ctx.exit(FAILED if stuck else DONE)


def pass_on(screen: Screen, nodes: list[Node], number: int) -> int:
    """Have a signal that is no end sent to the workers, and say what becomes of it; the exit code."""
    name = signal.Signals(number).name.removeprefix("SIG")
    if number == signal.SIGHUP:
        raise ConfigurationError("HUP means to load new code: multi reload NODE")
    if number not in SIGNALS:
        raise ConfigurationError(f"keepers pass on no {name}; they know {', '.join(SIGNALS.values())}")
    screen.section(f"Passing {name} on...")
    code = DONE
    for node in nodes:
        status = stopping.settled(node)
        worker = status.worker
        signals = (node.record() or {}).get("signals") or {}
        if not status.has_keeper or worker is None:
            code = FAILED
            screen.item(node, "DOWN, nobody to pass it on to", good=False)
        elif (meaning := MEANINGS.get(number)) in signals and signals[meaning] is None:
            code = FAILED
            screen.item(node, f"its program understands no {name}, so it was not sent", good=False)
        elif status.state == STARTING:
            code = FAILED
            screen.item(node, "not ready yet; its worker could die of it, so it was not sent", good=False)
        elif node.ask("signal", signal=number):
            screen.item(node, f"{name} -> {worker['pid']} (the worker; it goes on)")
        else:
            code = FAILED
            screen.item(node, "its keeper doesn't listen", good=False)
    return code


def send(screen: Screen, stops: list[Stop], given: dict[str, Any], *, again: bool = False) -> list[Stop]:
    """Send the signal to all, and say so; returns the nodes that were not down already."""
    number = parse_signal(given["signal_name"])
    screen.section("Stopping nodes...")
    sent = []
    for each in stops:
        if each.send(number, given.get("quit_after"), given.get("kill_after"), again=again):
            name = signal.Signals(number).name[3:]
            screen.item(each.node, f"{name} -> {each.pid}" if each.pid else name)
            sent.append(each)
        else:
            screen.item(each.node, "DOWN")
            each.close()
    return sent


def wait(screen: Screen, stops: list[Stop], timeout: float | None) -> int:
    """Wait for all, and tell of each; the exit code."""
    code = DONE
    if not stops:
        return code
    announce(screen, stops)
    progress = Progress(screen, len(stops), "down")
    left = {str(each.node): each.node for each in stops}
    try:
        for down in stopping.wait_down(
            stops, timeout, progress.ticker(lambda: [draining(node) for node in left.values()])
        ):
            left.pop(str(down.node), None)
            code = max(code, show(screen, down))
    finally:
        progress.close()
    for each in stops:
        if not each.is_down:
            code = FAILED
            each.close()
            complain(
                f"{each.node} (pid {each.pid}) still runs after {timeout:g} s; it may be finishing its tasks, see "
                "`multi status`. To hurry it: "
                f"multi stop {each.node.name.short} --quit-after 0, or multi kill {each.node.name.short}"
            )
    return code


def announce(screen: Screen, stops: list[Stop]) -> None:
    """Say for whom we wait."""
    count = f"{len(stops)} node{'s' if len(stops) > 1 else ''}"
    pids = ", ".join(str(each.pid) for each in stops if each.pid)
    screen.section(f"Waiting for {count}{' -> ' if pids else ''}{pids}...")


def show(screen: Screen, down: Down) -> int:
    """Tell that a node is down; the exit code that it means."""
    if down.forced:
        screen.item(down.node, "DOWN, killed", good=False)
        return FORCED
    screen.item(down.node, "DOWN", good=True)
    if down.message:
        screen.detail(down.message)
    return DONE
