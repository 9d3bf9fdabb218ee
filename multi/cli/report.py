"""`multi report`: what runs here, for a question to somebody who can't look."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from typing import Any

import click

from multi import log
from multi.cli.group import DONE, exit_code
from multi.cli.screen import Screen
from multi.errors import MultiError

#: What is said of libraries, if they are installed.
LIBRARIES = (
    "msgspec",
    "click",
    "hiredis",
    "redis",
    "celery",
    "kombu",
    "django",
    "flask",
    "pydantic",
    "pyyaml",
    "fabric",
)


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
    told: dict[str, Any] = {"software": _software(), "platform": _platform()}
    name = app or before.get("app")
    code = DONE
    if name:
        try:
            told |= _app(name)
        except MultiError as error:  # one more thing that belongs into the report
            told["app"] = {"name": name, "error": log.mask_passwords(str(error))}
            code = exit_code(error)
    if as_json:
        click.echo(json.dumps(told, indent=1, default=str))
        ctx.exit(code)
    screen = Screen()
    for title, rows in told.items():
        screen.line(f"{title}:")
        if isinstance(rows, list):
            for row in rows or ["none"]:
                screen.line(f"  {row}")
            continue
        width = max(map(len, rows), default=0)
        for key, value in rows.items():
            screen.line(f"  {key:<{width}}  {value}")
    ctx.exit(code)


def _software() -> dict[str, str]:
    from multi import __version__

    found = {"multi": __version__, "python": f"{platform.python_version()} ({sys.executable})"}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    import sqlite3

    return {**found, "sqlite": sqlite3.sqlite_version}


def _platform() -> dict[str, str]:
    return {
        "system": platform.platform(),
        "processors": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "user": str(os.geteuid()),
        "directory": os.getcwd(),
    }


def _app(name: str) -> dict[str, Any]:
    from multi.app.connections import backend_url, broker_url
    from multi.app.find import find
    from multi.config import TABLE
    from multi.masking import STARS, is_secret, mask_arguments
    from multi.urls import mask

    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    app = find(name)
    app.conf.check()
    backend = backend_url(app)
    secret = {key for key in TABLE if is_secret(key) and not key.endswith("routing_key")}
    given = {key: app.conf[key] for key in TABLE if app.conf.is_set(key)}
    return {
        "app": {
            "name": app.main or "__main__",
            "broker": mask(broker_url(app, write=True)),
            "results": mask(backend) if backend else "disabled",
            "tasks": str(len(app.tasks)),
        },
        "settings": {key: STARS if key in secret else mask_arguments(repr(value)) for key, value in given.items()},
        "notes": app.conf.notes(),
    }
