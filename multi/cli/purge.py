"""`multi purge`: drops what waits in queues, in the words of `celery purge`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.places import YES, open_place, place_options, screen_of, split
from multi.cli.remembered import complete_queues
from multi.errors import ConfigurationError


@click.command()
@click.option(
    "-Q", "--queues", metavar="A,B", help="Only these queues; else all of the app.", shell_complete=complete_queues
)
@click.option("-X", "--exclude-queues", metavar="A,B", help="All of the app but these.", shell_complete=complete_queues)
@YES
@click.option("--dry-run", is_flag=True, help="Show how many messages wait; drop none.")
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON.")
@place_options
@click.pass_context
def purge(ctx: click.Context, /, *, yes: bool, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Drop the messages that wait in the app's queues, for good. Asks first.

    What is parked until it is due, held by workers, or dead stays.

    \b
    multi purge -A proj
    multi purge -Q emails,images --dry-run
    multi purge -A proj -X important -f

    Exit codes: 0 done, 1 not confirmed or the broker can't be reached, 2 wrong usage or configuration.
    """
    named, excluded = split(given.get("queues")), _excluded(given.get("exclude_queues"))
    place = open_place(ctx, given)
    wanted = [name for name in (place.queues if named is None else named) if name not in excluded]
    if not wanted:
        raise ConfigurationError("-X leaves no queue to be purged")
    if unknown := [name for name in excluded if name not in (named or place.queues)]:
        raise ConfigurationError(f"-X {unknown[0]}: that isn't among the queues that are meant: {', '.join(wanted)}")
    screen = screen_of(ctx)
    depths = {name: place.broker.depth(name) for name in wanted}
    total = sum(depths.values())
    if total and not (yes or dry_run) and not _confirmed(depths):
        screen.line("nothing is dropped")
        ctx.exit(FAILED)
    counts = depths if dry_run else {name: place.broker.purge(name) if depths[name] else 0 for name in wanted}
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "purged": counts}))
    else:
        for name, count in counts.items():
            screen.show(f"{name}: {count} {'would be ' * dry_run}dropped")
    place.app.close()
    ctx.exit(DONE)


def _excluded(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _confirmed(depths: dict[str, int]) -> bool:
    """Whether the user means it. Raises `ConfigurationError` where nobody can be asked."""
    shown = ", ".join(f"{count} of {name}" for name, count in depths.items() if count)
    question = f"Drop the messages that wait ({shown}) for good"
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question}: nobody can be asked here; give -f, or see first with --dry-run")
    return click.confirm(f"{question}?", err=True)
