"""`multi logs`."""

from __future__ import annotations

import os
import re
from typing import Any

import click

from multi.cli.arguments import complete_words
from multi.cli.group import DONE, FAILED, UNKNOWN
from multi.cli.known import end, known
from multi.cli.moments import parse_moment
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.screen import Screen, complain
from multi.controller.journal import Journal
from multi.controller.managers.base import ManagerError
from multi.controller.node import Node
from multi.controller.reading import Piece, Stream, Wanted, past
from multi.controller.tail import Follow, Tail
from multi.errors import ConfigurationError
from multi.log import COLORS, parse_level

LINES = 20
_PREFIXES = ("cyan", "yellow", "magenta", "blue", "green", "bright_cyan", "bright_magenta", "bright_blue")


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--follow", "-f", "follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "--lines",
    "-n",
    "lines",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many lines of each node, each entry whole (20).",
)
@click.option(
    "--since", metavar="TIME", help="All since then: 10m, 2h, 1d (ago), 10:30, 2026-11-21, 2026-11-21T10:00, yesterday."
)
@click.option("--grep", "-g", "grep", metavar="REGEX", help="Only entries that match; (?i)… ignores case.")
@click.option(
    "--level",
    metavar="LEVEL",
    shell_complete=complete_words(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    help="Only entries of this level or a graver one, as WARNING.",
)
@click.option("--no-prefix", is_flag=True, help="Don't begin lines with the node's name.")
@click.option("--raw", is_flag=True, help="Show lines of JSON as they are.")
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@json_option
@state_dir_option
@click.pass_context
def logs(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The last lines of nodes' logs, merged in the order of time; of several nodes, each line begins with the node's name.

    An entry and its further lines, as those of a traceback, are chosen and shown together. --since, --grep and --level look
    through older and compressed copies, too.

    \b
    multi logs w1 -n 100
    multi logs -f w1 w2
    multi logs --since 2h --level WARNING
    multi logs w1 --grep 'Timeout|refused' -n 5
    """
    request = Request(ctx, given)
    chosen, missing = known(request, nodes, by_default_all=True)
    wanted = _wanted(given)
    journals: list[Journal] = []
    tails = _tails(chosen, wanted, journals)
    if not tails:
        if not chosen and not missing:
            complain("no nodes are known here; `multi ls --all` lists those of every project")
        end(ctx, missing, FAILED)
    if given["follow"]:
        for error in missing:  # there is no end at which it could be told
            complain(str(error))
    printer = Printer(request.screen, [*tails], given)
    # watched before the first look, so that nothing is missed in between
    follow = Follow([tail.path for tail in tails.values()]) if given["follow"] else None
    for journal in journals if given["follow"] else ():
        journal.follow()
    try:
        for piece in past(tails, wanted):
            printer.show(piece)
        if follow is None:
            end(ctx, missing)
        streams = [Stream(name, tail, wanted) for name, tail in tails.items()]
        while True:
            found = [piece for stream in streams for piece in stream.more()]
            for piece in sorted(found, key=lambda piece: piece.entry.when or 0.0) if len(streams) > 1 else found:
                printer.show(piece)
            if not any(tail.is_behind for tail in tails.values()):
                follow.wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        for journal in journals:
            journal.close()
    ctx.exit(UNKNOWN if missing else DONE)


def _wanted(given: dict[str, Any]) -> Wanted:
    pattern = level = None
    if given["grep"] is not None:
        try:
            pattern = re.compile(given["grep"], re.MULTILINE)
        except re.error as error:
            where = f" at character {error.pos + 1}" if error.pos is not None else ""
            raise ConfigurationError(
                f"--grep {given['grep']!r} is no regular expression: {error.msg}{where}; a character that is meant as such "
                r"needs a backslash, as in '\(' "
            ) from None
    if given["level"] is not None:
        try:
            level = parse_level(given["level"])
        except ValueError as error:
            raise ConfigurationError(f"--level: {error}") from None
    since = parse_moment(given["since"], "--since") if given["since"] is not None else None
    count = given["lines"]
    if count is None and since is None:
        count = LINES
    return Wanted(count, since, pattern, level)


def _tails(nodes: list[Node], wanted: Wanted, journals: list[Journal]) -> dict[str, Tail]:
    """The logs that can be read; of the others it is said why not. Copies of journals are added to `journals`."""
    tails: dict[str, Tail] = {}
    for node in nodes:
        if node.unit is not None and node.unit.log_file is None and node.manager is not None:
            try:
                journals.append(
                    Journal(node.unit, lines=None if wanted.is_choosy else wanted.limit, since=wanted.since)
                )
            except ManagerError as error:
                complain(f"{node}: {error}")
            else:
                tails[str(node)] = Tail(journals[-1].path)
            continue
        path = node.log_file
        if path is None:
            complain(f"{node} has no log file: it runs in the foreground of whoever started it")
            continue
        if os.path.exists(path) and not os.path.isfile(path):
            complain(f"the log of {node} can't be read back: {path} is no plain file")
            continue
        if not os.path.exists(path):
            complain(f"{node} has written no log yet: there is no {path}")
        elif not os.access(path, os.R_OK):
            complain(f"the log of {node} can't be read: no permission for {path}; run multi as the node's owner")
            continue
        tails[str(node)] = Tail(path)
    return tails


class Printer:
    """Puts pieces of logs on the screen."""

    def __init__(self, screen: Screen, names: list[str], given: dict[str, Any]) -> None:
        self._screen = screen
        self._as_json = given["as_json"]
        self._raw = given["raw"]
        self._prefixes: dict[str, str] = {}
        if len(names) > 1 and not given["no_prefix"]:
            width = max(map(len, names))
            for number, name in enumerate(names):
                text = f"{name.ljust(width)} | "
                color = _PREFIXES[number % len(_PREFIXES)]
                self._prefixes[name] = click.style(text, fg=color) if screen.color else text

    def show(self, piece: Piece) -> None:
        """One entry."""
        if self._as_json:
            import json

            self._screen.show(json.dumps({"node": piece.name, **piece.entry.as_json()}, ensure_ascii=False))
            return
        prefix = self._prefixes.get(piece.name, "")
        color = COLORS.get(piece.entry.level or 0, "") if self._screen.color else ""
        for line in piece.entry.lines if self._raw and piece.lines == piece.entry.text else piece.lines:
            self._screen.show(f"{prefix}{color}{line}\033[0m" if color else prefix + line)
