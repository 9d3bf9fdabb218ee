"""`multi report`: what runs here, for a question to somebody who can't look."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from multi import log
from multi.cli.group import DONE, exit_code
from multi.cli.screen import Screen
from multi.errors import MultiError

if TYPE_CHECKING:
    from multi.app.app import App


@click.command()
@click.option("-A", "--app", metavar="APP", help="An app, as for `multi worker`: its places and settings are told too.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.pass_context
def report(ctx: click.Context, /, app: str | None, *, as_json: bool) -> None:
    """Versions, the system, and the settings of an app with their secrets masked: what belongs into a bug report.

    \b
    multi report
    multi report -A proj --json
    """
    before = ctx.obj if isinstance(ctx.obj, dict) else {}
    from multi.app import reporting
    from multi.app.modules import import_all

    told = reporting.report()
    name = app or before.get("app")
    code = DONE
    if name:
        try:
            found = _found(name, before)
            told |= reporting.report(found)
            import_all(found)
            told["app"]["tasks"] = str(len(found.tasks))
        except (
            Exception
        ) as error:  # a project's own code while it is imported, too: one more thing that belongs into the report
            told["app"] = {"name": name, **told.get("app", {}), "error": log.mask_passwords(_said(error))}
            code = exit_code(error)
    if as_json:
        click.echo(json.dumps(told, indent=1, default=str))
        ctx.exit(code)
    screen = Screen()
    for line in reporting.lines(told):
        screen.line(line)
    ctx.exit(code)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, MultiError) else f"{type(error).__name__}: {error}"


#: Options before the subcommand, the variable by which the app is told, and those that would stand before it.
_VARIABLES = {
    "config": ("CELERY_CONFIG_MODULE",),
    "broker": ("CELERY_BROKER_URL", "MULTI_BROKER_URL"),
    "result_backend": ("CELERY_RESULT_BACKEND", "MULTI_RESULT_BACKEND"),
}


def _found(name: str, before: dict[str, Any]) -> App:
    """The app, with the settings that a worker would have which is started with the same options."""
    from multi.app.find import find

    for option, variables in _VARIABLES.items():
        if before.get(option):
            for variable in variables[1:]:
                os.environ.pop(variable, None)
            os.environ[variables[0]] = before[option]
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    return find(name)
