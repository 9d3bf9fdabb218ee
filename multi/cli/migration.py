"""What `multi check --migration` shows."""

from __future__ import annotations

import json

import click
import msgspec

from multi.app.migration import reading
from multi.app.migration.findings import DIFFERS, ERROR, NOTE, OLD
from multi.cli.group import DONE, USAGE
from multi.cli.screen import Screen
from multi.errors import ConfigurationError

_TITLES = {
    ERROR: "Would not work as it is",
    DIFFERS: "Works, and does something else than with Celery",
    NOTE: "Is accepted, and has no meaning here",
    OLD: "Is understood, and has a newer name",
}


def show(path: str, *, as_json: bool, quiet: bool) -> int:
    """Read the project at `path` and print what is found; the exit code."""
    try:
        project = reading.read(path)
    except ConfigurationError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "folder": path, "error": str(error), "findings": []}, indent=1))
        return USAGE
    errors = project.of(ERROR)
    if as_json:
        click.echo(json.dumps({"ok": not errors, **msgspec.to_builtins(project)}, indent=1))
        return USAGE if errors else DONE
    screen = Screen(quiet=quiet and not errors)
    for level, title in _TITLES.items():
        found = project.of(level)
        if found:
            screen.line(f"{title} ({len(found)}):")
            for finding in found:
                screen.line(f"  {finding}")
            screen.line()
    counts = f"{project.files} files, {project.settings} settings, {len(project.tasks)} tasks"
    screen.line(
        f"{project.folder}: {screen.paint('errors' if errors else 'OK', not errors)}; {counts}, {len(errors)} errors"
    )
    return USAGE if errors else DONE
