"""`multi list`: what the broker has written down of queues and exchanges."""

from __future__ import annotations

import json
from typing import Any

import click

from multi.brokers.looking import Binding
from multi.cli.group import DONE
from multi.cli.places import Place, hold_for_subcommands, open_place, place_options, screen_of
from multi.cli.screen import complain


@click.group(name="list")
@place_options
@click.pass_context
def list_(ctx: click.Context, /, **given: Any) -> None:
    """What the broker has written down.

    \b
    multi list bindings
    """
    hold_for_subcommands(ctx, given)


@list_.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@place_options
@click.pass_context
def bindings(ctx: click.Context, /, *, as_json: bool, **given: Any) -> None:
    """Which queue gets what is sent to which exchange with which routing key.

    RabbitMQ tells that by its management plugin only, where the broker's option `management` is set (true, or the plugin's URL);
    without it the bindings are shown that the app declares there.

    \b
    multi list bindings -A proj
    multi list bindings -b redis://localhost:6379/0 --json

    Exit codes: 0 shown, 1 the broker can't be reached, 2 wrong usage or configuration.
    """
    place = open_place(ctx, given)
    told = place.broker.abilities.bindings
    found = set(_declared(place))
    if told:
        found.update(place.broker.bindings())
    else:
        place.broker.check()
        complain(
            f"{place.broker.masked} doesn't tell its bindings: these are the ones that the app declares. Its management plugin "
            "has all (broker_transport_options management=True), and rabbitmqctl list_bindings"
        )
    rows = sorted(found)
    if as_json:
        click.echo(json.dumps([{"exchange": each.exchange, "queue": each.queue, "key": each.key} for each in rows]))
    elif rows:
        shown = [(each.exchange or "(default)", each.queue, each.key) for each in rows]
        screen_of(ctx).table(("EXCHANGE", "QUEUE", "ROUTING KEY"), shown)
    else:
        screen_of(ctx).line("nothing is bound")
    place.app.close()
    ctx.exit(DONE)


def _declared(place: Place) -> list[Binding]:
    topology = place.app.topology
    return [
        Binding(each.exchange.name, name, each.routing_key)
        for name, queue in topology.queues.items()
        if not queue.per_node
        for each in topology.bindings(name)
    ]
