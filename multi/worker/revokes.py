"""Revoking, as a worker sees it: which tasks are not to be run, and the end of those that run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from multi import revoking
from multi.app.control import TERMINATING, place_of, signal_number
from multi.errors import MultiError
from multi.log import get_logger
from multi.message import Message
from multi.worker.slots import CLAIMED, RUNNING, Held

if TYPE_CHECKING:
    from multi.worker.crew import Member
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: What is claimed and not begun yet is looked at again after so long (s), for so long.
SOON, AT_LAST = 0.02, 5.0
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
        worker.ear.methods["revoke"] = self._revoke
        worker.ear.methods["terminate"] = self._terminate
        worker.ear.methods["revoke_by_stamped_headers"] = self._revoke_stamped
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

    def _revoke(self, arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> None:
        ids = [str(each) for each in revoking.several(arguments["task_id"])]
        self._take(list(map(revoking.of_task, ids)), headers)
        logger.info("Tasks flagged as revoked: %s", ", ".join(ids))
        if arguments.get("terminate"):
            wanted = set(ids)
            self._end(lambda task_id, _: task_id in wanted, arguments.get("signal"))

    def _terminate(self, arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> None:
        self._revoke({**arguments, "terminate": True}, headers)

    def _revoke_stamped(self, arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> None:
        given = arguments["headers"]
        if isinstance(given, list):
            given = dict(each.split("=", 1) for each in given)
        marks = revoking.of_stamps(given)
        self._take(marks, headers)
        logger.info("Stamps flagged as revoked: %s", given)
        if arguments.get("terminate"):
            wanted = set(marks)
            self._end(
                lambda _, headers: not wanted.isdisjoint(revoking.of_stamps(revoking.stamps_of(headers))),
                arguments.get("signal"),
            )

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

    def _end(self, meant: Callable[[str, Mapping[str, Any]], bool], name: Any) -> None:
        """End every run that is meant; it is looked for by its message, since slots know claims and no ids."""
        number = signal_number(name)
        if self._worker.pool.loop != "serial":
            logger.warning(
                "No task can be terminated in this pool, as nothing in it can be ended by force: use -P prefork"
            )
            return
        deadline = monotonic() + AT_LAST
        for member in list(self._worker.members.values()):
            for held in member.slot.held():
                if held.state in (CLAIMED, RUNNING):
                    self._look(member, held, meant, number, deadline)

    def _look(
        self,
        member: Member,
        held: Held,
        meant: Callable[[str, Mapping[str, Any]], bool],
        number: int,
        deadline: float,
    ) -> None:
        def answer(message: Message | None) -> None:
            if message is None:
                return
            task_id = message.headers.get("id")
            if meant(str(task_id), message.headers):
                self._strike(member, held, str(task_id), number, deadline)

        if held.will is not None:
            answer(held.will)
        else:
            self._worker.watch.recall(held.tag, held.fence, answer)

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
            logger.info("Terminating %s (%s)", task_id, signal.Signals(number).name)
            if number in TERMINATING:
                self._worker.loop.later(PATIENCE, lambda: self._kill(member, held, task_id))
        elif state == CLAIMED and monotonic() < deadline:
            self._worker.loop.later(SOON, lambda: self._strike(member, held, task_id, number, deadline))

    def _kill(self, member: Member, held: Held, task_id: str) -> None:
        if self._worker.members.get(member.number) is member:
            if member.slot.strike(held.index, held.tag, lambda: member.signal(signal.SIGKILL)) == RUNNING:
                logger.warning("%s went on in spite of its signal: its child is killed", task_id)
