"""Orders from the keeper: to take no more tasks from some queues, and to take them up again."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from multi.control import Control
from multi.log import get_logger
from multi.worker.intake import parse

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: What children are given by exchanges that were under way when a queue was left is looked for so long (s), so often.
UNDER_WAY, TICK = 1.0, 0.003


class Orders:
    """Hears them on the control socket of the worker's generation; a worker without a keeper hears none."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._control: Control | None = None
        if worker.rundir is None:
            return
        try:
            self._control = Control(worker.rundir.control)
        except OSError as error:
            logger.error("This worker can't be paused: %s: %s", worker.rundir.control, error.strerror)
            return
        worker.loop.on_readable(self._control.fileno(), self._heard)

    def leave_to_worker(self) -> None:
        """In a forked child: the socket is the worker's."""
        if self._control is not None:
            self._control.close()

    def close(self) -> None:
        """Hear no more."""
        if self._control is not None:
            self._worker.loop.forget(self._control.fileno())
            self._control.close()

    def _heard(self) -> None:
        assert self._control is not None
        while (fields := self._control.receive()) is not None:
            request, names = fields.get("request"), parse(fields.get("queues", ""))
            if not fields:
                logger.warning("Something that is no order, or comes from another user, is ignored")
            elif request == "pause":
                self.pause(names)
            elif request == "resume":
                self.resume(names)
            else:
                logger.warning("This version of multi doesn't know the order %r", request)

    def pause(self, names: Sequence[str]) -> None:
        """Take nothing more from these queues ("*": from any), and hand back what was not begun of them."""
        self._worker.intake.pause(names)
        self._carry_out()

    def resume(self, names: Sequence[str]) -> None:
        """Take from these queues again."""
        self._worker.intake.resume(names)
        self._carry_out()

    def add(self, name: str) -> bool:
        """Take from this queue, too; whether that is new."""
        if not self._worker.intake.add(name):
            return False
        self._carry_out(told=f"Consuming from {name}, too")
        return True

    def remove(self, name: str) -> bool:
        """Take nothing more from this queue; whether anything was."""
        if not self._worker.intake.remove(name):
            return False
        self._carry_out((name,), told=f"No longer consuming from {name}")
        return True

    def _carry_out(self, gone: Sequence[str] = (), told: str = "") -> None:
        worker = self._worker
        before, now = worker.consumed, worker.intake.consumed
        if before == now or worker.stopping:
            return
        worker.consumed = now
        worker.watch.consume(now)
        worker.arm()
        worker.page.node(queues=now)
        told = told or str(worker.intake) or "consuming again"
        logger.warning("%s; tasks are taken from: %s", told[0].upper() + told[1:], ", ".join(now) or "no queue")
        if worker.said_ready:
            worker.notifier.status(worker.condition)
        if any(queue not in now for queue in before):
            self._give_back(monotonic() + UNDER_WAY, gone)

    def _give_back(self, deadline: float, gone: Sequence[str] = ()) -> None:
        """Hand back what children have claimed of paused queues and not begun."""
        worker = self._worker
        if worker.pool.loop != "serial":
            return  # these claim only what they begin at once
        left = [*worker.intake.left, *gone]
        claiming = False
        for member in worker.members.values():
            # asked first: what comes between the question and the look is found by the next one
            claiming = member.slot.claiming or claiming
            worker.watch.settle(member.slot.take(unstarted=True, done=False, queues=left))
        if left and claiming and monotonic() < deadline and not worker.stopping:
            worker.loop.later(TICK, lambda: self._give_back(deadline, gone))
