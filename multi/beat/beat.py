"""One scheduler. What it knows is in the store that all schedulers of the project share; it may be killed at any moment."""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from multi.app.schedules.entry import Entry
from multi.app.timetable.document import Claim, read, restore, write
from multi.app.timetable.merging import merge
from multi.app.timetable.runs import after, due, is_ahead, patience
from multi.app.timetable.shelves import Shelf
from multi.beat.agenda import Agenda, Item
from multi.beat.messages import NotWanted, message
from multi.beat.sending import AtOnce, Claimed, Sending
from multi.beat.telling import Telling
from multi.documents import Answer, Change
from multi.errors import BackendUnavailable, BrokerRefused, BrokerUnavailable, MultiError, Unroutable
from multi.log import get_logger, mask_passwords
from multi.outcome import Publication

if TYPE_CHECKING:
    from multi.app.app import App

logger = get_logger("multi.beat")

#: Changes by others are looked for so often (s).
LOOK = 1.0
#: Entries in one step, and between two of them others have their turn.
BATCH = 50
#: Who finds that another scheduler was quicker lets it be first by so much (s), and by up to as much again: the others of a
#: project are at rest while one sends, and when it dies the next due run is late by this.
BEHIND = 0.25
#: A claim that has been looked at for so long (s), and is still the same, is one of a scheduler that has died while sending.
FORGOTTEN = 7.0
#: Between two attempts to reach a broker that is away (s): the first pause, and the longest.
PAUSE, LONGEST = 0.25, 2.0
#: A clock that is so much (s) behind what it said before was set back.
SET_BACK = 1.0
#: A schedule that raises is asked again after so long (s).
AFTER_TROUBLE = 60.0
_AWAY = (BrokerUnavailable, BackendUnavailable)


