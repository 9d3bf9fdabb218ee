"""Tells how far something is that takes its time: one live line on a terminal, now and then a plain one elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from multi.cli.screen import Screen
from multi.controller import activity
from multi.controller.activity import BEFORE, Activity
from multi.controller.node import Node, Status

#: Nothing is told of what takes no longer than this.
QUIET = 1.0
#: Between two plain lines about one node.
PAUSE = 5.0

_BAR = 12


class Item(NamedTuple):
    """One node that is on its way: what to say of it, and the part of that whose change is news ("": none is)."""

    node: Node
    text: str
    gist: str


class Progress:
    """The progress of `total` nodes; `word` says what they become."""

    def __init__(self, screen: Screen, total: int, word: str) -> None:
        self.screen = screen
        self.total = total
        self.word = word
        self.begun = time.monotonic()
        self._told: dict[str, tuple[str, float]] = {}

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self.begun >= QUIET

    def show(self, items: Sequence[Item]) -> None:
        """Tell of those that are left; nothing in the first second."""
        if not self.is_due or self.screen.quiet:
            return
        if self.screen.is_live:
            done = self.total - len(items)
            texts = [f"{item.node.name.short} {item.text}" for item in items]
            self.screen.live(f"{bar(done, self.total)} {done}/{self.total} {self.word}  {' · '.join(texts)}")
            return
        now = time.monotonic()
        for item in items:
            gist, when = self._told.get(str(item.node), ("", 0.0))
            if item.gist and gist != item.gist and now - when >= PAUSE:
                self._told[str(item.node)] = (item.gist, now)
                self.screen.item(item.node, item.text)

    def forget(self, node: Node) -> None:
        """Something else was told of a node: what follows is news, and need not wait."""
        self._told.pop(str(node), None)

    def close(self) -> None:
        """Nothing is left."""
        self.screen.settle()

    def ticker(self, items: Callable[[], Sequence[Item]]) -> Callable[[], None]:
        """A function that looks and tells, to be called from time to time."""

        def tick() -> None:
            if self.is_due and not self.screen.quiet:
                self.show(items())

        return tick


def bar(done: int, total: int) -> str:
    """A bar of fixed width."""
    full = _BAR * done // total if total else _BAR
    return f"[{'#' * full}{'.' * (_BAR - full)}]"


def draining(node: Node, status: Status | None = None) -> Item:
    """What a node that is told to stop still has to do."""
    status = status or node.status()
    found = activity.of(node, status)
    if found is None and not status.workers:
        return Item(node, "ending", "")  # it is down at this very moment
    if found is None:
        return Item(node, "draining: nothing is known of its tasks", "unknown")
    if not found.active:
        return Item(node, "draining: no active task, it is ending", "ending")
    return Item(node, f"draining: {busy(found)}", gist(found))


def busy(found: Activity) -> str:
    """How many tasks run, and the oldest of them: "3 active, oldest 42 s (proj.tasks.resize)"."""
    text = f"{found.active} active"
    oldest = found.oldest
    if oldest is not None and found.oldest_seconds is not None:
        text += f", oldest {span(found.oldest_seconds)}"
        if oldest.name:
            text += f" ({oldest.name})"
    return f"{text}, as far as was known {BEFORE}" if found.source == BEFORE else text


def gist(found: Activity) -> str:
    """What of that is news when it changes: not that time goes by."""
    oldest = found.oldest
    return f"{found.active} {oldest.name if oldest else ''} {oldest.since if oldest else ''}"


def span(seconds: float) -> str:
    """A span of time as people write it."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
