"""`multi ls`, `multi forget`."""

from __future__ import annotations

from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.screen import complain
from multi.errors import NodeError


@click.command(cls=NodesCommand)
@click.option("--all", "everywhere", is_flag=True, help="The nodes of every project.")
@json_option
@state_dir_option
@click.pass_context
def ls(ctx: click.Context, /, **given: Any) -> None:
    """The nodes that are known, running or not.

    \b
    multi ls
    multi ls --all
    """
    request = Request(ctx, given)
    found = [(node, node.status()) for node in request.fleet.all(everywhere=given["everywhere"])]
    if given["as_json"]:
        import json

        listed = [
            {
                "node": str(node),
                "state": status.state,
                "pid": status.keeper_pid if status.has_keeper else None,
                "project": node.place.project.location,
            }
            for node, status in found
        ]
        request.screen.show(json.dumps(listed, indent=2))
        return
    if not found:
        request.screen.show("No nodes are known here. Start one: multi start w1 -A proj -l INFO")
        return
    rows = [
        [str(node), status.state, str(status.keeper_pid) if status.has_keeper else "-", node.place.project.location]
        for node, status in found
    ]
    request.screen.table(("node", "state", "pid", "project"), rows, right=(2,))


@click.command(cls=NodesCommand)
@nodes_argument
@state_dir_option
@click.pass_context
def forget(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Keep nothing more of nodes that are down: how they are started, and how they ended. Their logs stay.

    \b
    multi forget w1
    """
    request = Request(ctx, given)
    code = DONE
    for node in request.nodes(nodes):
        log_file = node.log_file
        try:
            node.forget()
        except NodeError as error:
            complain(str(error))
            code = FAILED
        else:
            request.screen.item(node, f"forgotten; its log stays: {log_file}" if log_file else "forgotten")
    ctx.exit(code)
