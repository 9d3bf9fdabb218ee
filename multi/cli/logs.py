"""`multi logs`."""

from __future__ import annotations

import os
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.nodes import NodesCommand, Request, nodes_argument, state_dir_option
from multi.cli.screen import complain
from multi.controller.tail import Follow, Tail


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--follow", "-f", "follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "--lines", "-n", "lines", type=click.IntRange(min=0), default=20, metavar="N", help="How many lines (20)."
)
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@state_dir_option
@click.pass_context
def logs(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The last lines of nodes' logs; of several nodes, each line begins with the node's name.

    \b
    multi logs w1 -n 100
    multi logs -f w1 w2
    """
    request = Request(ctx, given)
    screen = request.screen
    chosen = request.nodes(nodes) if nodes or given["every"] else request.fleet.all()
    tails: dict[str, Tail] = {}
    for node in chosen:
        path = node.log_file
        if path is None:
            complain(f"{node} has no log file: it runs in the foreground of whoever started it")
        elif os.path.exists(path) and not os.path.isfile(path):
            complain(f"the log of {node} can't be read back: {path} is no plain file")
        else:
            tails[str(node)] = Tail(path)
    if not tails:
        if not chosen:
            complain("no nodes are known here; `multi ls --all` lists those of every project")
        ctx.exit(FAILED)
    width = max(map(len, tails))
    colors = ("cyan", "yellow", "magenta", "blue", "green")

    def prefix(name: str) -> str:
        if len(tails) == 1:
            return ""
        text = f"{name.ljust(width)} | "
        return click.style(text, fg=colors[[*tails].index(name) % len(colors)]) if screen.color else text

    # watched before the first look, so that nothing is missed in between
    follow = Follow([tail.path for tail in tails.values()]) if given["follow"] else None
    for name, tail in tails.items():
        for line in tail.last(given["lines"]):
            screen.show(prefix(name) + line)
    try:
        while follow is not None:
            for name, tail in tails.items():
                for line in tail.more():
                    screen.show(prefix(name) + line)
            follow.wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    ctx.exit(DONE)
