"""`multi graph`: workers and what they are connected to, as a drawing for Graphviz or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import click

from multi.cli.asking import Asking, asking_options
from multi.cli.places import hold_for_subcommands, place_options
from multi.errors import ConfigurationError
from multi.urls import mask


@click.group()
@place_options
@click.pass_context
def graph(ctx: click.Context, /, **given: Any) -> None:
    """Draw the workers that answer, and what they are connected to.

    \b
    multi graph workers -A proj | dot -Tsvg > workers.svg
    multi graph workers --json
    """
    hold_for_subcommands(ctx, given)


@graph.command()
@asking_options
@click.option(
    "--processes", metavar="N", type=click.IntRange(0), default=0, help="Draw up to so many children of each (0)."
)
@click.pass_context
def workers(ctx: click.Context, /, *, processes: int, **given: Any) -> None:
    """Workers, the queues that they consume from, their broker and result backend: in the language of Graphviz.

    \b
    multi graph workers -A proj > workers.dot
    multi graph workers -b redis://localhost:6379/0 --processes 4 | dot -Tpng > workers.png
    multi graph workers -p 'w*@web*' --json

    Exit codes: as `multi inspect`.
    """
    asking = Asking.of(ctx, given)
    with closing(asking.place.app):
        ctx.exit(_draw(asking, processes))


def _draw(asking: Asking, processes: int) -> int:
    """Ask, and print the drawing; the exit code."""
    answered = asking.ask([asking.request("stats", {}), asking.request("active_queues", {})])
    stats, queues = ({name: each for reply in found for name, each in reply.items()} for found in answered.replies)
    app = asking.place.app
    backend = app.conf.result_backend
    drawn = {
        "broker": asking.place.broker.masked,
        "backend": mask(str(backend)) if backend else None,
        "workers": [_worker(name, stats.get(name), queues.get(name)) for name in sorted({*stats, *queues})],
    }
    if drawn["workers"]:
        click.echo(json.dumps(drawn, indent=2) if asking.as_json else "\n".join(dot(drawn, processes)))
    elif asking.as_json:
        click.echo(json.dumps(drawn, indent=2))
    return asking.end(max(answered.replies, key=len))


@graph.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1)
def bootsteps(words: Sequence[str]) -> None:
    """What Celery draws of its workers' inner parts: multi's have none that could be replaced or ordered.

    \b
    multi graph workers
    """
    raise ConfigurationError(
        "multi's worker isn't built of boot steps, so there is nothing to draw of them; docs/tour.md tells how it starts, and "
        "`multi graph workers` draws the workers that run"
    )


def _worker(name: str, stats: Any, queues: Any) -> dict[str, Any]:
    pool = stats.get("pool") if isinstance(stats, dict) else None
    pool = pool if isinstance(pool, dict) else {}
    return {
        "name": name,
        "queues": sorted(str(queue.get("name")) for queue in queues) if isinstance(queues, list) else [],
        "pool": str(pool.get("implementation") or "").partition(":")[0].rpartition(".")[2],
        "concurrency": pool.get("max-concurrency"),
        "pid": stats.get("pid") if isinstance(stats, dict) else None,
        "processes": [each for each in pool.get("processes") or [] if isinstance(each, int)],
    }


def dot(drawn: Mapping[str, Any], processes: int) -> Iterator[str]:
    """The lines of a drawing."""
    yield "digraph workers {"
    yield "  rankdir=LR;"
    yield '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];'
    yield f"  broker [label={_quoted(drawn['broker'])}, shape=cylinder, fillcolor=lightblue];"
    if drawn["backend"]:
        yield f"  backend [label={_quoted(drawn['backend'])}, shape=folder, fillcolor=peachpuff];"
    queues = sorted({queue for worker in drawn["workers"] for queue in worker["queues"]})
    for queue in queues:
        yield f"  {_quoted('queue ' + queue)} [label={_quoted(queue)}, shape=cds, fillcolor=lightyellow];"
        yield f"  broker -> {_quoted('queue ' + queue)};"
    for worker in drawn["workers"]:
        name, pool = worker["name"], worker["pool"]
        label = f"{name}\n{pool}:{worker['concurrency']}" if pool else name
        yield f"  {_quoted(name)} [label={_quoted(label)}];"
        for queue in worker["queues"]:
            yield f"  {_quoted('queue ' + queue)} -> {_quoted(name)};"
        if not worker["queues"]:
            yield f"  broker -> {_quoted(name)};"
        if drawn["backend"]:
            yield f"  {_quoted(name)} -> backend;"
        for pid in worker["processes"][:processes]:
            yield f"  {_quoted(f'{name} {pid}')} [label={_quoted(str(pid))}, shape=oval, fontsize=10];"
            yield f"  {_quoted(name)} -> {_quoted(f'{name} {pid}')} [arrowhead=none];"
        if processes and len(worker["processes"]) > processes:
            more = f"{len(worker['processes']) - processes} more"
            yield f"  {_quoted(f'{name} more')} [label={_quoted(more)}, shape=plaintext, style=solid];"
            yield f"  {_quoted(name)} -> {_quoted(f'{name} more')} [arrowhead=none];"
    yield "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
