"""What every kind of child has in common: its slot, its lane, its talk with the worker."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from select import POLLIN, poll
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from multi import log, signals
from multi.app import life, limits
from multi.app.execute import Job, dealt_with, failure, prepare, stores
from multi.app.unique import HEADER as UNIQUE
from multi.brokers.base import Delivery, Lane, Port, Settlement
from multi.errors import BackendUnavailable, BrokerLost, MultiError
from multi.log import get_logger, rename_process
from multi.outcome import Outcome
from multi.store import Store
from multi.worker.directives import Directives, heed
from multi.worker.events.ring import WANTED, Rings
from multi.worker.events.telling import Telling
from multi.worker.lines import TaskLines
from multi.worker.slots import Slot
from multi.worker.totals import Totals

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.rundir import RunDir
    from multi.stats import StatsPage
    from multi.worker.options import WorkerOptions

logger = get_logger("multi.worker")

#: What child and worker tell each other, a byte each.
READY, IDLE, AWAKE, PARKED = b"r", b"i", b"a", b"p"
GO, STOP = b"g", b"s"

#: The signal that has a child write its stacks to the log (USR1 and USR2 have meanings of their own there).
DUMP = signal.SIGRTMIN

#: A finished outcome waits so long (s) for others to travel with it, at most.
PATIENCE = 0.005
#: So long (s) a stopping child goes on trying to deliver its last outcomes to a broker that is away.
LAST_TRIES = 5.0
LARGEST_BATCH = 64
#: Characters of a call's arguments that are copied for the stats page, which cuts them further.
ARGS_LENGTH = 256


class ChildPlan(msgspec.Struct):
    """What a child is given before the fork."""

    number: int
    app: App
    options: WorkerOptions
    slot: Slot
    port: Port
    control: socket.socket
    page: StatsPage
    rundir: RunDir | None
    entries: int
    rings: Rings
    totals: Totals
    directives: Directives


class WorkerGone(Exception):
    """The worker's process is no more; nobody renews the leases."""


