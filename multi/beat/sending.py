"""How due runs are sent, once each: in one step with writing it down, or claimed first where that can't be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from multi.app.timetable.document import read, write
from multi.app.timetable.shelves import Shelf
from multi.brokers.base import Broker
from multi.documents import Answer, Change
from multi.errors import Unroutable


class Sending(Protocol):
    """Makes the changes of due entries and sends what they publish; raises `BrokerUnavailable` or `BackendUnavailable`."""

    #: Whether a change is to be written with the claim of its runs.
    claims: bool

    def send(self, changes: Sequence[Change]) -> list[Answer | Unroutable]:
        """What became of each: an answer, or why its message can't be sent (then nothing of it has happened)."""


class AtOnce:
    """The broker publishes in the step that changes the document: memory, SQLite, Redis."""

    claims = False

    def __init__(self, shelf: Shelf, broker: Broker) -> None:
        self._shelf = shelf
        self._broker = broker

    def send(self, changes: Sequence[Change]) -> list[Answer | Unroutable]:
        try:
            return [*self._broker.publish_once(self._shelf.name, changes)]
        except Unroutable as error:
            if len(changes) == 1:
                return [error]
        # nothing was sent: one that can't be is not to keep back the others
        return [answer for each in changes for answer in self.send([each])]


class Claimed:
    """The runs are claimed where the schedule is kept, then published under ids that are fixed, then marked as sent.

    What a scheduler has claimed and not marked when it dies is sent again, with the same ids, by the one who finds it.
    """

    claims = True

    def __init__(self, shelf: Shelf, broker: Broker) -> None:
        self._shelf = shelf
        self._broker = broker

    def send(self, changes: Sequence[Change]) -> list[Answer | Unroutable]:
        made: list[Answer | Unroutable] = [*self._shelf.keeps.change(self._shelf.name, changes)]
        claimed = [place for place, answer in enumerate(made) if isinstance(answer, Answer) and answer.done]
        self._publish(changes, claimed, made)
        marks = []
        for place in claimed:
            change = changes[place]
            document = read(change.value) if change.value is not None else None
            if document is not None and document.claim is not None:
                document.claim = None
                marks.append((place, Change(change.name, change.value, write(document))))
        if marks:
            answers = self._shelf.keeps.change(self._shelf.name, [mark for _, mark in marks])
            for (place, _), answer in zip(marks, answers, strict=True):
                if isinstance(made[place], Answer):
                    made[place] = Answer(True, answer.found)
        return made

    def _publish(self, changes: Sequence[Change], claimed: Sequence[int], made: list[Answer | Unroutable]) -> None:
        try:
            if sent := [publication for place in claimed for publication in changes[place].publications]:
                self._broker.publish(sent)
        except Unroutable:
            for place in claimed:
                try:
                    self._broker.publish(changes[place].publications)
                except Unroutable as error:
                    made[place] = error
