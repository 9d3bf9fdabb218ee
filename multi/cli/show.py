"""`multi show`, `multi names`."""

from __future__ import annotations

import shlex
from typing import Any

import click

from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, record_of, state_dir_option
from multi.cli.policy import policy_options
from multi.cli.start import specification


@click.command(cls=NodesCommand, passes_on=True)
@nodes_argument
@policy_options
@json_option
@state_dir_option
@click.pass_context
def show(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The command line of each node's worker, as `multi start` would run it. Starts and changes nothing.

    \b
    multi show 2 -A proj -l INFO
    multi show w1
    """
    request = Request(ctx, given)
    chosen = request.nodes(nodes, to_start=True)
    shown = []
    for node in chosen:
        spec, _ = specification(request, node)
        shown.append((node, record_of(node, spec, make=False), spec))
    if given["as_json"]:
        import json

        listed = [
            {
                "node": str(node),
                **{key: record[key] for key in ("argv", "cwd", "umask", "log_file", "pidfile")},
                "env": sorted(spec.environment),
            }
            for node, record, spec in shown
        ]
        request.screen.show(json.dumps(listed, indent=2))
        return
    from multi.urls import mask

    for _, record, spec in shown:
        secrets = [f"{name}={mask(value)}" for name, value in spec.environment.items() if spec.env.get(name) != value]
        request.screen.show(mask(" ".join([*secrets, shlex.join(record["argv"])])))


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--range-prefix", metavar="TEXT", help="Of the names that a number stands for (w).")
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@json_option
@state_dir_option
@click.pass_context
def names(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The full names that these names stand for.

    \b
    multi names 3
    multi names w1 w2@example.com
    """
    request = Request(ctx, given)
    found = [str(node) for node in request.nodes(nodes, to_start=True)]
    if given["as_json"]:
        import json

        request.screen.show(json.dumps(found))
        return
    for name in found:
        request.screen.show(name)
