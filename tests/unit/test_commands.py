"""Every command can be loaded, stands in one section of the help, and shows how it is used."""

from __future__ import annotations

import click
import pytest

from multi.cli.group import COMMANDS, SECTIONS, cli


def test_every_command_stands_in_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_tells_what_it_does_and_how_it_is_used(name: str) -> None:
    context = click.Context(cli, info_name="multi")
    command = cli.get_command(context, name)
    assert command is not None
    text = command.get_help(click.Context(command, parent=context, info_name=name))
    assert f"\n  multi {name}" in text, "its help has no example"
