"""`multi revoke`: has tasks not run any more."""

from __future__ import annotations

import json
from typing import Any

import click

from multi.cli.group import DONE
from multi.cli.places import open_place, place_options, refuse_empty, screen_of
from multi.errors import ConfigurationError, MultiError

_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "ABRT", "KILL", "USR1")


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--terminate", is_flag=True, help="End those that run already, too.")
@click.option(
    *("-s", "--signal"),
    "signal_name",
    metavar="NAME",
    help="The signal with which they are ended (TERM); USR1 raises SoftTimeLimitExceeded in them.",
    shell_complete=lambda ctx, param, start: [each for each in _SIGNALS if each.startswith(start.upper())],
)
@click.option("--json", "as_json", is_flag=True, help="What was found of each, as JSON.")
@place_options
@click.pass_context
def revoke(
    ctx: click.Context,
    /,
    ids: tuple[str, ...],
    *,
    terminate: bool,
    signal_name: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Have tasks not run any more: the worker that gets one records it as revoked.

    What runs already goes on to its end, unless --terminate is given. All workers are told, those that are away now when they
    come; see docs/control.md for how long that is kept.

    \b
    multi revoke 5f2b9c4e-1d0a-4f0e-9a35-0c4a1f3ec2b7
    multi revoke -A proj 5f2b9c4e-1d0a-4f0e-9a35-0c4a1f3ec2b7 --terminate --signal KILL

    Exit codes: 0 said, 1 the broker can't be reached, 2 wrong usage or configuration.
    """
    if signal_name is not None and not terminate:
        raise ConfigurationError("--signal is how --terminate ends what runs; give both")
    wanted = list(dict.fromkeys(ids))
    for each in wanted:
        refuse_empty(each, "the id of no task")
    place = open_place(ctx, given, whose="workers")
    states = {each: _state(place.app, each) for each in wanted}
    try:
        place.app.control.revoke(wanted, terminate=terminate, signal=signal_name)
    except (TypeError, ValueError) as error:
        if isinstance(error, MultiError):
            raise
        raise ConfigurationError(str(error).replace("signal=", "--signal ", 1)) from None
    if as_json:
        click.echo(json.dumps([{"id": each, "state": state or None} for each, state in states.items()]))
    else:
        screen = screen_of(ctx)
        for each, state in states.items():
            text = "revoked"
            if state in ("SUCCESS", "FAILURE", "REVOKED"):
                text = f"has ended already: {state}"
            elif state in ("STARTED", "PROGRESS") and not terminate:
                text = "revoked, but it runs already and goes on; --terminate ends it"
            screen.show(f"{each}: {text}")
    place.app.close()
    ctx.exit(DONE)


def _state(app: Any, task_id: str) -> str:
    """As far as it is recorded: that is an extra, and needs a backend that others than the sender can ask."""
    try:
        if app.backend is None or app.backend.url.startswith("rpc:"):
            return ""
        found = app.AsyncResult(task_id)
        return str(found.state) if found.exists() else ""
    except MultiError:
        return ""
