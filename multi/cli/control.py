"""`multi control`: steering workers, multi's and Celery's, wherever they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from multi.cli.answers import show
from multi.cli.asking import Asking, asking_options, by_name
from multi.cli.commands_of_workers import any_option, complete_methods, list_option, needed, words_to_arguments
from multi.cli.group import DONE, FAILED
from multi.cli.methods import CONTROL
from multi.cli.screen import complain
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.control import Request


@click.command()
@click.argument("method", required=False, shell_complete=complete_methods(CONTROL))
@click.argument("arguments", nargs=-1)
@asking_options
@any_option
@list_option(CONTROL)
@click.pass_context
def control(ctx: click.Context, /, method: str | None, arguments: tuple[str, ...], **given: Any) -> None:
    """Have workers do something: Celery's, too, and wherever they are. Without -d or -p all are meant.

    Arguments stand in their order or as name=value; --list shows them. It returns as `multi inspect` does.

    \b
    multi control rate_limit shop.tasks.mail 100/m
    multi control time_limit shop.tasks.report 60 90 -d w1@web1
    multi control add_consumer urgent -p 'w*@web*'
    multi control revoke 8f6e1c9a-…
    multi control terminate KILL 8f6e1c9a-…
    multi control pool_grow 2 -d w1
    multi control shutdown -b redis://localhost:6379/0
    multi control --list

    Exit codes: 0 all answered, 1 some that are meant didn't or told an error, 2 wrong usage or configuration, 69 nobody
    answered, as Celery's command has it (0 for what is kept for workers that start later: revoke and terminate).
    """
    name = needed(ctx, method, CONTROL, given)
    asking = Asking.of(ctx, given)
    with closing(asking.place.app):
        ctx.exit(_steer(asking, name, arguments, anything=given["anything"]))


def _steer(asking: Asking, name: str, arguments: Sequence[str], *, anything: bool) -> int:
    """Send the command and show what is replied; the exit code."""
    found, said = words_to_arguments(asking.place, name, CONTROL, arguments, anything=anything)
    if found == "shutdown":
        return _shut_down(asking, said)
    request = asking.request(found, said)
    if found in ("revoke", "terminate", "revoke_by_stamped_headers"):
        request = _kept(asking, found, said)
    answered = asking.ask([request])
    (replies,) = answered.replies
    if asking.as_json:
        click.echo(json.dumps(replies, default=str))
        failed = any(list(each) == ["error"] for reply in replies for each in reply.values() if isinstance(each, dict))
    else:
        failed = show(asking.screen, found, by_name(replies), {})
    if request.headers.get("kept") and not replies and replies.listeners == 0:
        asking.screen.line("no worker listens; it is kept in the broker for those that start within the next hours")
        return DONE
    return asking.end(replies, failed=failed)


def _kept(asking: Asking, method: str, arguments: dict[str, Any]) -> Request:
    """A request to revoke, which is kept for workers that are away unless only some are meant."""
    from multi import revoking
    from multi.app.control.ending import signal_name
    from multi.app.control.revoking import ids_of, keep, stamps_of

    try:
        if "signal" in arguments:
            arguments["signal"] = signal_name(arguments["signal"])
        if method == "revoke_by_stamped_headers":
            arguments["headers"] = stamps_of(arguments["headers"])
            marks = revoking.of_stamps(arguments["headers"])
        else:
            arguments["task_id"] = ids_of(arguments["task_id"])
            marks = [*map(revoking.of_task, arguments["task_id"])]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error)) from None
    request = asking.request(method, arguments)
    kept = not asking.destination and not asking.pattern and keep(asking.place.app, marks)
    return request._replace(headers={"kept": kept})


def _shut_down(asking: Asking, arguments: dict[str, Any]) -> int:
    """Let workers end. Celery's say nothing to it: who was there before counts as told."""
    from multi.app.control import Request

    before = asking.ask([Request("ping", {}, asking.destination, asking.pattern, asking.matcher)]).replies[0]
    (replies,) = asking.ask([asking.request("shutdown", arguments)]).replies
    found = {name: reply for each in replies for name, reply in each.items()}
    silent = sorted((before.names - found.keys()) - replies.there)
    told = {**found, **{name: {"ok": "told to end"} for name in silent}}
    if asking.as_json:
        click.echo(json.dumps([{name: reply} for name, reply in sorted(told.items())], default=str))
        failed = any(isinstance(reply, dict) and list(reply) == ["error"] for reply in told.values())
    else:
        failed = show(asking.screen, "shutdown", told, {})
    if not told:
        return asking.end(before)
    if left := sorted((set(asking.destination or ()) | before.names) - told.keys()):
        complain(f"{', '.join(left)} didn't answer; multi inspect ping tells who is there")
    # who didn't answer the question before it may not have heard
    unknown = asking.unknown(before)
    return FAILED if left or unknown or failed else DONE
