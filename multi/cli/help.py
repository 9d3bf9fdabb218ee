"""`multi help`."""

from __future__ import annotations

import click

from multi.cli.group import COMMANDS


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in COMMANDS if name.startswith(incomplete)]


@click.command("help")
@click.argument("command", required=False, shell_complete=_complete)
@click.pass_context
def help_(ctx: click.Context, /, command: str | None) -> None:
    """What COMMAND does, with its options and examples; without one, which commands there are.

    \b
    multi help
    multi help start
    """
    group = ctx.parent
    assert group is not None
    assert isinstance(group.command, click.Group)
    if command is None:
        click.echo(group.get_help())
        return
    _, found, _ = group.command.resolve_command(group, [command])
    assert found is not None
    click.echo(found.get_help(click.Context(found, info_name=command, parent=group)))
