"""`multi ps`."""

from __future__ import annotations

import time
from typing import Any

import click

from multi.cli.known import end, known
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.screen import ago, complain, size
from multi.controller import family
from multi.controller.family import Member

HEAD = ("process", "pid", "state", "cpu", "memory", "age", "runs")
RIGHT = (1, 3, 4, 5)
_WIDEST = 48


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@json_option
@state_dir_option
@click.pass_context
def ps(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The processes of nodes as a tree: the keeper, its worker, the worker's children and whatever they have started; without
    names, of all nodes of the project.

    cpu is the mean since a process's start, memory its own share of what is in memory.

    \b
    multi ps
    multi ps w1 --json
    """
    request = Request(ctx, given)
    chosen, missing = known(request, nodes, by_default_all=True)
    seen = [(node, status := node.status(), family.members(node, status)) for node in chosen]
    screen = request.screen
    if given["as_json"]:
        import json

        listed = [
            {"node": str(node), "state": status.state, "processes": [member.as_json() for member in members]}
            for node, status, members in seen
        ]
        screen.show(json.dumps(listed, indent=2))
        end(ctx, missing)
    if not seen:
        if not missing:
            complain("no nodes are known here; `multi ls --all` lists those of every project")
        end(ctx, missing)
    rows = []
    for node, status, members in seen:
        if not members:
            rows.append([str(node), "-", status.state, "-", "-", "-", "-"])
        rows += _rows(str(node), members)
    screen.table(HEAD, rows, right=RIGHT)
    end(ctx, missing)


def tree(name: str, members: list[Member]) -> list[str]:
    """The lines of the table of one node, without its head."""
    rows = _rows(name, members)
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return [
        "  ".join(
            cell.rjust(width) if column in RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _rows(name: str, members: list[Member]) -> list[list[str]]:
    return [_row(name, member, prefix) for member, prefix in zip(members, _prefixes(members), strict=True)]


def _row(name: str, member: Member, prefix: str) -> list[str]:
    about = f" {member.about}" if member.role == family.CHILD else f" ({member.about})" if member.about else ""
    text = member.about if member.role == family.PROGRAM else f"{member.role}{about}"
    if member.depth == 0:
        text = f"{name}: {text}"
    runs = "-"
    if member.task is not None:
        task = member.task
        others = f" and {task['active'] - 1} more" if task["active"] > 1 else ""
        since = f" for {ago(time.time() - task['since'])}" if task["since"] else ""
        runs = f"{task['name']}[{task['id']}]{since}{others}" if task["id"] else f"{task['name']}{since}{others}"
    shown = prefix + text
    return [
        shown if len(shown) <= _WIDEST else shown[: _WIDEST - 1] + "…",
        str(member.pid),
        member.state,
        f"{member.cpu_percent:.1f}%",
        size(member.memory),
        ago(time.time() - member.started),
        runs,
    ]


def _prefixes(members: list[Member]) -> list[str]:
    """The branches of the tree, a prefix for each process."""
    found = []
    for number, member in enumerate(members):
        text = ""
        for depth in range(1, member.depth + 1):
            # whether anything else follows at this depth, under the same parent
            follows = False
            for later in members[number + 1 :]:
                if later.depth < depth:
                    break
                if later.depth == depth:
                    follows = True
                    break
            if depth == member.depth:
                text += "├─ " if follows else "└─ "
            else:
                text += "│  " if follows else "   "
        found.append(text)
    return found
