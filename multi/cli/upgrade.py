"""`multi upgrade`: files of a project brought up to date."""

from __future__ import annotations

import difflib
import os
import tempfile

import click

from multi.cli.group import DONE
from multi.cli.screen import Screen, complain
from multi.errors import ConfigurationError


@click.group()
def upgrade() -> None:
    """Bring files of a project up to date.

    \b
    multi upgrade settings proj/celeryconfig.py
    multi upgrade settings proj/settings.py --django --dry-run
    """


@upgrade.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option(
    "--django", is_flag=True, help="Names as Django's settings have them: CELERY_ and the new name, in capitals."
)
@click.option("--dry-run", is_flag=True, help="Show what would change, as a diff; write nothing.")
@click.option("--no-backup", is_flag=True, help="Don't keep the old file as FILE.orig.")
@click.pass_context
def settings(ctx: click.Context, /, file: str, *, django: bool, dry_run: bool, no_backup: bool) -> None:
    """Give the settings in FILE their new names; everything else stays as it is, comments too.

    Old and new names are understood alike, so nothing has to be rewritten; done twice it changes nothing more. What
    Celery itself has removed is left, and named.

    \b
    multi upgrade settings proj/celeryconfig.py --dry-run
    """
    from multi.app.migration.rewriting import rewrite

    try:
        with open(file, "rb") as opened:
            source = opened.read()
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}") from None
    found = rewrite(source, file, django=django)
    for line, reason in found.left:
        complain(f"{file}:{line}: {reason}")
    screen = Screen()
    if not found.renamed:
        screen.line(f"{file}: nothing was renamed" if found.left else f"{file}: no setting has an old name")
        ctx.exit(DONE)
    old = source.decode(found.encoding)
    if dry_run:
        for row in difflib.unified_diff(
            old.splitlines(), found.text.splitlines(), file, f"{file} (new)", lineterm="", n=1
        ):
            click.echo(row)
        ctx.exit(DONE)
    for line, name, new in found.renamed:
        screen.line(f"{file}:{line}: {name} -> {new}")
    _write(file, source, found.data, keep=not no_backup)
    kept = "" if no_backup else f"; the old file is {file}.orig"
    screen.line(f"{file}: {len(found.renamed)} settings have their new names{kept}")
    ctx.exit(DONE)


def _write(file: str, source: bytes, text: bytes, *, keep: bool) -> None:
    """Put the new text in place of the old one in one step, with the same permissions."""
    real = os.path.realpath(file)
    folder = os.path.dirname(real)
    try:
        if keep:
            with open(f"{file}.orig", "xb") as original:
                original.write(source)
        with tempfile.NamedTemporaryFile("wb", dir=folder, prefix=".upgrade-", delete=False) as made:
            made.write(text)
        os.chmod(made.name, os.stat(real).st_mode & 0o7777)
        os.replace(made.name, real)
    except FileExistsError:
        raise ConfigurationError(f"{file}.orig exists; move it away, or give --no-backup") from None
    except OSError as error:
        raise ConfigurationError(f"{file} can't be written: {error.strerror}") from None
