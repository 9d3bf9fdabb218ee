"""`multi probe`."""

from __future__ import annotations

from typing import Any

import click

from multi.cli.arguments import complete_names, json_option, state_dir_option
from multi.cli.probing import answer
from multi.controller.probing import MAX_AGE
from multi.errors import ConfigurationError
from multi.nodes.policy import parse_span


@click.command()
@click.argument("nodes", nargs=-1, shell_complete=complete_names)
@click.option("--live/--ready", "live", default=True, help="Whether it lives (the default), or whether it consumes.")
@click.option("--max-age", metavar="TIME", help=f"Its loop has to have turned within this time ({MAX_AGE:g}s).")
@json_option
@state_dir_option
@click.pass_context
def probe(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Whether nodes are well; for the probes of Kubernetes and the health checks of containers.

    It looks at the node's files alone: no app is imported and no broker asked, so that it costs next to nothing, and that a
    broker which is away has no node killed. A node lives while its keeper takes care of it (also where it is started again in
    a moment, or finishes its tasks) and its loop turns. It is ready when it consumes.

    The exit code is 0 when all of them are well, 1 when one is not, 4 for an unknown node.

    \b
    multi probe w1                    for livenessProbe
    multi probe w1 --ready            for startupProbe and readinessProbe
    multi probe --max-age 5m --json   all nodes of the project
    """
    before = ctx.obj if isinstance(ctx.obj, dict) else {}
    max_age = MAX_AGE
    if given["max_age"] is not None:
        try:
            max_age = parse_span(given["max_age"])
        except ConfigurationError as error:
            raise ConfigurationError(f"--max-age: {error}") from None
    ctx.exit(
        answer(
            nodes,
            ready=not given["live"],
            max_age=max_age,
            as_json=given["as_json"],
            state_dir=given["state_dir"] or before.get("state_dir"),
        )
    )
