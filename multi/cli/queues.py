"""`multi queues`: what lies in the broker's queues, emptying them, and the way back to Celery's workers."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from multi.brokers.base import Consumer, HandedBack
from multi.cli.group import DONE, FAILED, FORCED
from multi.cli.places import (
    KEPT_NAMES,
    YES,
    Place,
    before,
    confirmed,
    hold_for_subcommands,
    open_place,
    place_options,
    queue_option,
    refuse_empty,
    screen_of,
    split,
)
from multi.cli.remembered import complete_queues, remember_queues
from multi.cli.screen import Screen, ago, complain
from multi.errors import ConfigurationError
from multi.nodes.policy import parse_span

#: Seconds between two looks whether workers are gone.
_LOOK = 0.25
#: The same for --watch.
_WATCH = 1.0


@click.group(invoke_without_command=True)
@place_options
@queue_option("As for `multi queues list`.")
@click.option("-w", "--watch", is_flag=True, help="As for `multi queues list`.")
@click.option("--json", "as_json", is_flag=True, help="As for `multi queues list`.")
@click.pass_context
def queues(ctx: click.Context, /, **given: Any) -> None:
    """What lies in the broker's queues; without a further word as `multi queues list`.

    \b
    multi queues
    multi queues list -A proj --watch
    multi queues purge emails
    multi queues handback --wait 1m

    Exit codes: 0 done, 1 refused or the broker can't be reached, 2 wrong usage or configuration, 5 done, but something that is
    held by workers was left.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, **given)
    for option in ("queues", "watch", "as_json"):
        if given.pop(option):
            raise ConfigurationError(
                f"the options of multi queues {ctx.invoked_subcommand} stand behind that word, as in: multi queues "
                f"{ctx.invoked_subcommand} -Q a,b"
            )
    hold_for_subcommands(ctx, given)


@queues.command(name="list")
@place_options
@queue_option("Only these; else all that are known, and all that the broker knows to hold messages.")
@click.option("-w", "--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.pass_context
def list_(ctx: click.Context, /, *, as_json: bool = False, watch: bool = False, **given: Any) -> None:
    """How many messages wait in each queue, since when the oldest does, and where the others are; and who consumes.

    PARKED ones wait for their time, CLAIMED ones are held by workers. A dash is what the broker doesn't tell. On Redis consumers
    are multi's workers, and Celery's are not counted; the age is known of what multi has sent.

    \b
    multi queues list -A proj
    multi queues list -Q emails,images --json
    multi queues list --watch
    """
    place = open_place(ctx, given)
    wanted = split(given.get("queues"))
    screen = screen_of(ctx)
    if watch:
        _watch(screen, place, wanted, as_json)
        place.app.close()
        ctx.exit(DONE)
    found = _count(place, wanted)
    if wanted is None and not (given.get("broker") or before(ctx).get("broker")):
        remember_queues(ctx.meta[KEPT_NAMES], [each["name"] for each in found])
    if as_json:
        click.echo(json.dumps(found))
    else:
        for line in _rows(screen, found):
            screen.show(line)
    place.app.close()
    ctx.exit(DONE)


def _count(place: Place, wanted: list[str] | None) -> list[dict[str, Any]]:
    counts = place.broker.counts(place.queues if wanted is None else wanted)
    if wanted is not None:
        counts = [each for each in counts if each.name in wanted]
    oldest = place.broker.oldest([each.name for each in counts if each.waiting])
    now = time.time()
    found = []
    for each in counts:
        row: dict[str, Any] = {name: getattr(each, name) for name in each.__struct_fields__}
        row["oldest"] = round(max(0.0, now - oldest[each.name]), 1) if each.name in oldest else None
        found.append(row)
    return found


def _rows(screen: Screen, found: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            each["name"],
            str(each["waiting"]),
            "-" if each["oldest"] is None else ago(each["oldest"]),
            *(_number(each[name]) for name in ("parked", "claimed", "dead", "consumers")),
        )
        for each in found
    ]
    head = ("QUEUE", "WAITING", "OLDEST", "PARKED", "CLAIMED", "DEAD", "CONSUMERS")
    return screen.rows(head, rows, right=(1, 2, 3, 4, 5, 6))


def _watch(screen: Screen, place: Place, wanted: list[str] | None, as_json: bool) -> None:
    """One page, filled anew every second on a terminal; elsewhere one table, or one line of JSON, behind the other."""
    live = screen.is_live and not as_json
    try:
        while True:
            found = _count(place, wanted)
            if as_json:
                click.echo(json.dumps({"time": time.time(), "queues": found}))
                sys.stdout.flush()
            elif live:
                screen.page(
                    [f"{time.strftime('%H:%M:%S')}  {place.broker.masked}  (Ctrl-C ends)", "", *_rows(screen, found)]
                )
            else:
                for line in (time.strftime("%H:%M:%S"), *_rows(screen, found), ""):
                    screen.show(line)
            time.sleep(_WATCH)
    except KeyboardInterrupt:
        if live:
            click.echo()


