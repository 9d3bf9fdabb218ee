"""`multi status`."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from multi.cli.group import DONE, UNKNOWN
from multi.cli.nodes import Request, json_option, nodes_argument, state_dir_option
from multi.cli.optional import OptionalValue
from multi.cli.screen import Screen, clock, complain
from multi.cli.views import CRASHED_CODE, HEAD, RIGHT, STOPPED_CODE, UNKNOWN_CODE, View, look
from multi.controller.node import Node
from multi.errors import ConfigurationError

_EVERY = "2"


def _is_number(word: str) -> bool:
    try:
        return float(word) >= 0
    except ValueError:
        return False


@click.command(cls=OptionalValue, spelling="--watch", alone=_EVERY, looks=_is_number)
@nodes_argument
@click.option("--all", "everywhere", is_flag=True, help="Of every project.")
@click.option(
    "--all-workers", is_flag=True, help="Every worker that answers through the broker, on any host; Celery's, too."
)
@click.option(
    "-t",
    "--timeout",
    metavar="SECONDS",
    type=float,
    help="With --all-workers: how long to wait for the next answer (1).",
)
@click.option("--watch", metavar="[SECONDS]", help=f"Again and again, until Ctrl-C ({_EVERY}).")
@json_option
@state_dir_option
@click.pass_context
def status(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """What nodes are doing; without names, those of the project.

    The exit code is 0 when all of them run, 1 when one has crashed (also where it is started again in a moment) or was
    given up, 3 when one is stopped, 4 for an unknown node (the others are shown). The pid is the keeper's, as in the pidfile.

    With --all-workers it asks, as `celery status` does, who is there on the broker of -A, -b or multi.toml, wherever they run:
    then it is 0 when all answer, 1 when some don't, and 69 when nobody does. Names must be whole there: w1@host.

    \b
    multi status
    multi status w1 --json
    multi status --watch 5
    multi status --all-workers -A proj
    """
    request = Request(ctx, given)
    if given["all_workers"]:
        if given["everywhere"] or given["watch"] is not None:
            raise ConfigurationError("--all-workers goes with names, --timeout and --json, not with --all or --watch")
        from multi.cli import everybody

        ctx.exit(everybody.show(ctx, nodes, {**given, **request.options}))
    if given["timeout"] is not None:
        raise ConfigurationError(
            "--timeout is for the answers to --all-workers; a node here is looked at without asking it"
        )

    def chosen() -> list[Node]:
        if given["everywhere"]:
            return request.everywhere(nodes)
        return request.nodes(nodes) if nodes else request.all()

    if given["watch"] is None:
        known, missing = request.known(nodes, everywhere=given["everywhere"]) if nodes else (chosen(), [])
        views = look(known)
        if given["as_json"]:
            request.screen.show(json.dumps([view.as_json() for view in views], indent=2))
        elif views or not missing:
            print_table(request.screen, views)
        for error in missing:
            complain(str(error))
        ctx.exit(UNKNOWN if missing else code_of(views))
    ctx.exit(_watch(request.screen, chosen, _seconds(given["watch"]), as_json=given["as_json"]))


def _seconds(text: str) -> float:
    if not _is_number(text) or float(text) < 0.1:
        raise ConfigurationError(f"--watch {text}: it should be a number of seconds, at least 0.1")
    return float(text)


def _watch(screen: Screen, chosen: Any, seconds: float, *, as_json: bool) -> int:
    """Show it again and again: in place on a terminal, one below the other elsewhere; the exit code of the last look."""
    views: list[View] = []
    is_first = True
    try:
        while True:
            views = look(chosen(), views)
            if as_json:
                screen.show(json.dumps([view.as_json() for view in views]))
            elif screen.is_live:
                screen.page(
                    [f"Every {seconds:g} s; {clock(time.time())}; Ctrl-C ends it", "", *lines_of(screen, views)]
                )
            else:
                screen.show(("" if is_first else "\n") + clock(time.time()))
                print_table(screen, views)
            is_first = False
            time.sleep(seconds)
    except KeyboardInterrupt:
        return code_of(views)


def print_table(screen: Screen, views: list[View]) -> None:
    """The table, and what it has no column for."""
    for line in lines_of(screen, views):
        screen.show(line)


def lines_of(screen: Screen, views: list[View]) -> list[str]:
    """The table's lines. What the nodes are is told where one of them is something else than a worker of multi's, and whose they
    are where they are of several projects."""
    if not views:
        return ["No nodes are known here. Start one: multi start w1 -A proj -l INFO"]
    engines = [view.engine for view in views]
    head, rows, right = list(HEAD), [view.row for view in views], RIGHT
    if {*engines} != {"multi"}:
        head.insert(2, "engine")
        for row, engine in zip(rows, engines, strict=True):
            row.insert(2, engine)
        right = tuple(column + (column >= 2) for column in right)
    if {view.run_by for view in views} != {"multi"}:
        head.append("run by")
        for row, view in zip(rows, views, strict=True):
            row.append(view.run_by)
    projects = [view.node.place.project for view in views]
    if len({one.key for one in projects}) > 1:
        head.append("project")
        for row, one in zip(rows, projects, strict=True):
            row.append(one.location)
    return screen.rows(head, rows, right) + [f"{view.node}: {view.note}" for view in views if view.note]


def code_of(views: list[View]) -> int:
    """One exit code for all: the worst news first."""
    if not views:
        return UNKNOWN
    codes = {view.code for view in views}
    return next((code for code in (CRASHED_CODE, UNKNOWN_CODE, STOPPED_CODE) if code in codes), DONE)
