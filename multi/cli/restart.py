"""`multi restart`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from multi.cli import stop as stop_command
from multi.cli.arguments import complete_words
from multi.cli.group import DONE, FAILED, INTERRUPTED
from multi.cli.guard import FORCE, refuse_last_consumers
from multi.cli.nodes import (
    Request,
    nodes_argument,
    parse_signal,
    record_of,
    refuse_broken_environment,
    refuse_files_of_others,
    refuse_shared_files,
    state_dir_option,
)
from multi.cli.optional import HERE, WATCH, OptionalValue, looks_like_path
from multi.cli.policy import SPAN, policy_options
from multi.cli.progress import Item, Progress, busy, draining, gist
from multi.cli.screen import Screen, complain
from multi.cli.start import check_values, managed_of, show, specification, stay, tell, watched
from multi.cli.stop import ALL
from multi.controller import activity, roll
from multi.controller import start as starting
from multi.controller import stop as stopping
from multi.controller.guard import uncovered
from multi.controller.managed import start_of
from multi.controller.node import Node
from multi.controller.roll import HELD, OVER, STARTING, WAITING, Ladder, News, Turn
from multi.controller.start import ALREADY, Result, Start
from multi.errors import ConfigurationError, NodeError

WAYS = (
    click.option("--when-idle", is_flag=True, help="Let each finish first: it consumes nothing until no task runs."),
    click.option("--deadline", type=SPAN, metavar="SPAN", help="With --when-idle: then restart all the same, as 2h."),
    click.option("--rolling", is_flag=True, help="One batch after the other, each ready before the next."),
    click.option("--batch", metavar="N|P%", help="With --rolling: how many at once, or which part of them (1)."),
    click.option(
        "--max-failures", type=click.IntRange(min=0), metavar="N", help="With --rolling: go on after N failures (0)."
    ),
    click.option("--pause", type=SPAN, metavar="SPAN", help="With --rolling: between batches."),
)
_BELONGS = {"deadline": "when_idle", "batch": "rolling", "max_failures": "rolling", "pause": "rolling"}


def ways(function: Any) -> Any:
    """How nodes are restarted."""
    for option in reversed(WAYS):
        function = option(function)
    return function


@click.command(cls=OptionalValue, passes_on=True, spelling="--watch", alone=HERE, looks=looks_like_path)
@nodes_argument
@click.option(
    "--signal",
    "signal_name",
    metavar="SIGNAL",
    default="TERM",
    shell_complete=complete_words(("TERM", "INT", "QUIT", "KILL")),
    help="TERM, INT, QUIT or KILL; also as -QUIT.",
)
@ways
@policy_options
@WATCH
@ALL
@FORCE
@state_dir_option
@click.pass_context
def restart(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Stop nodes and start them again: as they were, or with what is given changed and shown.

    A node that is down is just started. All go at once; with --rolling one batch after the other, and the roll ends
    where one doesn't come back (Ctrl-C ends it between batches). To load new code without a gap use `multi reload`.
    A change that the node can't start with is not kept.

    \b
    multi restart w1 w2
    multi restart w1 -c 8
    multi restart --all --rolling --batch 25%
    multi restart w1 w2 --when-idle --deadline 2h
    """
    for option, way in _BELONGS.items():
        if given[option] is not None and not given[way]:
            raise ConfigurationError(f"--{option.replace('_', '-')} goes with --{way.replace('_', '-')}")
    request = Request(ctx, given)
    # with -A it may be a new one, as `celery multi restart` has it; without, a wrong name must not become a node
    chosen = request.nodes(nodes, to_start="app" in request.options and not given["every"])
    path = watched(request)
    starts = prepare(request, chosen)
    if given["rolling"]:
        from multi.cli.rolling import roll_on

        code = roll_on(request, chosen, starts)
        ctx.exit(code if path is None or code == INTERRUPTED else stay(request, chosen, path))
    if not given["force"]:
        refuse_last_consumers(request.fleet, chosen, reloads=changes_nothing(starts))
    batch = Batch(request, chosen, starts)
    try:
        code = batch.run()
    except KeyboardInterrupt:
        batch.let_go()
        ctx.exit(INTERRUPTED)
    ctx.exit(code if path is None else stay(request, chosen, path))


def prepare(request: Request, nodes: list[Node]) -> dict[str, Start]:
    """Everything checked, and what changes told, before anything stops."""
    managed = managed_of(request, nodes)
    for node in managed:
        if request.own.get("when_idle") and not node.has_own_keeper:
            raise NodeError(
                f"--when-idle: {node} is run by {node.manager}, so nobody can have it consume nothing; leave it out"
            )
    nodes = [node for node in nodes if node not in managed]
    specs = [(node, *specification(request, node, anew=False)) for node in nodes]
    for _, spec, _ in specs:
        spec.check()
    for node, spec, _ in specs:
        if not os.path.isdir(spec.cwd):
            raise ConfigurationError(
                f"{node}: its directory {spec.cwd} is not there; nothing was stopped. Where the code is elsewhere now: "
                "--workdir DIR"
            )
    check_values(request, [(node, spec) for node, spec, _ in specs])
    records = [(node, record_of(node, spec)) for node, spec, _ in specs]
    refuse_shared_files(records)
    refuse_files_of_others(records, request.fleet)
    refuse_broken_environment(records)
    if request.own.get("when_idle"):
        for node in nodes:
            status = node.status()
            if status.workers and activity.of(node, status) is None:
                raise NodeError(
                    f"--when-idle: nothing is known of what {node} runs, so nobody can tell when it is idle; restart it without"
                )
    request.screen.header()
    tell(request.screen, specs, records)
    starts = {
        str(node): Start(node, record, spec.environment)
        for (node, spec, _), (_, record) in zip(specs, records, strict=True)
    }
    starts |= {str(node): start_of(node) for node in managed}
    for one in starts.values():
        one.node.place.make()
    return starts