@queues.command()
@place_options
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True, shell_complete=complete_queues)
@click.option("--dry-run", is_flag=True, help="Show how many messages wait; drop none.")
@YES
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON.")
@click.pass_context
def purge(
    ctx: click.Context, /, names: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool, **given: Any
) -> None:
    """Drop the messages that wait in queues. What is parked, held by workers or dead stays. Asks first.

    \b
    multi queues purge emails images
    multi queues purge emails --dry-run
    """
    for name in names:
        refuse_empty(name, "the name of no queue")
    place = open_place(ctx, given)
    wanted = list(dict.fromkeys(names))
    depths = {name: place.broker.depth(name) for name in wanted}
    if not dry_run and any(depths.values()):
        shown = ", ".join(f"{count} of {name}" for name, count in depths.items() if count)
        if not confirmed(f"Drop the messages that wait ({shown})", yes):
            screen_of(ctx).line("nothing is dropped")
            ctx.exit(FAILED)
    counts = depths if dry_run else {name: place.broker.purge(name) for name in wanted}
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "purged": counts}))
    else:
        for name, count in counts.items():
            screen_of(ctx).show(f"{name}: {count} {'would be ' * dry_run}dropped")
    place.app.close()
    ctx.exit(DONE)


@queues.command()
@place_options
@queue_option("Only these; else whatever there is.")
@click.option("--dead", is_flag=True, help="Dead letters too: Celery's workers run them again.")
@click.option("--wait", metavar="SPAN", help="Wait so long until multi's workers are gone, as in 45s.")
@click.option("--force", is_flag=True, help="Though multi's workers still consume; what they hold stays theirs.")
@click.option("--dry-run", is_flag=True, help="Show what would be moved; move nothing.")
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON.")
@click.pass_context
def handback(
    ctx: click.Context,
    /,
    *,
    dead: bool,
    wait: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """The way back to Celery's workers: put into the plain queues what only multi's workers would bring there.

    That is what is parked until it is due (Celery's workers wait for it themselves) and what workers held that are dead; with
    --dead the dead letters, too. Nothing is lost and nothing doubled, even when this command is interrupted: give it once
    more. Stop multi's workers first; one that was killed counts as gone when its lease is over (worker_lease, 30 s).

    \b
    multi stopwait --all; multi queues handback
    multi queues handback -b redis://localhost:6379/0 --dead --wait 1m
    """
    patience = 0.0
    if wait is not None:
        try:
            patience = parse_span(wait)
        except ConfigurationError as error:
            raise ConfigurationError(f"--wait: {error}") from None
    place = open_place(ctx, given)
    wanted = split(given.get("queues"))
    if not place.broker.abilities.foreign:
        raise ConfigurationError(
            f"{place.broker.masked}: only multi's workers consume from it, so there is nobody to hand its messages back to"
        )
    screen = screen_of(ctx)
    if dry_run:
        _foresee(screen, place, wanted, dead=dead, as_json=as_json)
        ctx.exit(DONE)
    left = _wait(screen, place, wanted, patience) if not force else []
    if left:
        rows = [f"  {each.name} from {each.queue}: counts as gone in {each.left:.0f} s" for each in left]
        complain(
            "workers of multi still consume, or were killed a moment ago:\n"
            + "\n".join(rows)
            + "\nstop them (multi stopwait --all), give --wait 1m to wait for the leases of dead ones, or --force"
        )
        ctx.exit(FAILED)
    names = wanted
    if not place.broker.abilities.lease and wanted is None:
        names = place.queues
    found = place.broker.hand_back(names, dead=dead)
    _tell(screen, place, found, dead=dead, as_json=as_json)
    place.app.close()
    ctx.exit(FORCED if found.held else DONE)


def _wait(screen: Screen, place: Place, queues: list[str] | None, patience: float) -> list[Consumer]:
    """Those of multi's workers that still consume when the time is over."""
    deadline = time.monotonic() + patience
    while True:
        found = place.broker.consumers(queues)
        left = deadline - time.monotonic()
        if not found or left <= 0:
            screen.settle()
            return found
        if screen.is_live:
            names = ", ".join(dict.fromkeys(each.name for each in found))
            screen.live(f"waiting for {names}, {max(each.left for each in found):.0f} s of their leases are left")
        time.sleep(min(_LOOK, left))


def _foresee(screen: Screen, place: Place, wanted: list[str] | None, *, dead: bool, as_json: bool) -> None:
    counts = place.broker.counts(place.queues if wanted is None else wanted)
    rows = [each for each in counts if wanted is None or each.name in wanted]
    consumers = place.broker.consumers(wanted)
    if as_json:
        told = [{"name": each.name, "parked": each.parked, "claimed": each.claimed, "dead": each.dead} for each in rows]
        names = sorted({each.name for each in consumers})
        click.echo(json.dumps({"dry_run": True, "queues": told, "consumers": names}))
        return
    shown = [
        (each.name, _number(each.parked), _number(each.claimed), _number(each.dead if dead else 0)) for each in rows
    ]
    screen.table(("QUEUE", "PARKED", "CLAIMED", "DEAD"), shown, right=(1, 2, 3))
    if consumers:
        screen.line(f"workers of multi still consume: {', '.join(dict.fromkeys(each.name for each in consumers))}")
    screen.line("what is claimed moves if its worker is dead; nothing was moved now")


def _tell(screen: Screen, place: Place, found: HandedBack, *, dead: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({name: getattr(found, name) for name in found.__struct_fields__}))
        return
    if place.broker.abilities.lease:
        screen.show(f"parked: {found.parked} handed back")
        screen.show(f"claimed by dead workers: {found.claimed} handed back")
    else:
        screen.show("parked: come to their queues by themselves when they are due")
        screen.show("claimed by dead workers: are back in their queues already")
    if dead:
        screen.show(f"dead letters: {found.dead} handed back")
    if found.held:
        screen.show(
            f"{found.held} are held by workers that live, or whose lease isn't over; once more for what they leave"
        )


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
