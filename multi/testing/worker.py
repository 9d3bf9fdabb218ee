"""A worker inside the process of a test: runs the tasks of an app when it is told to, or in threads.

    worker = LocalWorker(app)
    add.delay(1, 2)
    (outcome,) = worker.drain()

    with LocalWorker(app):
        assert add.delay(1, 2).get(timeout=5) == 3

Meant for brokers that live in the process (`memory://`); those of servers work, too. There are no children: time limits aren't
enforced, and a task that ends its process ends the test's.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from multi import signals
from multi.app import life
from multi.app.control import place_of
from multi.app.execute import dealt_with, prepare, stores
from multi.app.job import Job
from multi.brokers.base import Delivery, Settlement, WatchEvents
from multi.loop import Loop
from multi.outcome import Outcome
from multi.revoking import RevokedTable
from multi.revoking import most as revokes_kept

if TYPE_CHECKING:
    from multi.app.app import App

_CONNECTING = 10.0  # seconds that a broker may take to answer
_LOOK = 0.05  # seconds between two looks for queues that are new


class LocalWorker:
    """Runs what waits in `queues` (default: in all of them, also in those that are made by the way).

    `outcomes` holds what became of each message, in order. With `ignore_eta` tasks run at once that were sent with a countdown
    or an ETA, retries too.
    """

    def __init__(
        self,
        app: App,
        queues: Sequence[str] | None = None,
        *,
        hostname: str = "celery@test",
        concurrency: int = 1,
        ignore_eta: bool = False,
    ) -> None:
        from multi.worker.options import select_queues

        self.app = app
        app.finalize()
        self.queues = list(queues) if queues else select_queues(None, (), app.topology, hostname)
        self.serves_all = not queues
        self.hostname = hostname
        self.concurrency = concurrency
        self.ignore_eta = ignore_eta
        self.outcomes: list[Outcome] = []
        self._told = 0
        self._hands: list[_Hand] = []
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def start(self) -> Self:
        """Serve in `concurrency` threads, from now on."""
        if self._threads:
            raise RuntimeError("this worker serves already")
        self._hands = [_Hand(self) for _ in range(self.concurrency)]
        self._threads = [
            threading.Thread(target=hand.serve, name=f"worker-{number}", daemon=True)
            for number, hand in enumerate(self._hands, 1)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, timeout: float = 30) -> None:
        """Let the threads finish what they run, and end them. Raises what ended one of them before that."""
        for hand in self._hands:
            hand.stop()
        for thread in self._threads:
            thread.join(timeout)
            if thread.is_alive():
                raise TimeoutError(f"a task runs on in {thread.name} after {timeout:g} s")
        hands, self._hands, self._threads = self._hands, [], []
        _raise_trouble(hands)

    def drain(self, timeout: float = 30) -> list[Outcome]:
        """Run what waits, and what follows from it, until nothing waits any more; the outcomes since the last call.

        Runs in this thread, or waits until the worker's own have nothing to do. What is delayed is left (but see `ignore_eta`).
        Raises `TimeoutError`.
        """
        if self._threads:
            self._wait_idle(timeout)
        else:
            deadline = monotonic() + timeout
            with _Hand(self) as hand:
                while hand.work() or hand.look():
                    if monotonic() > deadline:
                        raise TimeoutError(self._unfinished(timeout))
        told, self._told = self._told, len(self.outcomes)
        return self.outcomes[told : self._told]

    def learn(self) -> bool:
        """Look for queues that hold messages and are not served yet; whether there are any."""
        if not self.serves_all:
            return False
        with self._changed:
            new = [
                one.name for one in self.app.broker.counts(self.queues) if one.waiting and one.name not in self.queues
            ]
            self.queues += new
        return bool(new)

    def _wait_idle(self, timeout: float) -> None:
        deadline = monotonic() + timeout
        with self._changed:
            while True:
                _raise_trouble(self._hands)
                rounds = [hand.rounds for hand in self._hands]
                waiting = sum(self.app.broker.depth(queue) for queue in self.queues) + self.learn()
                # a message that was taken meanwhile shows as another round
                if not waiting and not any(hand.busy for hand in self._hands):
                    if rounds == [hand.rounds for hand in self._hands]:
                        return
                left = deadline - monotonic()
                if left <= 0:
                    raise TimeoutError(self._unfinished(timeout))
                self._changed.wait(min(left, 0.05))

    def _unfinished(self, timeout: float) -> str:
        waiting = {queue: count for queue in self.queues if (count := self.app.broker.depth(queue))}
        return f"after {timeout:g} s tasks still run or wait: {waiting or 'none in queues'}"

    def note(self, outcome: Outcome) -> None:
        """One more message is dealt with."""
        with self._changed:
            self.outcomes.append(outcome)

    def changed(self) -> None:
        """A thread has nothing to do, or has something to do again."""
        with self._changed:
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Hand:
    """One thread's share of a worker: its own way to the broker."""

    def __init__(self, worker: LocalWorker) -> None:
        self.worker = worker
        self.busy = True
        self.rounds = 0
        self.trouble: BaseException | None = None
        self._settlements: list[Settlement] = []
        self._stopping = False
        self._rung = False
        self._up = False
        self._serves = 0
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __enter__(self) -> Self:
        worker = self.worker
        owner = f"{worker.hostname}/{uuid.uuid4().hex[:8]}"
        self._loop = Loop()
        self._loop.on_readable(self._bell, self._ring)
        events = WatchEvents(
            on_up=self._came_up, on_down=_ignore, on_refused=self._refused, on_message=self._ring, claims=lambda: ()
        )
        self._watch = worker.app.worker_broker.watch(self._loop, list(worker.queues), worker.app.backend, owner, events)
        self._serves = len(worker.queues)
        self._watch.start()
        deadline = monotonic() + _CONNECTING
        while not self._up:
            if monotonic() > deadline:
                raise TimeoutError(f"the broker gives no answer within {_CONNECTING:g} s")
            self._loop.turn(0.1)
        self._port = self._watch.port(f"{owner}/1")
        self._lane = self._port.open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._settlements:
            self._lane.exchange(self._settlements, 0)
        self._lane.close()
        self._port.release()
        self._watch.stop()
        self._loop.close()
        os.close(self._bell)

    def serve(self) -> None:
        """Run tasks until told to stop."""
        try:
            with self:
                while not self._stopping:
                    self.busy = True
                    if not self.work():
                        self._rest()
        except BaseException as error:  # told to whoever waits for it
            self.trouble = error
        finally:
            self.busy = False
            self.worker.changed()

    def _rest(self) -> None:
        self.busy = False
        self.worker.changed()
        self._rung = False
        self._watch.arm(1)
        while not self._rung and not self._stopping and not self.look():
            self._loop.turn(_LOOK)

    def look(self) -> bool:
        """Serve queues that have come meanwhile; whether there are any."""
        self.worker.learn()
        if len(self.worker.queues) == self._serves:
            return False
        self._serves = len(self.worker.queues)
        self._watch.consume(list(self.worker.queues))
        return True

    def stop(self) -> None:
        """Have it stop; called from another thread."""
        self._stopping = True
        try:
            os.eventfd_write(self._bell, 1)
        except OSError:
            pass  # it has ended by itself

    def work(self) -> bool:
        """Take and run one message; whether there was one."""
        self._learn_of_the_revoked()
        settlements, self._settlements = self._settlements, []
        deliveries = self._lane.exchange(settlements, 1)
        if signals.PUBLISHING.any or self.worker.app.middleware or self.worker.app.publisher.tells_sent:
            life.sent(self.worker.app, [one for each in settlements for one in each.publications])
        self.rounds += 1
        for delivery in deliveries:
            outcome = self._outcome(delivery)
            self._settlements.append(self._settlement(delivery, outcome))
            self.worker.note(outcome)
        return bool(deliveries)

    def _learn_of_the_revoked(self) -> None:
        place = place_of(self.worker.app)
        marks = place.revoked() if place is not None else {}
        if marks:
            if self.worker.app.revoked is None:
                self.worker.app.revoked = RevokedTable(revokes_kept())
            self.worker.app.revoked.add(marks)

    def _outcome(self, delivery: Delivery) -> Outcome:
        app, message = self.worker.app, delivery.message
        if message is None:
            reason = f"undecodable message: {delivery.fault}"
            return Outcome("", "", "FAILURE", verb="bury", record=False, reason=reason)
        if self.worker.ignore_eta and message.headers.get("eta") is not None:
            message.headers["eta"] = None
        found = prepare(
            app,
            message,
            queue=delivery.queue,
            redelivered=delivery.redelivered,
            starts=delivery.starts,
            hostname=self.worker.hostname,
        )
        if signals.RUNS.any:
            life.received(app, message, found)
        return found.run() if isinstance(found, Job) else found

    def _settlement(self, delivery: Delivery, outcome: Outcome) -> Settlement:
        dealt_with(self.worker.app, delivery.message, outcome)
        records: list[Any] = stores(self.worker.app, outcome)
        return Settlement(
            delivery.tag,
            delivery.fence,
            delivery.queue,
            verb=outcome.verb,
            due=outcome.due,
            reason=outcome.reason,
            stores=records,
            publications=outcome.publications,
        )

    def _came_up(self) -> None:
        self._up = True

    def _refused(self, error: Exception) -> None:
        raise error

    def _ring(self, count: int = 1) -> None:
        self._rung = True
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass


def _ignore(*_: object) -> None:
    """For what doesn't matter here."""


def _raise_trouble(hands: Sequence[_Hand]) -> None:
    for hand in hands:
        if hand.trouble is not None:
            raise hand.trouble
