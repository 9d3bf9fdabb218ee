"""`multi show`, `multi get`, `multi names`, `multi expand`: what a command line means, without anything being done."""

from __future__ import annotations

import shlex
from typing import Any

import click

from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, record_of, state_dir_option
from multi.cli.policy import policy_options
from multi.cli.start import specification
from multi.controller.node import Node
from multi.errors import NodeNotFound
from multi.nodes import names as naming
from multi.nodes.shown import shown


@click.command(cls=NodesCommand, passes_on=True)
@nodes_argument
@policy_options
@json_option
@state_dir_option
@click.pass_context
def show(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The command line of each node, as `multi start` would run it. Starts and changes nothing.

    What the keeper does in the worker's place (directory, umask, user, pid and log file) stands in it as it was given; --json
    has the words that are run, and these apart.

    \b
    multi show 2 -A proj -l INFO
    multi show 3 -A proj -c 3 -c:1 10 --engine celery
    multi show w1
    """
    request = Request(ctx, given)
    _show(request, request.nodes(nodes, to_start=True), as_json=given["as_json"])


@click.command(cls=NodesCommand, passes_on=True)
@click.argument("node", metavar="NODE")
@nodes_argument
@policy_options
@json_option
@state_dir_option
@click.pass_context
def get(ctx: click.Context, /, node: str, nodes: tuple[str, ...], **given: Any) -> None:
    """The command line of NODE alone, out of those that follow; without others, of a node that is known.

    \b
    multi get celery2 3 -A proj -c 3 -c:2 10
    multi get w1
    """
    request = Request(ctx, given)
    chosen = request.nodes(nodes or (node,), to_start=True)
    labels = request.labels(nodes or (node,))
    found = [
        one
        for one, label in zip(chosen, labels, strict=True)
        if node in (label.typed, label.text, label.text.partition("@")[0], one.name.short, str(one.name))
    ]
    if not found:
        raise NodeNotFound(f"no node {node!r} among these: {', '.join(str(one.name) for one in chosen)}")
    _show(request, found, as_json=given["as_json"])


def _show(request: Request, nodes: list[Node], *, as_json: bool) -> None:
    found = []
    for node in nodes:
        spec, _ = specification(request, node)
        spec.check()
        found.append((node, record_of(node, spec, make=False), spec))
    if as_json:
        import json

        listed = [
            {
                "node": str(node),
                **{key: record[key] for key in ("kind", "engine", "argv", "cwd", "umask", "log_file", "pidfile")},
                "env": sorted(spec.environment),
            }
            for node, record, spec in found
        ]
        request.screen.show(json.dumps(listed, indent=2))
        return
    from multi.urls import mask

    for _, record, spec in found:
        secrets = [f"{name}={mask(value)}" for name, value in spec.environment.items() if spec.env.get(name) != value]
        request.screen.show(mask(" ".join([*secrets, shlex.join(shown(spec, record["argv"]))])))


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@json_option
@state_dir_option
@click.pass_context
def names(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The full names that these names stand for.

    \b
    multi names 3
    multi names 3 --range-prefix worker -n app1.example.com
    multi names w1 w2@example.com
    """
    request = Request(ctx, given)
    _list(request, [str(name) for name in request.names(nodes)], as_json=given["as_json"])


@click.command(cls=NodesCommand, leads=True)
@click.argument("template", metavar="TEMPLATE")
@nodes_argument
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@json_option
@state_dir_option
@click.pass_context
def expand(ctx: click.Context, /, template: str, nodes: tuple[str, ...], **given: Any) -> None:
    """TEMPLATE, filled in for each node.

    %n is the short name, %p and %h the full one, %d the host, %% a percent sign; %i and %I stay, since they are filled in by
    each process of a worker. Any other mark stays as well.

    \b
    multi expand /var/log/%n%I.log 3
    multi expand %p w1 w2@example.com
    """
    request = Request(ctx, given)
    _list(request, [naming.expand_once(template, name) for name in request.names(nodes)], as_json=given["as_json"])


def _list(request: Request, lines: list[str], *, as_json: bool) -> None:
    if as_json:
        import json

        request.screen.show(json.dumps(lines))
        return
    for line in lines:
        request.screen.show(line)
