"""`multi report`: what runs here, for a question to somebody who can't look."""

from __future__ import annotations

import json
from typing import Any

import click

from multi import log
from multi.cli.group import DONE, exit_code
from multi.cli.places import before, meant_app, place_options, screen_of
from multi.errors import AppNotFound, MultiError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@place_options
@click.pass_context
def report(ctx: click.Context, /, *, as_json: bool, **given: Any) -> None:
    """Versions, the system, and the settings of an app with their secrets masked: what belongs into a bug report.

    The app is that of -A, else that of multi.toml; where there is neither, all but the app is told.

    \b
    multi report
    multi report -A proj --json

    Exit codes: 0 told, 1 the project fails while it is imported, 2 wrong usage or configuration; all is told that can be.
    """
    from multi.app import reporting
    from multi.app.modules import import_all

    told = reporting.report()
    named = given.get("app") or before(ctx).get("app")
    code = DONE
    try:
        app, _, is_projects = meant_app(ctx, given, whose="settings")
        told = reporting.report(app) | told  # the folder is where the command was given
        if is_projects:
            import_all(app)
        told["app"]["tasks"] = str(len(app.tasks))
    except (Exception, SystemExit) as error:
        # a project's own code while it is imported, too: one more thing that belongs into the report
        if named or not isinstance(error.__cause__, AppNotFound):
            name = {"name": named} if named else {}
            told["app"] = {**name, **told.get("app", {}), "error": log.mask_passwords(_said(error))}
            code = exit_code(error)
    if as_json:
        click.echo(json.dumps(told, indent=1, default=str))
        ctx.exit(code)
    screen = screen_of(ctx)
    for line in reporting.lines(told):
        screen.show(line)
    ctx.exit(code)


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, MultiError) else f"{type(error).__name__}: {error}"
