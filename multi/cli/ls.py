"""`multi ls`."""

from __future__ import annotations

from typing import Any

import click

from multi.cli.nodes import NodesCommand, Request, json_option, state_dir_option


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
