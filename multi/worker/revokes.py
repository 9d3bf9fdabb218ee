"""Revoking, as a worker sees it: which tasks are not to be run, and the end of those that run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from multi import revoking
from multi.app.control import TERMINATING, place_of, signal_number
from multi.errors import MultiError
from multi.log import get_logger
from multi.message import Message
from multi.worker.panel.shown import listed, shown
from multi.worker.slots import CLAIMED, RUNNING, Held

if TYPE_CHECKING:
    from multi.worker.crew import Member
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: What is claimed and not begun yet is looked at again after so long (s), for so long.
SOON, AT_LAST = 0.02, 5.0
#: Who has asked for an end is told so long (s) after it at the latest.
TOLD = 0.5
#: A child that its signal hasn't ended after so long (s) is killed.
PATIENCE = 2.0
#: Seconds between two looks for marks that have come to their end, and after which the store is asked again.
TIDY, AGAIN = 60.0, 5.0


class Revokes:
    """Fills the table that the children look into, and terminates."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._app = worker.app
        self.table = worker.app.revoked = revoking.RevokedTable(revoking.most())
        self._place = place_of(worker.app)
        worker.loop.every(TIDY, lambda: self.table.forget(time()))

    def load(self) -> None:
        """Learn what was revoked while this worker didn't hear of it: at its start, and when it is connected again."""
        if self._place is None:
            return
        try:
            self.table.add(self._place.revoked())
        except MultiError as error:
            logger.error("Which tasks are revoked can't be asked for, it is tried again: %s", error)
            self._worker.loop.later(AGAIN, self.load)

    # -- requests ---------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """The ids of the tasks that are revoked."""
        return self.table.ids()

    def revoke(self, ids: Sequence[str], headers: Mapping[str, Any]) -> None:
        """Have these tasks not run any more; `headers` are those of the request."""
        self._take(list(map(revoking.of_task, ids)), headers)
        logger.info("Tasks flagged as revoked: %s", listed(ids))

    def revoke_stamped(self, stamps: Mapping[str, Any], headers: Mapping[str, Any]) -> None:
        """Have all tasks with one of these stamps not run any more."""
        self._take(revoking.of_stamps(stamps), headers)
        logger.info("Stamps flagged as revoked: %s", shown(dict(stamps)))

    def signal(self, name: Any) -> int:
        """The signal that is meant. Raises `ValueError`."""
        return signal_number(name)

    def _take(self, marks: list[str], headers: Mapping[str, Any]) -> None:
        """Take up marks; what its sender has not kept for all workers is kept now, so that it outlives this one."""
        until = time() + revoking.life()
        fresh = [mark for mark in marks if mark not in self.table]
        self.table.add(dict.fromkeys(marks, until))
        if self._place is None or not fresh or headers.get("kept"):
            return
        try:
            self._place.keep_revoked(fresh, until, revoking.most())
        except MultiError as error:
            logger.error("What is revoked could not be kept for other workers: %s", error)

    # -- termination ------------------------------------------------------------------------------------------------

    def end(
        self,
        meant: Callable[[str, Mapping[str, Any]], bool],
        number: int,
        told: Callable[[list[tuple[str, Mapping[str, Any]]]], None],
    ) -> bool:
        """End every run that is meant, and tell which those are, with the headers of their messages; False where nothing can
        be ended by force.

        They are looked for by their messages, since slots know claims and no ids.
        """
        if self._worker.pool.loop != "serial":
            logger.warning(
                "No task can be terminated in this pool, as nothing in it can be ended by force: use -P prefork"
            )
            return False
        deadline = monotonic() + AT_LAST
        wanted = [
            (member, held)
            for member in self._worker.members.values()
            for held in member.slot.held()
            if held.state in (CLAIMED, RUNNING)
        ]
        left, found = len(wanted), list[tuple[str, Mapping[str, Any]]]()

        def answered(member: Member, held: Held, message: Message | None) -> None:
            nonlocal left
            left -= 1
            if message is not None:
                task_id = str(message.headers.get("id"))
                if meant(task_id, message.headers):
                    found.append((task_id, message.headers))
                    self._strike(member, held, task_id, number, deadline)
            if not left:
                told(found)

        if not wanted:
            told(found)
            return True
        # a broker that is away answers when it is back; who has asked doesn't wait for so long
        self._worker.loop.later(TOLD, lambda: told(found))
        for member, held in wanted:
            if held.will is not None:
                answered(member, held, held.will)
            else:
                self._worker.watch.recall(held.tag, held.fence, partial(answered, member, held))
        return True

    def _strike(self, member: Member, held: Held, task_id: str, number: int, deadline: float) -> None:
        """End this very run; one that has not begun yet may have been looked up just before it was revoked."""
        if self._worker.members.get(member.number) is not member:
            return

        def end() -> None:
            if number in TERMINATING:
                member.terminated[held.tag] = number
            member.signal(number)

        state = member.slot.strike(held.index, held.tag, end)
        if state == RUNNING:
            logger.info("Terminating %s (%s)", shown(task_id), signal.Signals(number).name)
            if number in TERMINATING:
                self._worker.loop.later(PATIENCE, lambda: self._kill(member, held, task_id))
        elif state == CLAIMED and monotonic() < deadline:
            self._worker.loop.later(SOON, lambda: self._strike(member, held, task_id, number, deadline))

    def _kill(self, member: Member, held: Held, task_id: str) -> None:
        if self._worker.members.get(member.number) is member:
            if member.slot.strike(held.index, held.tag, lambda: member.signal(signal.SIGKILL)) == RUNNING:
                logger.warning("%s went on in spite of its signal: its child is killed", task_id)
