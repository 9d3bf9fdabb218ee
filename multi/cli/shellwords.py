"""A command of ours whose arguments are a command line for other machines."""

from __future__ import annotations

from typing import Any

import click


class OfOthers(click.Command):
    """Its argument `command` takes all words behind the options. A single word is a line for the shell, and behind that our
    options may stand, too, as with other commands; behind several words they would be taken for that command's, and are refused
    unless a `--` says that they are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [*args]
        rest = super().parse_args(ctx, args)
        words: tuple[str, ...] = ctx.params.get("command") or ()
        spellings = {
            text for one in self.get_params(ctx) for text in (*one.opts, *one.secondary_opts) if text[:1] == "-"
        }
        strays = [word for word in words[1:] if word.partition("=")[0] in spellings]
        if "--" in given or not strays:
            return rest
        before = given[: len(given) - len(words)]
        if (found := self._behind(ctx, [*before, *words[1:], words[0]])) is None:
            raise click.UsageError(
                f"{strays[0]} stands behind the command, and would be a word of it; put it before the command, or -- before "
                "that, where it is one",
                ctx,
            )
        ctx.params = found
        return []

    def _behind(self, ctx: click.Context, args: list[str]) -> dict[str, Any] | None:
        """What the words mean with options behind a single word; None where they are more than options."""
        another = click.Context(self, ctx.parent, ctx.info_name, obj=ctx.obj)
        another.allow_interspersed_args = False
        try:
            super().parse_args(another, args)
        except click.UsageError:
            return None
        return another.params if len(another.params.get("command") or ()) == 1 else None