class Child(ABC):
    """One child's life, from the fork to its exit code. Subclasses run the tasks."""

    def __init__(self, plan: ChildPlan) -> None:
        self.plan = plan
        self.app = plan.app
        self.slot = plan.slot
        self.options = plan.options
        self.control = plan.control
        self.row = plan.page.child(plan.number - 1)
        self.lines = TaskLines()
        self._events = plan.rings.tasks
        self._header = plan.rings.tasks.header
        self.counts, self.places = plan.totals.row(plan.number - 1), plan.totals.places
        self.directives = plan.directives
        self._heeded = plan.directives.version
        self._poller = poll()
        self._lane_fd = -1
        self._parked = False
        self._poller.register(plan.control.fileno(), POLLIN)
        self.lane: Lane
        #: runs to go before this child is replaced by a fresh one
        self.left = plan.options.max_tasks_per_child or sys.maxsize
        self.retire = False

    def run(self) -> int:
        """Serve until told to stop, or until it is time for a fresh child; returns the exit code."""
        self._settle_in()
        self.lane = self.plan.port.open()
        self.control.setblocking(False)
        try:
            self.tell(READY)
            self.serve()
        except WorkerGone:
            logger.error("The worker is gone: child %d ends", self.plan.number)
            return 1
        # only here: a lane that is closed gives back what it holds as if it had never been started
        self.lane.close()
        signals.worker_process_shutdown.send(None, pid=os.getpid(), exitcode=0)
        return 0

    @abstractmethod
    def serve(self) -> None:
        """Claim, run and settle until there is no more to do."""

    def _settle_in(self) -> None:
        rename_process(f"ForkPoolWorker-{self.plan.number}")
        signal.set_wakeup_fd(-1)
        # a terminal's Control-C and a supervisor's TERM reach the whole group; what they mean is the worker's decision.
        # Handlers that do nothing by themselves rather than SIG_IGN: programs started by tasks must not inherit it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, self._told)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log.dump_stacks_on(DUMP)
        signal.signal(signal.SIGUSR2, lambda *_: self._reopen_log())
        if "random" in sys.modules:
            sys.modules["random"].seed()
        self.app.after_fork()
        self.telling = Telling(self.app, self.options.hostname, os.getppid())
        self.app.event_sink = self.plan.rings.sink()
        signals.worker_process_init.send(None)

    def _told(self, number: int, _: object) -> None:
        """End by this signal if the worker has sent it to end the run that is under way, and do nothing else."""
        if number not in (signal.SIGTTIN, signal.SIGTTOU) and self.slot.struck:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _reopen_log(self) -> None:
        if self.plan.rundir is not None:
            self.plan.rundir.reopen_log()
        log.reopen()

    # -- the worker -------------------------------------------------------------------------------------------------

    def tell(self, word: bytes) -> None:
        """Say a word to the worker."""
        try:
            self.control.send(word)
        except BlockingIOError:
            pass  # the worker is far behind and has enough to read
        except OSError as error:
            raise WorkerGone from error

    def hear(self) -> bytes:
        """What the worker has said meanwhile."""
        try:
            words = self.control.recv(64)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise WorkerGone from error
        if not words:
            raise WorkerGone
        if STOP in words:
            self.slot.draining = True
        return words

    def wait(self, seconds: float | None = None) -> None:
        """Sleep until the worker says something, a delivery may have come, or time is up."""
        poller = self._poller
        if (fd := self.lane.fileno()) != self._lane_fd:
            if self._lane_fd >= 0:
                poller.unregister(self._lane_fd)
            if fd >= 0:
                poller.register(fd, POLLIN)
            self._lane_fd = fd
        poller.poll(None if seconds is None else max(0, int(seconds * 1000)))
        self.hear()

    @property
    def stopping(self) -> bool:
        """Whether nothing more is to be claimed."""
        return self.retire or self.slot.draining

    # -- the broker -------------------------------------------------------------------------------------------------

    def exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        """Settle and claim, over broken connections too: nothing is claimed then, but everything is settled.

        A stopping child gives up after a while; its leases end and its messages return.
        """
        if self.directives.version != self._heeded:
            self._heed()
        pause = 0.05
        deadline: float | None = None
        told = False
        while True:
            try:
                deliveries = self.lane.exchange(settlements, claim if not self.stopping else 0)
                if self._parked:
                    self._parked = False
                    self.tell(PARKED)
                if signals.PUBLISHING.any or self.app.middleware or self.app.publisher.tells_sent:
                    life.sent(self.app, [one for each in settlements for one in each.publications])
                return deliveries
            except BrokerLost as error:
                # of the broker's outage the worker's own connection tells the log
                results = isinstance(error.__cause__, BackendUnavailable)
                logger.log(logging.ERROR if results and not told else logging.DEBUG, "%s; it is tried again", error)
                told = told or results
            if self.slot.draining:
                deadline = deadline or monotonic() + LAST_TRIES
                if monotonic() > deadline:
                    logger.error("%d outcomes could not be given to the broker before the stop", len(settlements))
                    return []
            if not settlements and not claim:
                return []
            self.wait(pause)
            pause = min(pause * 2, 1.0)

    def _heed(self) -> None:
        """Go by what the worker says to all of its children from now on."""
        self._heeded, content = self.directives.read()
        heed(self.app, content, self.directives.turns)
        if content.concurrency is not None:
            self.run_at_once(content.concurrency)

    def run_at_once(self, concurrency: int) -> None:
        """Run so many tasks at once from now on; where a child can run more than one."""

    def settlement(self, delivery: Delivery, outcome: Outcome, *, ran: bool = True) -> Settlement:
        """What the broker is to do after this outcome; `ran` is false where it was clear without a run."""
        self._parked = self._parked or outcome.verb == "park"
        message = delivery.message
        if self.app.holder is not None or (message is not None and UNIQUE in message.headers):
            dealt_with(self.app, message, outcome)
        stored = self._stores(outcome) if outcome.record or outcome.parts or outcome.stores else []
        reason = outcome.reason
        return Settlement(
            delivery.tag,
            delivery.fence,
            delivery.queue,
            outcome.verb,
            ran,
            outcome.due,
            reason,
            (outcome.traceback or "") if reason else "",
            stored,
            outcome.publications,
        )

    def _stores(self, outcome: Outcome) -> list[Store]:
        """What is to be recorded; the backend of one task alone is waited for, as `exchange` waits for the app's."""
        pause = 0.05
        deadline: float | None = None
        while True:
            try:
                return stores(self.app, outcome)
            except BackendUnavailable as error:
                logger.log(logging.ERROR if pause == 0.05 else logging.DEBUG, "%s; it is tried again", error)
            if self.slot.draining:
                deadline = deadline or monotonic() + LAST_TRIES
                if monotonic() > deadline:
                    logger.error("The outcome of task %s could not be recorded before the stop", outcome.name)
                    if outcome.parts:
                        outcome.verb = "requeue"  # a chord waits for it
                    return []
            self.wait(pause)
            pause = min(pause * 2, 1.0)

    def record_directly(self, settlement: Settlement) -> None:
        """For a message that was acknowledged before its run: there is no claim left to settle."""
        try:
            if settlement.publications:
                self.app.broker.publish(settlement.publications)
                if signals.PUBLISHING.any or self.app.middleware or self.app.publisher.tells_sent:
                    life.sent(self.app, settlement.publications)
            if settlement.stores and self.app.backend is not None:
                self.app.backend.store(settlement.stores)
        except MultiError as error:
            logger.error("The outcome of a task that was acknowledged early could not be recorded: %s", error)

    # -- one run ----------------------------------------------------------------------------------------------------

    def tell_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        """The line in the log, and the counts on the stats page."""
        if self._header[WANTED]:
            self._tell_end(delivery, outcome)
        lines, name, task_id = self.lines, outcome.name, outcome.task_id
        state, verb = outcome.state, outcome.verb
        if verb == "bury":
            lines.buried(name or "?", task_id or "?", delivery.queue, outcome.reason)
            self.row.count(0, 1, 0)
        elif verb == "park":
            if lines.info:
                from datetime import UTC, datetime

                due = datetime.fromtimestamp(outcome.due, UTC).isoformat()
                if outcome.reason:
                    lines.waits(name, task_id, due, outcome.reason)
                else:
                    lines.parked(name, task_id, due)
        elif state == "SUCCESS":
            self.row.count(1, 0, 0)
            if lines.info:
                plan = self.app.executor.plan(name)
                lines.succeeded(name, task_id, outcome.runtime, outcome.result, plan.task.resultrepr_maxsize)
        elif state == "FAILURE":
            self.row.count(0, 1, 0)
            lines.failed(name, task_id, outcome.result, outcome.traceback, expected=outcome.expected)
        elif state == "RETRY":
            self.row.count(0, 0, 1)
            lines.retried(name, task_id, outcome.reason or outcome.result)
        elif state == "REVOKED":
            lines.revoked(name, task_id, str(outcome.result))
        elif verb == "requeue" or state == "REJECTED":
            lines.rejected(name, task_id, outcome.reason)
        else:
            lines.ignored(name, task_id)

    def tell_start(self, job: Job) -> None:
        """The events of a run that begins, where they are wanted."""
        if self._header[WANTED] and job.plan.task.send_events:
            self._events.write(self.telling.begun(job), 2)

    def _tell_end(self, delivery: Delivery, outcome: Outcome) -> None:
        if outcome.state == "SUCCESS":
            if line := self.telling.succeeded(outcome):
                self._events.write(line)
            return
        for line in self.telling.ended(outcome, delivery.message):
            self._events.write(line)

    def job(self, delivery: Delivery) -> Job | Outcome:
        """What is to be run, or the outcome where nothing is."""
        found = self._job(delivery)
        if signals.RUNS.any:
            life.received(self.app, delivery.message, found)
        return found

    def _job(self, delivery: Delivery) -> Job | Outcome:
        if delivery.message is None:
            reason = f"undecodable message: {delivery.fault}"
            return Outcome("", "", "FAILURE", verb="bury", record=False, reason=reason)
        return prepare(
            self.app,
            delivery.message,
            queue=delivery.queue,
            redelivered=delivery.redelivered,
            starts=delivery.starts,
            hostname=self.options.hostname,
        )

    def forgo(self, job: Job | Outcome) -> None:
        """What was made ready isn't run, because its message was taken away meanwhile."""
        if isinstance(job, Job):
            limits.over(self.app, job.id)

    def interrupted(self, delivery: Delivery, error: BaseException) -> Outcome:
        """The outcome when a limit struck outside of the task's own code."""
        assert delivery.message is not None
        return failure(self.app, delivery.message, error)


def called_with(headers: dict[str, Any]) -> bytes:
    """What the stats page tells of a task's arguments: their `repr` as its sender made it."""
    args, kwargs = headers.get("argsrepr"), headers.get("kwargsrepr")
    try:
        if not kwargs or kwargs == "{}":
            return args[:ARGS_LENGTH].encode() if args else b""
        return f"{args[:ARGS_LENGTH] if args else ''} {kwargs[:ARGS_LENGTH]}".encode()
    except (TypeError, AttributeError, UnicodeError):
        return b""  # a sender that has put something else there


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its worker dies: nobody would renew its leases.

    Where the kernel can't (other systems than Linux), a child notices before its next claim.
    """
    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
    except (OSError, AttributeError, ImportError):
        pass
    if os.getppid() != parent:
        os._exit(1)