def changes_nothing(starts: Mapping[str, Start]) -> bool:
    """Whether nodes are to come back just as they are, which `multi reload` would do as well."""
    for start in starts.values():
        kept = (start.node.record() or {}).get("kept")
        if start.record is not None and json.loads(json.dumps(start.record["kept"])) != kept:
            return False
    return True


class Batch:
    """Nodes that are restarted together."""

    def __init__(self, request: Request, nodes: list[Node], starts: dict[str, Start]) -> None:
        self.request = request
        self.screen: Screen = request.screen
        self.nodes = nodes
        self.timeout: float = request.own["timeout"]
        own = request.own
        ladder = Ladder(parse_signal(own["signal_name"]), own.get("quit_after"), own.get("kill_after"))
        self.turns: list[Turn] = []
        self.failed: list[Node] = []
        self.back: list[Node] = []
        self.progress: Progress | None = None
        if own.get("when_idle"):
            deadline = own.get("deadline")
            until = None if deadline is None else time.monotonic() + deadline
            self.turns = [Turn(starts[str(node)], None, ladder, until) for node in nodes]
        else:
            stops = [stopping.begin(node) for node in nodes]
            self.turns = [Turn(starts[str(each.node)], each) for each in stops]

    def run(self) -> int:
        """Restart them, and tell of each; the exit code."""
        screen, own = self.screen, self.request.own
        if own.get("when_idle"):
            screen.section(f"Waiting until {_count(self.turns)} idle...")
        else:
            stops = [turn.stop for turn in self.turns if turn.stop is not None]
            sent = stop_command.send(screen, stops, own, again=True)
            starting.together(turn.start for turn in self.turns)  # the import goes on while they end
            if sent:
                stop_command.announce(screen, sent)
        progress = self.progress = Progress(screen, len(self.turns), "restarted")
        code = DONE
        try:
            for event in roll.follow(self.turns, self.timeout, progress.ticker(self._items), self._may_pause):
                code = max(code, self._tell(event))
        finally:
            progress.close()
        return code

    @property
    def on_their_way(self) -> list[Node]:
        """Those that were told to stop, or are starting, and of which nothing more is known yet."""
        known = [*self.back, *self.failed]
        return [turn.node for turn in self.turns if turn.node not in known and (turn.stop or turn.start.has_begun)]

    def let_go(self) -> None:
        """Ctrl-C lets go of the terminal; a node that was told to stop for a restart is started all the same, by a process
        that waits for its end in the background."""
        stopped = [turn for turn in self.turns if turn.stop is not None and not turn.start.has_begun]
        if stopped:
            sys.stdout.flush()
            if os.fork() == 0:
                _in_background(stopped, self.timeout)
            complain(
                f"interrupted; {_names(stopped)}: still stopping, and started again in the background when that is done. "
                "See `multi status`"
            )
        if begun := [turn for turn in self.turns if turn.start.has_begun]:
            complain(f"interrupted; {_names(begun)}: starting in the background. See `multi status`")
        if untouched := [turn for turn in self.turns if turn.stop is None and not turn.start.has_begun]:
            complain(f"interrupted; {_names(untouched)}: not restarted, and consuming as before")

    def _tell(self, event: stopping.Down | Result | News) -> int:
        if isinstance(event, News):
            self.screen.item(event.node, event.text)
            if self.progress is not None:
                self.progress.forget(event.node)
            return DONE
        if isinstance(event, Result):
            turn = next(turn for turn in self.turns if turn.node is event.node)
            # it was down; where it runs already, another command was the first to start it
            code = show(self.screen, event, self.timeout, restarted=not turn.was_down or event.kind == ALREADY)
            (self.back if code == DONE else self.failed).append(event.node)
            return code
        return stop_command.show(self.screen, event)

    def _may_pause(self, nodes: list[Node]) -> bool:
        return not uncovered(self.request.fleet, nodes, whole=True)

    def _items(self) -> list[Item]:
        return [_item(turn) for turn in self.turns if turn.phase != OVER]


def _item(turn: Turn) -> Item:
    if turn.phase == HELD:
        return Item(turn.node, "waits for its turn, the last one here for one of its queues", "held")
    if turn.phase == STARTING:
        return Item(turn.node, "starting", "starting")
    if turn.phase == WAITING:
        status = turn.node.status()
        found = activity.of(turn.node, status)
        if found is None:
            return Item(turn.node, f"waiting: it is {status.state}", status.state)
        more = f", still consuming {','.join(found.queues)}" if found.queues else ""
        return Item(turn.node, f"waiting: {busy(found)}{more}", gist(found) + more)
    return draining(turn.node)


def _count(turns: list[Turn]) -> str:
    return f"{len(turns)} nodes are" if len(turns) > 1 else "1 node is"


def _names(turns: list[Turn]) -> str:
    return ", ".join(str(turn.node) for turn in turns)


def _in_background(turns: list[Turn], timeout: float) -> None:
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for turn in turns:
            turn.start.load = None  # it was the command's
        for _ in roll.follow([Turn(turn.start, turn.stop) for turn in turns], timeout):
            pass  # nobody listens; the node's log tells
    finally:
        os._exit(FAILED)
