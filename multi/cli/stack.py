"""`multi stack`."""

from __future__ import annotations

import time
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.known import end, known
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.screen import Screen, ago, complain
from multi.cli.stop import ALL
from multi.controller import stacks
from multi.controller import stop as stopping
from multi.controller.node import Node
from multi.controller.stacks import Process
from multi.stacks import Stack


@click.command(cls=NodesCommand)
@nodes_argument
@ALL
@json_option
@state_dir_option
@click.pass_context
def stack(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Where every process and thread of a node is at this moment, the youngest call first.

    The processes are asked with a signal, one after the other, and go on as if nothing had happened; what a child runs is told,
    too. Programs that tasks have started are named, but can't be asked. The exit code is 1 when a process of the node did not
    answer, because it is stopped, say.

    \b
    multi stack w1
    multi stack w1 w2 --json
    multi stack --all
    """
    request = Request(ctx, given)
    screen = request.screen
    code = DONE
    told: list[dict[str, Any]] = []
    chosen, missing = known(request, nodes)
    for node in chosen:
        status = stopping.settled(node)
        if not status.workers:
            complain(f"{node} is {status.state}: it has no process to be asked")
            code = FAILED
            continue
        for process in stacks.look(node, status):
            if process.expected and not process.answered:
                code = FAILED
            if given["as_json"]:
                told.append(as_json(node, process))
            else:
                show(screen, node, process)
    if given["as_json"]:
        import json

        screen.show(json.dumps(told, indent=2))
    end(ctx, missing, code)


def show(screen: Screen, node: Node, process: Process) -> None:
    """One process for people."""
    head = f"{node}: {process.name} (pid {process.pid})"
    if process.task is not None:
        task = process.task
        more = f" and {task['active'] - 1} more" if task["active"] > 1 else ""
        which = f"[{task['id']}]" if task["id"] else ""
        head += f" runs {task['name']}{which} for {ago(time.time() - task['since'])}{more}"
    if not process.answered:
        screen.show(f"{head} {screen.paint(process.trouble, None if not process.expected else False)}")
        screen.show("")
        return
    screen.show(head)
    for one in process.stacks:
        screen.show(f"  {_title(one)}")
        for frame in one.frames:
            screen.show(f"    {frame.file}:{frame.line} {frame.function}")
        if not one.frames:
            screen.show("    (no Python code)")
    screen.show("")


def _title(one: Stack) -> str:
    if one.kind == "task":
        return f"task {one.name} of the event loop"
    return f"thread {one.name}{' (had the interpreter)' if one.current else ''}"


def as_json(node: Node, process: Process) -> dict[str, Any]:
    """The same for programs."""
    return {
        "node": str(node),
        "pid": process.pid,
        "role": process.role,
        "name": process.name,
        "task": process.task,
        "trouble": process.trouble or None,
        "stacks": [
            {
                "kind": one.kind,
                "name": one.name,
                "current": one.current,
                "frames": [frame._asdict() for frame in one.frames],
            }
            for one in process.stacks
        ],
    }
