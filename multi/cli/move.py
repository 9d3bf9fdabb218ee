"""`multi move`: brings what waits in one queue to another one."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import click

from multi.cli.group import DONE
from multi.cli.places import open_place, place_options, refuse_empty, screen_of
from multi.cli.progress import bar
from multi.cli.remembered import complete_queues, complete_tasks
from multi.errors import ConfigurationError, UnsupportedOption
from multi.message import Message

#: Messages between two tellings of how far it is.
_PORTION = 5000


@click.command()
@click.argument("source", metavar="SRC", shell_complete=complete_queues)
@click.argument("target", metavar="DST", shell_complete=complete_queues)
@click.option(
    "-n", "--count", type=click.IntRange(min=1), metavar="N", help="At most so many, those first that come first."
)
@click.option(
    *("-t", "--task"),
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Only these tasks, as in 'shop.*'.",
    shell_complete=complete_tasks,
)
@click.option("--json", "as_json", is_flag=True, help="The count as JSON.")
@place_options
@click.pass_context
def move(
    ctx: click.Context,
    /,
    source: str,
    target: str,
    *,
    count: int | None,
    patterns: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Bring the messages that wait in queue SRC to the end of queue DST, in their order.

    Their headers and priorities are kept. Each moves in one step, so that none is lost or doubled when this is interrupted
    (RabbitMQ has it in DST before it forgets the one in SRC). What is parked until it is due, or held by workers, stays.

    \b
    multi move emails emails-slow
    multi move -A proj celery images --task 'proj.images.*' --count 1000

    Exit codes: 0 done, 1 the broker can't be reached, 2 wrong usage or configuration.
    """
    for name in (source, target):
        refuse_empty(name, "the name of no queue")
    if source == target:
        raise ConfigurationError(f"{source} is both where they come from and where they go; name two queues")
    place = open_place(ctx, given)
    broker = place.broker
    if not broker.abilities.moves:
        raise UnsupportedOption(f"{broker.masked} can't bring messages to another queue")
    for name in (source, target):
        queue = place.app.topology.find(name)
        if queue is not None and queue.per_node:
            raise ConfigurationError(
                f"{name} stands for a queue of each node; name one of these, as {queue.of_node('w1@host').name}"
            )

    def wanted(message: Message) -> bool:
        task = str(message.headers.get("task", ""))
        return any(fnmatchcase(task, pattern) for pattern in patterns)

    screen = screen_of(ctx)
    live = screen.is_live and not as_json and not screen.quiet
    moved, most = 0, broker.depth(source)  # what comes meanwhile may stay
    most = most if count is None else min(most, count)
    while moved < most:
        # in portions, to tell how far it is; a search for some tasks begins at the front each time
        some = most - moved if patterns else min(_PORTION, most - moved)
        if live:
            screen.live(f"{bar(moved, most)} {moved}/{most} {source} → {target}")
        done = broker.move(source, target, limit=some, wanted=wanted if patterns else None)
        moved += done
        if done < some:
            break
    left = broker.depth(source)
    if as_json:
        click.echo(json.dumps({"moved": moved, "source": source, "target": target, "left": left}))
    else:
        screen.show(f"{moved} moved from {source} to {target}" + (f", {left} left" if left else ""))
    place.app.close()
    ctx.exit(DONE)
