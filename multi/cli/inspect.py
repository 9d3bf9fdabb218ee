"""`multi inspect`: asking workers, multi's and Celery's, wherever they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import click

from multi.cli.answers import show
from multi.cli.asking import Asking, asking_options, by_name
from multi.cli.commands_of_workers import any_option, complete_methods, list_option, needed, words_to_arguments
from multi.cli.methods import INSPECT


@click.command()
@click.argument("method", required=False, shell_complete=complete_methods(INSPECT))
@click.argument("arguments", nargs=-1)
@asking_options
@any_option
@list_option(INSPECT)
@click.pass_context
def inspect(ctx: click.Context, /, method: str | None, arguments: tuple[str, ...], **given: Any) -> None:
    """Ask workers what they run, hold, know and consume from; Celery's, too, and wherever they are. It changes nothing.

    It returns when all have answered who listen, where the broker tells how many these are (Redis, SQLite); else when nobody
    has answered for --timeout. Who was expected and didn't answer is told.

    \b
    multi inspect ping
    multi inspect active -A proj
    multi inspect active_queues -d w1@web1,w2@web1
    multi inspect registered rate_limit -p 'w*@web*'
    multi inspect query_task 8f6e1c9a-… --json
    multi inspect stats -b redis://localhost:6379/0 -t 5
    multi inspect --list

    Exit codes: 0 all answered, 1 some that are meant didn't or told an error, 2 wrong usage or configuration, 69 nobody
    answered, as Celery's command has it.
    """
    name = needed(ctx, method, INSPECT, given)
    asking = Asking.of(ctx, given)
    with closing(asking.place.app):
        ctx.exit(_inspect(asking, name, arguments, anything=given["anything"]))


def _inspect(asking: Asking, name: str, arguments: Sequence[str], *, anything: bool) -> int:
    """Ask, and show what is replied; the exit code."""
    found, said = words_to_arguments(asking.place, name, INSPECT, arguments, anything=anything)
    answered = asking.ask([asking.request(found, said)])
    (replies,) = answered.replies
    failed = False
    told = by_name(replies)
    if asking.as_json:
        click.echo(json.dumps(told, default=str))
        failed = any(isinstance(reply, dict) and list(reply) == ["error"] for reply in told.values())
    elif told:
        failed = show(asking.screen, found, told, answered.took)
        many = len(replies)
        asking.screen.line(f"{many} {'worker' if many == 1 else 'workers'} answered in {answered.seconds:.2f} s")
    return asking.end(replies, failed=failed)
