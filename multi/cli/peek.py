"""`multi peek`: shows what lies in a queue, and takes nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from multi.brokers.base import DeadLetter
from multi.brokers.looking import CLAIMED, PARKED, WAITING, Seen
from multi.cli.group import DONE
from multi.cli.known_tasks import import_tasks
from multi.cli.places import Place, open_place, place_options, refuse_empty, screen_of
from multi.cli.remembered import complete_queues
from multi.cli.screen import Screen, ago
from multi.errors import ConfigurationError, UnsupportedOption

if TYPE_CHECKING:
    from multi.app.letters import Letter

_DEAD = "dead"
_ARGUMENTS = 60


@click.command()
@click.argument("queue", metavar="QUEUE", shell_complete=complete_queues)
@click.option("-n", "--count", type=click.IntRange(min=1), default=10, metavar="N", help="How many at most (10).")
@click.option("--parked", "places", flag_value=PARKED, multiple=True, help="What waits for its time.")
@click.option("--claimed", "places", flag_value=CLAIMED, multiple=True, help="What workers hold.")
@click.option("--dead", "places", flag_value=_DEAD, multiple=True, help="Dead letters; see also multi dlq.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, with headers and properties.")
@place_options
@click.pass_context
def peek(
    ctx: click.Context, /, queue: str, *, count: int, places: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    """Show the messages that come first in a queue; nothing is taken. What is named like a secret is masked.

    RabbitMQ can't show messages without giving them out: they return to their places at once, and are marked as delivered before.
    A quorum queue would drop what was delivered too often, so it isn't looked into.

    \b
    multi peek celery
    multi peek -A proj emails -n 50 --json
    multi peek emails --parked

    Exit codes: 0 shown, 1 the broker can't be reached, 2 wrong usage or configuration.
    """
    refuse_empty(queue, "the name of no queue")
    if len(set(places)) > 1:
        raise ConfigurationError("--parked, --claimed and --dead say where to look; give one of them")
    where = places[0] if places else WAITING
    place = open_place(ctx, given)
    if where != _DEAD and where not in place.broker.abilities.peeks:
        raise UnsupportedOption(f"{place.broker.masked} doesn't show what is {where} in a queue")
    if place.is_projects:
        import_tasks(ctx, place)  # the names of their arguments tell which are secret
    rows = _look(place, queue, count, where)
    screen = screen_of(ctx)
    if as_json:
        click.echo(json.dumps(rows))
    elif rows:
        _table(screen, rows, where)
    else:
        screen.line(f"nothing is {where} in {queue}" if where != WAITING else f"nothing waits in {queue}")
    place.app.close()
    ctx.exit(DONE)


def _look(place: Place, queue: str, count: int, where: str) -> list[dict[str, Any]]:
    from multi.app.letters import describe

    found: list[tuple[Seen, DeadLetter]] = []
    if where == _DEAD:
        letters = place.broker.dead(queue)[:count]
        found = [(Seen(each.message, each.time, starts=each.starts), each) for each in letters]
    else:
        found = [(seen, _as_letter(queue, seen)) for seen in place.broker.peek(queue, count, where)]
    return [_row(seen, describe(place.app, letter, recorded=False), where) for seen, letter in found]


def _as_letter(queue: str, seen: Seen) -> DeadLetter:
    headers = seen.message.headers if seen.message is not None else {}
    task, task_id = str(headers.get("task", "")), str(headers.get("id", ""))
    return DeadLetter(task_id, queue, task, task_id, seen.fault, "", seen.starts, seen.since or 0.0, seen.message)


def _row(seen: Seen, letter: Letter, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": letter.task_id,
        "task": letter.task,
        "queue": letter.queue,
        "since": seen.since,
        "due": seen.due or None,
        "args": letter.args,
        "kwargs": letter.kwargs,
        "unread": letter.unread,
        "starts": seen.starts,
        "retries": letter.retries,
        "redelivered": seen.redelivered,
        "priority": letter.properties.get("priority"),
        "eta": letter.headers.get("eta"),
        "expires": letter.headers.get("expires"),
        "origin": letter.headers.get("origin"),
        "size": letter.size,
        "content_type": letter.content_type,
        "headers": letter.headers,
        "properties": letter.properties,
    }
    if where == _DEAD or seen.fault:
        found["reason"] = letter.reason
    return found


def _table(screen: Screen, rows: list[dict[str, Any]], where: str) -> None:
    now = time.time()
    shown = []
    for row in rows:
        if where == PARKED:
            moment = f"in {ago(row['due'] - now)}" if row["due"] and row["due"] > now else "now"
        else:
            moment = "-" if row["since"] is None else ago(now - row["since"])
        call = ", ".join(
            text for text in (row["args"].removesuffix(",)").strip("()"), row["kwargs"].strip("{}")) if text
        )
        text = row.get("reason") or (
            call if not row["unread"] else f"{call} ({row['unread']})" if call else row["unread"]
        )
        text = text.replace("\n", " ")
        shown.append(
            (
                row["id"] or "-",
                row["task"] or "?",
                moment,
                "-" if row["priority"] is None else str(row["priority"]),
                str(row["starts"]),
                text if len(text) <= _ARGUMENTS else f"{text[: _ARGUMENTS - 1]}…",
            )
        )
    head = (
        "ID",
        "TASK",
        "DUE" if where == PARKED else "AGE",
        "PRIORITY",
        "STARTS",
        "REASON" if where == _DEAD else "ARGUMENTS",
    )
    screen.table(head, shown, right=(2, 3, 4))
