"""A group of commands that are imported when they are used: `multi stop` pays for no other command's imports."""

from __future__ import annotations

import importlib
from typing import Any

import click

#: Per command: where it is (`module:attribute`) and what it does.
Table = dict[str, tuple[str, str]]


class LazyGroup(click.Group):
    """`table` names the commands, `sections` their order in the help: all in one without it; `elsewhere` says of commands
    that others have what to use instead."""

    def __init__(
        self,
        *args: Any,
        table: Table,
        sections: dict[str, tuple[str, ...]] | None = None,
        elsewhere: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.table = table
        self.elsewhere = elsewhere or {}
        self.sections = sections or {"Commands": tuple(table)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module, _, attribute = self.table[name][0].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.table:
            import difflib

            if (instead := self.elsewhere.get(args[0])) is not None:
                ctx.fail(f"There is no command {args[0]!r} here: {instead}")
            near = difflib.get_close_matches(args[0], self.table, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"`{ctx.command_path} --help` lists them."
            words = [*ctx.command_path.split()[1:], args[0]]
            ctx.fail(f"There is no command {' '.join(words)!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.table[name][1]) for name in names])
