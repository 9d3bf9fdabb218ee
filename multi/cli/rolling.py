"""`multi restart --rolling`: one batch after the other, each ready before the next one goes down."""

from __future__ import annotations

import signal
import time
from types import FrameType

from multi.cli.group import DONE, FAILED, INTERRUPTED
from multi.cli.guard import refuse_last_consumers
from multi.cli.nodes import Request
from multi.cli.restart import Batch, changes_nothing
from multi.cli.screen import complain
from multi.controller.node import Node
from multi.controller.roll import in_batches
from multi.controller.start import Start
from multi.errors import NodeError


class Roll:
    """The batches, and what has become of them so far."""

    def __init__(self, request: Request, nodes: list[Node], starts: dict[str, Start]) -> None:
        own = request.own
        self.request = request
        self.starts = starts
        self.batches = in_batches(nodes, own.get("batch") or "1")
        self.pause: float = own.get("pause") or 0.0
        self.tolerated: int = own.get("max_failures") or 0
        self.reloads = changes_nothing(starts)
        self.new: list[Node] = []
        self.failed: list[Node] = []
        self.under_way: list[Node] = []  # what was let go of in the middle
        self.interrupted = False

    def check(self) -> None:
        """No batch may take a queue's last consumer; looked at before the first one goes."""
        if not self.request.own["force"]:
            for batch in self.batches:
                refuse_last_consumers(self.request.fleet, batch, whole=True, reloads=self.reloads)

    def run(self) -> int:
        """Restart batch by batch; the exit code."""
        screen = self.request.screen
        code = DONE
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            for number, nodes in enumerate(self.batches, 1):
                if number > 1 and self.pause and not self.interrupted:
                    self._pause()
                if self.interrupted:
                    break
                screen.section(f"Batch {number} of {len(self.batches)}: {_names(nodes)}")
                code = max(code, self._one(nodes))
                if len(self.failed) > self.tolerated:
                    break
        finally:
            signal.signal(signal.SIGINT, before)
        return self._end(code)

    def _one(self, nodes: list[Node]) -> int:
        if not self.request.own["force"]:
            try:
                # things may have changed on the way
                refuse_last_consumers(self.request.fleet, nodes, whole=True, reloads=self.reloads)
            except NodeError as error:
                complain(str(error))
                self.tolerated = -1
                return FAILED
        batch = Batch(self.request, nodes, self.starts)
        try:
            code = batch.run()
        except KeyboardInterrupt:
            batch.let_go()
            self.interrupted = True
            self.under_way = batch.on_their_way
            code = INTERRUPTED
        # in the order in which they were named, whoever was the first to tell
        self.failed += [node for node in nodes if node in batch.failed]
        self.new += [node for node in nodes if node in batch.back]
        return code

    def _pause(self) -> None:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.request.screen.section(f"Pausing {self.pause:g} s...")
            time.sleep(self.pause)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        complain("interrupted; the roll ends after this batch. Ctrl-C again lets go of the batch, too")

    def _end(self, code: int) -> int:
        known = [*self.new, *self.failed, *self.under_way]
        old = [node for batch in self.batches for node in batch if node not in known]
        if not old and not self.failed:
            return code
        if self.failed:
            what = "The roll has stopped" if old else "The roll is over"
            complain(f"{what}: {_names(self.failed)} did not come back")
        elif self.interrupted:
            complain("The roll was interrupted")
        else:
            complain("The roll has stopped")
        told = [
            ("on the new start", self.new),
            ("being restarted in the background", self.under_way),
            ("failed", self.failed),
            ("on the old start, untouched", old),
        ]
        for what, nodes in told:
            if nodes:
                complain(f"  {what}: {_names(nodes)}")
        if rest := [node.name.short for node in (*self.failed, *old)]:
            complain(f"  to go on: multi restart --rolling {' '.join(rest)}")
        return INTERRUPTED if self.interrupted and not self.failed else max(code, FAILED)


def roll_on(request: Request, nodes: list[Node], starts: dict[str, Start]) -> int:
    """Restart these nodes in batches; the exit code."""
    roll = Roll(request, nodes, starts)
    roll.check()
    return roll.run()


def _names(nodes: list[Node]) -> str:
    return ", ".join(str(node) for node in nodes)
