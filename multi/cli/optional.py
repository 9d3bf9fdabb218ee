"""Options that may stand alone or have a value behind them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from multi.cli.nodes import NodesCommand


class OptionalValue(NodesCommand):
    """A command with such an option; the next word is its value only where it `looks` like one, else a node's name."""

    def __init__(self, *args: Any, spelling: str, alone: str, looks: Callable[[str], bool], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._spelling = spelling
        self._alone = alone
        self._looks = looks

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        behind = ""
        rest = list(args)
        while rest:
            word = rest.pop(0)
            if word == "--":
                words += [word, *rest]
                break
            if word == self._spelling:
                has_value = bool(rest) and self._looks(rest[0])
                behind = rest[0] if rest and not has_value else ""
                value = rest.pop(0) if has_value else self._alone
                word = f"{word}={value}"
            words.append(word)
        left = super().parse_args(ctx, words)
        names: tuple[str, ...] = ctx.params.get("nodes") or ()
        if self._alone == HERE and len(names) > 1 and behind in names and behind != names[0]:
            raise click.UsageError(
                f"{self._spelling} {behind}: is this to be watched, or a node? There is no file or folder {behind}; a node's "
                f"name stands before {self._spelling}",
                ctx,
            )
        return left


WATCH = click.option(
    "--watch",
    metavar="[PATH]",
    help="For development: stay, show the nodes' lines, and reload them when code below PATH (here) changes.",
)
HERE = "."


def looks_like_path(word: str) -> bool:
    """Whether the word behind --watch is its path, and not the name of a node."""
    return os.sep in word or word in (".", "..") or os.path.exists(word)
