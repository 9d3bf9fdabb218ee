"""`multi why`."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from multi.cli.known import end, known
from multi.cli.moments import parse_moment
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.screen import Screen, clock
from multi.controller import story
from multi.controller.entries import iso
from multi.controller.node import Node
from multi.controller.reading import Wanted, past
from multi.controller.tail import Tail

EVENTS, LINES = 20, 12
_BEFORE, _AFTER = 600.0, 2.0  # seconds around an event in which the log may explain it
_SAME = 0.05  # between what a keeper puts on record and what it says in the log


@click.command(cls=NodesCommand)
@nodes_argument
@click.option(
    "--events",
    "-n",
    "count",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"How many events, the last ones ({EVENTS}).",
)
@click.option("--since", metavar="TIME", help="All events since then: 10m, 2h, 1d (ago), 10:30, 2026-11-21T10:00.")
@click.option(
    "--lines",
    type=click.IntRange(min=0),
    default=LINES,
    metavar="N",
    help=f"How many lines of the log around the last trouble ({LINES}).",
)
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@json_option
@state_dir_option
@click.pass_context
def why(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """What has happened to a node, and who asked for it: how it is and why, then its starts and ends, reloads and pauses,
    and the lines of its log around the last trouble.

    \b
    multi why w1
    multi why w1 --since 1d
    multi why w1 -n 100 --lines 50
    """
    request = Request(ctx, given)
    since = parse_moment(given["since"], "--since") if given["since"] is not None else None
    count = given["count"] if given["count"] is not None or since is not None else EVENTS
    chosen, missing = known(request, nodes)
    told = [Story(node, count, since, given["lines"]) for node in chosen]
    if given["as_json"]:
        import json

        request.screen.show(json.dumps([one.as_json() for one in told], indent=2, ensure_ascii=False))
        end(ctx, missing)
    for number, one in enumerate(told):
        if number:
            request.screen.show("")
        one.show(request.screen)
    end(ctx, missing)


class Story:
    """What is told of one node."""

    def __init__(self, node: Node, count: int | None, since: float | None, lines: int) -> None:
        self.node = node
        self.status = node.status()
        every = story.read(node)
        self.present = story.present(self.status, every)
        self.events = [event for event in every if since is None or event["at"] >= since]
        sentences = story.tell(every)
        self.sentences = [one for one in sentences if since is None or one.at >= since]
        self.left_out = 0
        if count is not None:
            self.left_out = max(0, len(self.sentences) - count)
            self.sentences = self.sentences[-count:]
            self.events = self.events[-count:]
        trouble = next((event for event in reversed(every) if story.is_bad(event)), None)
        self.trouble_at = trouble["at"] if trouble is not None else None
        self.log: list[str] = []
        if trouble is not None and lines:
            # what was found gone may have gone long before
            self.log = _around(node, min(trouble["at"], trouble.get("seen") or trouble["at"]), trouble["at"], lines)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "node": str(self.node),
            "state": self.status.state,
            "since": iso(self.status.since) if self.status.since else None,
            "why": self.present,
            "story": [{"at": iso(one.at), "text": one.text, "good": one.good} for one in self.sentences],
            "events": [story.public(event) for event in self.events],
            "trouble_at": iso(self.trouble_at) if self.trouble_at is not None else None,
            "log": self.log,
        }

    def show(self, screen: Screen) -> None:
        """For people."""
        first, *more = self.present
        is_well = self.status.is_up and self.status.state != "backoff"
        screen.show(f"{self.node} - {screen.paint(self.status.state, is_well)}: {first}")
        for text in more:
            screen.show(f"  {text}")
        if self.left_out:
            screen.show(f"\n(… {self.left_out} earlier events; -n shows more)")
        elif self.sentences:
            screen.show("")
        day = ""
        for one in self.sentences:
            today = time.strftime("%Y-%m-%d", time.localtime(one.at))
            if today != day:
                screen.show(today)
                day = today
            stamp = time.strftime("%H:%M:%S", time.localtime(one.at))
            screen.show(f"  {stamp}  {screen.paint(one.text, one.good)}")
        if not self.sentences:
            screen.show("nothing is on record of that time")
        if self.log and self.trouble_at is not None:
            screen.show(f"\nThe log around {clock(self.trouble_at)}:")
            for line in self.log:
                screen.show(f"  {line}")


def _around(node: Node, first: float, at: float, lines: int) -> list[str]:
    """Lines of the log before that moment, most of all, and the first ones after it."""
    path = node.log_file
    if path is None or not os.path.isfile(path) or not os.access(path, os.R_OK):
        return []
    tail = Tail(path)
    before: list[str] = []
    after: list[str] = []
    room = lines // 4
    is_over = False
    try:
        for piece in past({str(node): tail}, Wanted(since=first - _BEFORE)):
            entry, said = piece.entry, piece.lines
            when = entry.when or 0.0
            if when > at + _AFTER or len(after) >= room > 0:
                break
            if entry.process == "Keeper" and when >= at - _SAME:
                # its verdict; the lines without a time that come behind it are the next start's
                before += said[:1]
                is_over, said = True, said[1:]
            is_over = is_over or when > at
            if is_over:
                after += said
            else:
                before += said
                del before[: -4 * lines]
    finally:
        tail.close()
    del after[room:]
    return [*before[-(lines - len(after)) :], *after]
