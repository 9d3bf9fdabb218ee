"""The worker's own process: it forks children, keeps the leases, enforces limits and stops in order; it runs no task."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from logging import INFO, WARNING
from secrets import token_hex
from time import monotonic, time
from typing import TYPE_CHECKING

from multi import log, plugins, signals, stacks
from multi.app.plan import executor
from multi.brokers.base import Claim, Watch, WatchEvents
from multi.errors import BackendUnavailable, StateDirectoryError
from multi.loop import Loop, Timer
from multi.notify import Notifier
from multi.rundir import RunDir
from multi.stats import READY as PAGE_READY
from multi.stats import STOPPING as PAGE_STOPPING
from multi.stats import StatsPage
from multi.worker import lines
from multi.worker.autoscale import Autoscaler, scaler
from multi.worker.child import AWAKE, DUMP, GO, IDLE, PARKED, READY, STOP, Child, ChildPlan
from multi.worker.companion import Companion
from multi.worker.crew import Member, fork
from multi.worker.directives import Directives
from multi.worker.ear import Ear
from multi.worker.events.node import Events
from multi.worker.giving_up import given_up
from multi.worker.intake import Intake, parse
from multi.worker.orders import Orders
from multi.worker.orphans import Orphans, how
from multi.worker.oversight import Oversight
from multi.worker.revokes import Revokes
from multi.worker.serial import freeze
from multi.worker.signals import Signals
from multi.worker.sizing import Sizing
from multi.worker.slots import CLAIMED, RUNNING, Slot
from multi.worker.successor import Successor, predecessor, report_to_manager
from multi.worker.totals import Totals

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.pools.base import Pool
    from multi.worker.options import WorkerOptions
    from multi.worker.pidfile import PidFile

logger = log.get_logger("multi.worker")

#: Rows kept free on the stats page for children that TTIN adds.
SPARE_ROWS = 16
#: A child that ends sooner (s) than this without a task to blame is started again with growing pauses.
YOUNG = 1.0
#: So long (s) a child that is being given messages is spared in a cold shutdown.
CLAIM_TIME = 1.0
#: A child writes its stacks to the log in less time (s) than this.
DUMP_TIME = 0.05
#: So long (s) a stopping worker goes on trying to give outcomes to a broker that is away; in a cold shutdown there are
#: but messages to be handed back, which return by themselves when their leases end.
LAST_WORDS, COLD_WORDS = 5.0, 2.0


class Worker:
    """One worker. `run` serves until it is told to stop and returns the exit code."""

    def __init__(self, app: App, options: WorkerOptions, pidfile: PidFile | None = None) -> None:
        self.app = app
        self.options = options
        # what the command line says of limits holds wherever a task or a message says nothing
        for name, limit in (("task_time_limit", options.time_limit), ("task_soft_time_limit", options.soft_time_limit)):
            if app.conf[name] != limit:
                app.conf[name] = limit
        # made before the children are forked, it is theirs for nothing, and they share the turns of rate limits
        executor(app).plan_all()
        self.clock = app.clock
        self.pool: Pool = plugins.find("multi.pools", options.pool)()
        self.loop = Loop()
        self.rundir = RunDir.from_env()
        self.notifier = Notifier.from_env()
        self.wanted = self.pool.children(options.concurrency)
        self.members: dict[int, Member] = {}
        self.owner = f"{options.hostname}/{token_hex(4)}"
        place = self.rundir.stats if self.rundir else None
        try:
            most = max(self.wanted, self.pool.children(options.max_concurrency or 0))
            self.page = StatsPage.create(place, most + SPARE_ROWS)
        except OSError as error:
            raise StateDirectoryError(f"{place} can't be written: {error.strerror}; make room there") from error
        self.totals = Totals(app.tasks, self.page.rows)
        self.directives = Directives()
        self.size = Sizing(self)
        self.autoscaler: Autoscaler | None = None
        self.intake = Intake(options.queues, parse(self.rundir.paused) if self.rundir else ())
        self.consumed = self.intake.consumed
        self.backend = app.backend
        self.watch: Watch = app.worker_broker.watch(
            self.loop,
            self.consumed,
            self.backend,
            self.owner,
            WatchEvents(
                on_up=self._up,
                on_down=self._down,
                on_refused=self._refused,
                on_message=self._ring,
                claims=self._claims,
            ),
        )
        self.events = Events(self)
        self.orphans = Orphans(app, self.watch, self.events)
        self.started = time()
        self.connected = False
        self.stopping = False
        self.cold = False
        self.exit_code = 0
        self.reason = "stopped"
        #: a process that is kept beside the children
        self.companion: Companion | None = None
        self.oversight = Oversight(self.loop, self.members, self.watch, self.pool)
        self.orders = Orders(self)
        self.ear = Ear(self)
        self.revokes = Revokes(self)
        if options.max_concurrency is not None:
            self.autoscaler = scaler(app.conf.worker_autoscaler)(
                self, options.max_concurrency, options.min_concurrency or 1
            )
            self.show_limits(options.max_concurrency, options.min_concurrency or 1)
        self._drain: Timer | None = None
        self._listener: Signals | None = None
        self._pause = 0.1
        self._forked = 0
        self._failures = 0
        self._soft = False
        self._pidfile = pidfile
        self._successor: Successor | None = None
        self._predecessor = predecessor()
        self._is_waiting = False
        self.said_ready = False
        self._last_word = 0.0

    # -- life -------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve; returns 0 after a warm shutdown, 1 after a cold one or a failure, 2 when the broker refuses."""
        options = self.options
        for note in options.notes:
            logger.info("%s", note)
        self.page.node(
            pid=os.getpid(),
            started=self.started,
            pool=options.pool,
            concurrency=options.concurrency,
            queues=self.consumed,
            generation=self.rundir.generation if self.rundir else 1,
        )
        self._listener = Signals(self.loop, self)
        log.dump_stacks_when_killed()
        if self.rundir is not None:
            stacks.listen(self.rundir.stacks)
        signals.worker_init.send(self)
        freeze()
        try:
            self.watch.start()
            self.loop.every(1.0, self._pulse)
            if self.companion is not None:
                self.loop.later(0, self.companion.start)
            self._show_life()
            self.loop.run()
        finally:
            for member in list(self.members.values()):
                member.signal(signal.SIGKILL)
                member.reap()
                self.loop.forget(member.pidfd)
                self.loop.forget(member.control.fileno())
                member.close()
            if self.companion is not None:
                self.companion.close()
            self.events.offline()
            self.watch.stop()
            self.events.close()
            self._listener.close()
            self.orders.close()
            signals.worker_shutdown.send(self)
            if self.rundir is not None:
                self.rundir.write_exit(
                    "stop" if self.exit_code == 0 or self.cold else "error", self.exit_code, self.reason
                )
                self.rundir.clear()
            self.loop.close()
        return self.exit_code

    def _up(self) -> None:
        # the end of an outage is told as loudly as its beginning
        logger.log(WARNING if self.connected else INFO, lines.CONNECTED, self.app.worker_broker.masked)
        self._failures = 0
        self.revokes.load()
        if not self.connected:
            self.connected = True
            self._purge()
            self._check_backend()
            # from the loop itself: a child keeps for life whatever exception its fork happens to be in the handling of
            self.loop.later(0, self.populate)
        else:
            self.notifier.status(self.condition)
            for member in self.members.values():
                member.tell(GO)

    def _down(self, why: str) -> None:
        logger.error("%s", why)
        self._failures += 1
        reason = given_up(self.app.conf, connected=self.connected, failures=self._failures)
        if reason and not self.stopping:
            logger.critical("The worker ends: %s", reason)
            self._end(f"{why} ({reason})", 1)
        self.notifier.status(f"waiting for the broker: {why}")

    def populate(self) -> None:
        """Fork the children that are wanted and not there."""
        while not self.stopping and len(self.members) < self.wanted:
            self._add()

    def _check_backend(self) -> None:
        if self.backend is not None:
            try:
                self.backend.prepare()
            except BackendUnavailable as error:
                logger.error("%s; until then tasks run and wait to be recorded", error)

    def _purge(self) -> None:
        if self.options.purge:
            gone = sum(self.app.worker_broker.purge(queue) for queue in self.options.queues)
            logger.warning("Purged %d messages from %s", gone, ", ".join(self.options.queues))

    def _refused(self, error: Exception) -> None:
        logger.critical("%s", error)
        self._end(str(error), 1 if self.connected else 2)

    def _end(self, reason: str, code: int) -> None:
        """End by itself: warm, where there are children."""
        self.exit_code, self.reason = code, reason
        if self.members:
            self.stop()
        else:
            self.loop.stop()

    def _ready(self) -> None:
        self.page.node(state=PAGE_READY, last_loop=time())
        logger.info(lines.READY, self.options.hostname)
        if self.intake.left:
            logger.warning("It begins %s", self.intake)
        self.events.online()
        signals.worker_ready.send(self)
        self.notifier.ready(self.condition)
        successor = report_to_manager(self.notifier)
        if successor is not self.notifier:
            self.notifier = successor
            # not at once: the manager has yet to learn from our predecessor that it is us now
            self._show_life(at_once=False)

    @property
    def condition(self) -> str:
        """How it is, in a line for people."""
        return ", ".join(part for part in (f"{self.options.hostname} ready", str(self.intake)) if part)

    def _pulse(self) -> None:
        self.page.node(last_loop=time(), rss=_resident())
        self.oversight.watch_closely()

    def _show_life(self, *, at_once: bool = True) -> None:
        """Tell the manager, if it wants to be told, that this loop turns; for as long as this manager is the one."""
        if interval := self.notifier.watchdog_interval:
            if at_once:
                self.notifier.watchdog()
            self.loop.every(interval, self.notifier.watchdog)

    # -- children ---------------------------------------------------------------------------------------------------

    def _add(self) -> None:
        number = next(n for n in range(1, self.page.rows + 1) if n not in self.members)
        self._forked += 1
        entries = self.pool.entries(self.options.max_concurrency or self.options.concurrency)
        slot = Slot(entries)
        port = self.watch.port(f"{self.owner}/{self._forked}")
        rings = self.events.rings()

        def body(control: socket.socket) -> int:
            self.orders.leave_to_worker()
            plan = ChildPlan(
                *(number, self.app, self.options, slot, port, control, self.page, self.rundir, entries, rings),
                *(self.totals, self.directives),
            )
            return child_class(self.pool.loop)(plan).run()

        signals.worker_before_create_process.send(self)
        pid, control = fork(body, list(self.members.values()))
        member = Member(number, pid, slot, port, control)
        self.members[number] = member
        self.events.add(number, rings)
        self.loop.on_readable(member.pidfd, lambda: self._ended(member))
        self.loop.on_readable(control.fileno(), lambda: self._heard(member))

    def _heard(self, member: Member) -> None:
        try:
            words = member.control.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            words = b""
        if not words:
            self.loop.forget(member.control.fileno())
            return
        if READY in words and not member.ready:
            member.ready = True
            if not self.stopping and all(each.ready for each in self.members.values()) and not self.said_ready:
                self.said_ready = True
                self._ready()
        if PARKED in words:
            self.watch.parked()
        if words.endswith(IDLE):
            member.idle = True
            if self.stopping:
                member.tell(STOP)
            else:
                self.arm()
        elif AWAKE in words:
            member.idle = False
            self.oversight.watch_closely()

    def arm(self) -> None:
        self.watch.arm(sum(member.idle for member in self.members.values()))

    def _ring(self, count: int) -> None:
        """Messages have come: wake as many idle children."""
        for member in self.members.values():
            if count <= 0:
                break
            if member.idle and not member.stopping:
                member.idle = False
                member.tell(GO)
                count -= 1
        self.oversight.watch_closely()
        self.arm()

    def _ended(self, member: Member) -> None:
        """A child is gone: settle for it, and fork another one if it is still wanted."""
        self.loop.forget(member.pidfd)
        self.loop.forget(member.control.fileno())
        code = member.reap()
        del self.members[member.number]
        self.page.clear(member.number - 1)
        self.events.remove(member.number)
        settlements, running = member.slot.inherit()
        self.watch.settle(settlements)
        for held in running:
            self.orphans.take(member, held, code, cold=self.cold)
        if code and not member.condemned and not member.terminated and not self.cold:
            logger.error("Child %d (pid %d) %s", member.number, member.pid, how(code))
        if member.ready:
            self._pause = 0.1
        member.close()
        if self.stopping:
            self._done_yet()
        elif len(self.members) < self.wanted:
            young = code != 0 and not running and monotonic() - member.since < YOUNG
            self._pause = min(self._pause * 2, 30.0) if young else 0.1
            self.loop.later(self._pause if young else 0, self.populate)

    def _claims(self) -> Iterator[Claim]:
        for member in self.members.values():
            for held in member.slot.held():
                yield Claim(held.tag, held.fence, held.state != CLAIMED)

    # -- orders -----------------------------------------------------------------------------------------------------

    def grow(self) -> None:
        """One child more."""
        self.size.grow()

    def shrink(self) -> None:
        """One child fewer, by a warm end; the last one stays."""
        self.size.shrink()

    def show_limits(self, most: int, least: int) -> None:
        """Tell on the stats page between which numbers the capacity follows the load."""
        self.page.node(most=most, least=least)

    def dismiss(self, member: Member) -> None:
        """Let a child finish what it runs and end; what it has not begun goes back now."""
        member.stopping = True
        member.idle = False
        member.slot.draining = True
        if self.pool.loop == "serial":
            self.watch.settle(member.slot.take(unstarted=True, done=False))
        member.tell(STOP)

    def stop(self) -> None:
        """Warm shutdown: stop fetching, hand back what is not started, finish what runs."""
        if self.stopping:
            return
        self.stopping = True
        how = "Cold" if self.cold else "Warm"
        signals.worker_shutting_down.send(
            self.options.hostname, sig=self._listener.last if self._listener else None, how=how, exitcode=self.exit_code
        )
        self.notifier.stopping()
        self.page.node(state=PAGE_STOPPING)
        self.watch.arm(0)
        if self.companion is not None:
            self.companion.stop()
        running = 0
        for member in self.members.values():
            running += member.slot.states().count(RUNNING)
            self.dismiss(member)
        logger.warning("Warm shutdown: %s running", "1 task is" if running == 1 else f"{running} tasks are")
        if self.options.drain_timeout is not None:
            self._drain = self.loop.later(self.options.drain_timeout, self._drained)
        self._done_yet()

    def _drained(self) -> None:
        logger.warning("The drain deadline of %g s has passed: what runs is handed back", self.options.drain_timeout)
        self.cold = True
        self._kill(monotonic() + CLAIM_TIME)

    def stop_cold(self) -> None:
        """Cold shutdown: interrupt tasks now and hand every message back."""
        if self.cold or self._softly():
            return
        self.cold = True
        self.exit_code = 1
        self.reason = "cold shutdown"
        if not self.stopping:
            self.stop()
        logger.warning("Cold shutdown: running tasks are interrupted and their messages handed back")
        self._kill(monotonic() + CLAIM_TIME)
        if self._is_waiting:
            self._done_yet()

    def _softly(self) -> bool:
        """Let what runs go on for worker_soft_shutdown_timeout, the first time; whether it does."""
        timeout = self.app.conf.worker_soft_shutdown_timeout
        if self._soft or not timeout or not any(RUNNING in member.slot.states() for member in self.members.values()):
            return False
        self._soft = True
        logger.warning(
            "Soft shutdown: running tasks have %g s before the cold one (worker_soft_shutdown_timeout)", timeout
        )
        if not self.stopping:
            self.stop()
        self.loop.later(timeout, self.stop_cold)
        return True

    def _kill(self, deadline: float) -> None:
        later = False
        for member in self.members.values():
            if member.slot.claiming and monotonic() < deadline:
                later = True  # what it is given at this moment could not be handed back
            else:
                member.signal(signal.SIGKILL)
        if later:
            self.loop.later(0.002, lambda: self._kill(deadline))

    def _done_yet(self) -> None:
        if self.members:
            return
        if self.watch.pending() or self.orphans.asking:
            # the outcomes of children are still under way; without a broker they are given up after a while
            self._last_word = self._last_word or monotonic() + (COLD_WORDS if self.cold else LAST_WORDS)
            if monotonic() < self._last_word:
                self.loop.later(0.01, self._done_yet)
                return
            logger.error("Some outcomes could not be given to the broker before the stop: their messages return")
        if self._predecessor >= 0 and not self.cold and not self._is_waiting:
            self._is_waiting = True
            logger.info("Waiting for the worker that this one took over from, should it still run tasks")
            self.loop.on_readable(self._predecessor, self._alone)
        elif self._predecessor < 0 or self.cold:
            self.loop.stop()

    def _alone(self) -> None:
        """The worker that this one took over from has ended."""
        self.loop.forget(self._predecessor)
        os.close(self._predecessor)
        self._predecessor = -1
        self._done_yet()

    def reload(self) -> None:
        """Let a fresh worker take over; this one stops when that one is ready."""
        if self.stopping or self._successor is not None:
            return
        logger.warning("Reload: a fresh worker is started to take over")
        self.notifier.reloading()
        try:
            self._successor = Successor(
                self.loop,
                self.notifier,
                self._pidfile,
                self._succeeded,
                self._not_succeeded,
                self.options.directory,
                self.rundir,
            )
        except OSError as error:
            logger.error("The reload has failed, this worker goes on: %s", error)
            self._not_succeeded(str(error))

    def _succeeded(self) -> None:
        if self.rundir is not None:
            self.rundir.tell_reload()
        self.notifier.close()
        self.events.hand_over()
        self.stop()

    def _not_succeeded(self, trouble: str) -> None:
        self._successor = None
        if self.rundir is not None:
            self.rundir.tell_reload(trouble)
        self.notifier.ready()

    def dump(self) -> None:
        """Write the stacks of all processes to the log."""
        logger.warning("Stacks of the worker and its children:")
        log.dump_stacks()
        # one after the other: each writes its stacks in small pieces
        for turn, member in enumerate(list(self.members.values()), 1):
            self.loop.later(turn * DUMP_TIME, lambda member=member: self._dump_of(member))  # type: ignore[misc]

    def _dump_of(self, member: Member) -> None:
        if self.members.get(member.number) is member:
            member.signal(DUMP)

    def reopen_log(self) -> None:
        """After a rotation: write to the file that bears the name now."""
        if self.rundir is not None:
            self.rundir.reopen_log()
        log.reopen()
        for member in self.members.values():
            member.signal(signal.SIGUSR2)
        if self.companion is not None:
            self.companion.signal(signal.SIGUSR2)


def child_class(loop: str) -> type[Child]:
    """The kind of child that runs tasks in this way; imported in the child, where it is used."""
    if loop == "serial":
        from multi.worker.serial import SerialChild

        return SerialChild
    if loop == "threads":
        from multi.worker.threaded import ThreadedChild

        return ThreadedChild
    from multi.worker.looping import LoopingChild

    return LoopingChild


def _resident() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