class Beat:
    """See the module. `tick` does what is to be done now and says in how many seconds to be called again.

    `entries` are those of the project's code. `now` is the clock that due times are by.
    """

    def __init__(
        self,
        app: App,
        shelf: Shelf,
        entries: Mapping[str, Entry],
        *,
        max_interval: float = 0.0,
        former: Mapping[str, tuple[float, int]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        conf = app.conf
        self.app = app
        self.shelf = shelf
        self.entries = dict(entries)
        self.now = now
        self.by = f"{socket.gethostname()}:{os.getpid()}:{token_hex(3)}"
        self.agenda = Agenda()
        self.items = self.agenda.items
        self.sent = 0
        self.longest = max_interval or conf.beat_max_loop_interval or 300.0
        self._deadline: float | None = conf.beat_cron_starting_deadline
        self._late: float = conf.beat_missed_after
        self._former = dict(former or {})
        self._sending: Sending = (AtOnce if shelf.atomic else Claimed)(shelf, app.broker)
        self._writes = itertools.count(1)
        self._revision = -1
        self._look_at = 0.0
        self._seen = 0.0
        self._behind = 0.0
        self._pause = 0.0
        self._away = ""
        self.telling = Telling(self._late, app.timezone)

    # -- what is called ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring the code's entries into the store, and read it. Raises `BrokerUnavailable` or `BackendUnavailable`."""
        self._merge()
        self._load()

    def tick(self) -> float:
        """Look for changes, send what is due; the seconds until there is something to do again."""
        try:
            if self._revision < 0:
                self.start()
            now = self.now()
            if now < self._seen - SET_BACK:
                self._start_anew(now)
            self._seen = now
            if now >= self._look_at:
                self._look()
                self._look_at = now + LOOK
            self._send_due()
        except _AWAY as error:
            return self._lost(error)
        if self._away:
            logger.warning("Scheduler: %s answers again", self.shelf.where)
            self._away, self._pause = "", 0.0
        return self._wait()

    @property
    def is_ready(self) -> bool:
        """Whether the schedule has been read."""
        return self._revision >= 0

    @property
    def away(self) -> str:
        """Why the broker, or the place of the schedule, can't be reached; "" where it can."""
        return self._away

    @property
    def next(self) -> tuple[float, str] | None:
        """When something is due next, and what."""
        return self.agenda.next

    # -- what is known -------------------------------------------------------------------------------------------------

    def _wait(self) -> float:
        now = self.now()
        wait = min(self._look_at - now, self.longest)
        if (first := self.agenda.next) is not None:
            wait = min(wait, first[0] + self._behind - now)
        return max(0.0, wait)

    def _lost(self, error: Exception) -> float:
        if isinstance(error, BrokerRefused) and not self.is_ready:
            raise error
        self._pause = min(max(PAUSE, 2 * self._pause), LONGEST)
        text = mask_passwords(str(error))
        if not self._away:
            logger.error("Scheduler: nothing can be sent: %s; tried again until it can be", text)
        self._away = text
        return self._pause

    def _merge(self) -> None:
        """Make what is kept agree with the code, however many others do so at this moment."""
        while True:
            _, kept = self.shelf.keeps.documents(self.shelf.name)
            found = merge(self.entries, kept, self.now(), self._mark(), self._former)
            answers = self.shelf.keeps.change(self.shelf.name, found.changes, tell=True) if found else []
            if all(answer.done for answer in answers):
                break
        self.telling.merged(found)

    def _look(self) -> None:
        revision = self.shelf.keeps.revision(self.shelf.name)
        if revision < self._revision:
            logger.warning("Scheduler: %s has lost the schedule: it is made anew from the code", self.shelf.where)
            self._merge()
        if revision != self._revision:
            self._load()

    def _load(self) -> None:
        self._revision, kept = self.shelf.keeps.documents(self.shelf.name)
        now = self.now()
        for name in [name for name in self.items if name not in kept]:
            self._drop(name)
        for name, value in kept.items():
            item = self.items.get(name)
            if item is None or item.value != value:
                self._learn(name, value, now)

    def _drop(self, name: str) -> None:
        del self.items[name]
        if name in self.entries:
            logger.warning(
                "Scheduler: %s was removed by another scheduler, whose code doesn't have it: if that is another project, give "
                "one of them another beat_schedule_name",
                name,
            )

    def _learn(self, name: str, value: bytes, now: float) -> None:
        """What is kept of an entry is something else now."""
        document = read(value)
        if document is None:
            self.items.pop(name, None)
            self.telling.once(name, "was written by another version of multi, and is left to it")
            return
        old = self.items.get(name)
        if old is not None and old.document.what == document.what:
            entry = old.entry
        else:
            entry = restore(name, document.what, self.entries, self.app)
            if entry is None:
                self.telling.once(name, "can only be sent by a scheduler whose code has it, with the same arguments")
        item = self.items[name] = Item(name, value, document, entry)
        self.agenda.place(item, self._due(item, now))

    def _start_anew(self, now: float) -> None:
        """The clock was set back: when everything is due is another question now."""
        self.telling.set_back(self._seen - now, [*self.items.values()], now)
        self._look_at = now
        for item in self.items.values():
            self.agenda.place(item, self._due(item, now))

    def _due(self, item: Item, now: float) -> float | None:
        document, entry = item.document, item.entry
        if document.claim is not None:
            # from now on, by this clock: who lives changes the document in less time
            return now + (PAUSE if document.claim.by == self.by else FORGOTTEN)
        if entry is None or document.paused:
            return None
        try:
            if is_ahead(entry.schedule, document.at, now):
                return now + patience(entry.schedule, document.at)
            return after(entry.schedule, document.at, now)
        except Exception as error:  # whatever a schedule of the project's own raises
            return self._troubled(item, now, error)

    def _troubled(self, item: Item, now: float, error: Exception) -> float:
        """A schedule doesn't say when it runs: it is asked again in a while, and the others go on."""
        logger.error(
            "Scheduler: the schedule of %s doesn't say when it runs: %s: %s",
            *(item.name, type(error).__name__, error),
            exc_info=None if isinstance(error, MultiError) else error,
        )
        return now + AFTER_TROUBLE

    def _mark(self) -> str:
        return f"{self.by}:{next(self._writes)}"

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send_due(self) -> None:
        now = self.now()
        items = self.agenda.take(now - self._behind, BATCH)
        if not items:
            return
        try:
            self._attempt(items, now)
        except BaseException:
            for item in items:
                if self.items.get(item.name) is item:
                    self.agenda.place(item, item.due)
            raise

    def _attempt(self, items: Sequence[Item], now: float) -> None:
        if self._behind:
            items = self._left(items, now)
        made: list[tuple[Item, Change, float | None]] = []
        for item in items:
            found = self._change(item, now)
            if found is not None:
                made.append((item, *found))
        answers = self._sending.send([change for _, change, _ in made]) if made else []
        lost = 0
        for (item, change, following), answer in zip(made, answers, strict=True):
            if isinstance(answer, Unroutable):
                self._failed(item, now, answer)
            elif answer.done:
                self._done(item, change, answer, following)
            else:
                lost += 1
                self._other(item, answer.found, now)
        if made:
            self._behind = BEHIND * (1 + random.random()) if lost == len(made) else 0.0

    def _left(self, items: Sequence[Item], now: float) -> list[Item]:
        """Of what is due that which nobody else has sent."""
        _, kept = self.shelf.keeps.documents(self.shelf.name, [item.name for item in items])
        left = []
        for item in items:
            value = kept.get(item.name)
            if value == item.value:
                left.append(item)
            else:
                self._other(item, value, now)
        return left

    def _other(self, item: Item, value: bytes | None, now: float) -> None:
        """Somebody else has changed the document."""
        if value is None:
            self.items.pop(item.name, None)
        else:
            self._learn(item.name, value, now)

    def _change(self, item: Item, now: float) -> tuple[Change, float | None] | None:
        """What is to be written and sent for an entry that is due, and when it is due next; None if nothing is."""
        document, entry = item.document, item.entry
        if document.claim is not None:
            return self._take_over(item, document.claim, now)
        if entry is None or document.paused:
            return None
        at = document.at
        if is_ahead(entry.schedule, at, now):
            logger.warning("Scheduler: the clock was set back by %.0f s, %s begins anew", at - now, item.name)
            at = now
        try:
            found = due(entry.schedule, entry.missed, at, now, deadline=self._deadline, late=self._late)
        except Exception as error:  # as above
            self.agenda.place(item, self._troubled(item, now, error))
            return None
        if found.at == document.at:
            self.agenda.place(item, found.next)
            return None
        if found.skipped:
            logger.warning(
                "Scheduler: runs of %s were missed; missed=%r: %d sent now", item.name, entry.missed, len(found.runs)
            )
        self.telling.made_up(item.name, entry, found.runs, now)
        runs, publications, trouble = self._messages(item, entry, found.runs)
        changed = msgspec.structs.replace(document, at=found.at, by=self._mark(), trouble=trouble)
        if runs:
            changed.ran, changed.count = now, document.count + len(runs)
            changed.id = str(publications[-1].message.headers["id"])
            if self._sending.claims:
                changed.claim = Claim(runs, self.by, now)
        return Change(item.name, item.value, write(changed), publications), found.next

    def _take_over(self, item: Item, claim: Claim, now: float) -> tuple[Change, float | None] | None:
        """Send what another one had begun to send, or this one before the broker went away."""
        if item.entry is None:
            return None
        if claim.by != self.by:
            logger.warning("Scheduler: %s was claimed by %s, which is silent: sent again", item.name, claim.by)
        _, publications, trouble = self._messages(item, item.entry, claim.runs, again=True)
        changed = msgspec.structs.replace(
            item.document, by=self._mark(), trouble=trouble, claim=Claim(claim.runs, self.by, now)
        )
        return Change(item.name, item.value, write(changed), publications), None

    def _messages(
        self, item: Item, entry: Entry, runs: Sequence[float], *, again: bool = False
    ) -> tuple[list[float], list[Publication], str]:
        """The runs that can be sent, their messages, and why others can't."""
        sent: list[float] = []
        made: list[Publication] = []
        for run in runs:
            try:
                made.append(message(self.app, self.shelf.name, entry, run, again=again))
                sent.append(run)
            except _AWAY:
                raise
            except NotWanted as reason:
                logger.info("Scheduler: %s is not sent: %s", item.name, reason)
                return sent, made, ""
            except Exception as error:  # whatever the arguments, a schedule's own code or a signal's receiver raises
                mistake = isinstance(error, MultiError | TypeError | ValueError)
                logger.error(
                    "Scheduler: %s (%s) can't be sent: %s",
                    item.name,
                    entry.task,
                    error,
                    exc_info=None if mistake else error,
                )
                return sent, made, f"{type(error).__name__}: {error}"
        return sent, made, ""

    def _done(self, item: Item, change: Change, answer: Answer, following: float | None) -> None:
        value = answer.found if answer.found is not None else change.value
        document = read(value) if value is not None else None
        if value is None or document is None:
            self.items.pop(item.name, None)
            return
        took_over = item.document.claim is not None
        item.value, item.document = value, document
        self.agenda.place(item, self._due(item, self.now()) if took_over or document.claim is not None else following)
        if change.publications:
            self.sent += len(change.publications)
            self.telling.sent(item.name, document.what.task, len(change.publications))
            self._tell_sent(change.publications)

    def _failed(self, item: Item, now: float, error: Unroutable) -> None:
        """Its message can't be sent to anybody: the run is over, the next one is tried again."""
        logger.error("Scheduler: %s (%s) can't be sent: %s", item.name, item.document.what.task, error)
        entry = item.entry
        at = item.document.at
        if entry is not None:
            at = due(entry.schedule, "once", at, now, late=self._late).at
        changed = msgspec.structs.replace(
            item.document, at=at, by=self._mark(), trouble=f"{type(error).__name__}: {error}", claim=None
        )
        (answer,) = self.shelf.keeps.change(self.shelf.name, [Change(item.name, item.value, write(changed))])
        self._other(item, answer.found, now)

    def _tell_sent(self, publications: Sequence[Publication]) -> None:
        from multi import signals

        if signals.PUBLISHING.any or self.app.middleware or self.app.publisher.tells_sent:
            from multi.app import life

            life.sent(self.app, publications)
