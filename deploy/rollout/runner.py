"""Carries a plan out: prepares all hosts, switches them batch by batch, and takes them back when something fails.

Whatever happens on a host, it ends on one whole release: what PREPARE does touches nothing that runs, and every step of SWITCH
has its way back in the plan. A host that can't be reached any more is told of, and the next push brings it into line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.deploy.base import Backend, Session
from multi.deploy.rollout import acting, health
from multi.deploy.rollout import canary as judging
from multi.deploy.rollout.answering import only_alive
from multi.deploy.rollout.report import (
    BEGIN,
    DONE,
    END,
    FAILED,
    FAULT,
    LEFT_OUT,
    LINE,
    NOTE,
    PHASE,
    PREPARED,
    REVERTED,
    STUCK,
    UNCHANGED,
    UNREACHABLE,
    Event,
    HostReport,
    Report,
    Tell,
)
from multi.deploy.steps import FINISH, GOOD, ONCE, PREPARE, RESTART, START, STOP, SWITCH, Command, Gate, Plan, Step
from multi.errors import DeployError, DeployLocked, HostUnreachable, MultiError, StepFailed

if TYPE_CHECKING:
    from multi.deploy.hosts.inventory import Host
    from multi.deploy.hosts.settings import Canary
    from multi.deploy.rollout.locking import Holder


#: A lock that was seen to be ours so lately (s) is not looked at again.
_SEEN = 1.0


class Settings(NamedTuple):
    """How a plan is carried out."""

    max_parallel: int = 20
    max_fail_percentage: float = 0
    auto_revert: bool = True


class Runner:
    """One plan being carried out. `cancel` is set to have it end, going back, at the next step."""

    def __init__(
        self,
        plan: Plan,
        hosts: Iterable[Host],
        backend: Backend,
        tell: Tell,
        *,
        settings: Settings | None = None,
        holder: Holder | None = None,
        canary: Canary | None = None,
        look: Callable[[str, tuple[str, ...]], tuple[Mapping[str, Any], Mapping[str, Any]]] | None = None,
    ) -> None:
        """`look` gives, for a host and those of its nodes that are new, these and the fleet's old ones (for the canary)."""
        known = {host.name: host for host in hosts}
        self.plan = plan
        self.backend = backend
        self.settings = settings or Settings()
        self.reports = {name: HostReport(one, known[name]) for name, one in plan.hosts.items()}
        self.cancel = threading.Event()
        self._tell = tell
        self._holder = holder
        self._canary = canary
        self._look = look
        self._reason = ""
        self._total = len(plan.hosts)
        self._batches = _one_first(plan.batches) if canary is not None else plan.batches
        self._pool = ThreadPoolExecutor(max(1, min(self.settings.max_parallel, self._total)), "multi-deploy")

    # ---- the whole

    def run(self, check: Callable[[], str] | None = None) -> Report:
        """Carry it out; what has become of it. Locks are held by whoever calls. `check` is asked when all is prepared, and
        before anything that runs is touched: what it returns is why the deploy ends there, "" to go on."""
        begun = time.monotonic()
        try:
            self._prepare()
            if not self._reason and not self._stopped() and check is not None:
                self._reason = check()
            if not self._reason:
                self._once()
            if not self._reason:
                self._switch()
            if self._reason:
                self._go_back()
            else:
                self._finish()
        finally:
            self._pool.shutdown(wait=not self.cancel.is_set(), cancel_futures=True)
        bad = [one for one in self.reports.values() if one.state not in (DONE, UNCHANGED)]
        return Report(self.plan, self.reports, not bad and not self._reason, self._reason, time.monotonic() - begun)

    def _prepare(self) -> None:
        names = [name for name, one in self.plan.hosts.items() if one.error is None and one.of(PREPARE)]
        if names:
            self._tell(Event(PHASE, "", f"Preparing {_count(names, 'host')}"))
            self._each(names, self._prepare_one)
        for name in names:
            if self.reports[name].state == UNCHANGED:
                self.reports[name].state = PREPARED
        self._count_failures()

    def _prepare_one(self, report: HostReport) -> None:
        for step in report.plan.of(PREPARE):
            self._do(report, step, again=True)

    def _once(self) -> None:
        if not self.plan.once:
            return
        self._tell(Event(PHASE, "", "Once for all hosts"))
        for step in self.plan.once:
            report = self.reports[step.host]
            if self._stopped() or report.state in (FAILED, UNREACHABLE, LEFT_OUT):
                self._reason = self._reason or f"{step.title} can't be done: {step.host} is {report.state}"
                return
            self._each([step.host], lambda one, what=step: self._do(one, what))  # type: ignore[misc]
            if report.state in (FAILED, UNREACHABLE):
                self._reason = f"{step.title} has failed on {step.host}"
                return

    def _switch(self) -> None:
        batches = [[name for name in batch if self._takes_part(name)] for batch in self._batches]
        batches = [batch for batch in batches if batch]
        for number, batch in enumerate(batches, 1):
            if self._stopped():
                return
            word = f"Batch {number} of {len(batches)}: " if len(batches) > 1 else "Switching "
            self._tell(Event(PHASE, "", word + ", ".join(batch)))
            self._each(batch, self._switch_one)
            for name in batch:
                if self.reports[name].state in (UNCHANGED, PREPARED):
                    self.reports[name].state = DONE
            if self._holder is not None and len(batches) > 1:
                self._renew_all()
            self._count_failures()
            if self._reason:
                return

    def _takes_part(self, name: str) -> bool:
        report = self.reports.get(name)
        return report is not None and report.state in (UNCHANGED, PREPARED) and bool(report.plan.of(SWITCH))

    def _switch_one(self, report: HostReport) -> None:
        try:
            new: list[str] = []
            self._confirm(report)
            for step in report.plan.of(SWITCH):
                self._may_begin(report, step)
                report.has_switched = True
                if step.node is not None:
                    report.begun.add(step.node)
                self._do(report, step, again=not isinstance(step.do, Command))
                if step.node is not None and step.kind in (START, RESTART):
                    new.append(step.node)
                    if self._canary is not None and len(new) == self._canary.nodes:
                        self._judge(report, tuple(new))
            if self._canary is not None and new:
                self._judge(report, tuple(new))  # the host has fewer nodes than are wanted
        except (HostUnreachable, DeployLocked):
            raise
        except DeployError as error:
            if self._is_tolerated(report):
                report.fail(error)
                self._back_one(report)  # the others go on without it
                return
            raise

    def _judge(self, report: HostReport, new: tuple[str, ...]) -> None:
        """Have the first nodes with the release judged, once in a deploy."""
        canary, self._canary = self._canary, None
        assert canary is not None
        assert self._look is not None
        look, name = self._look, report.host.name

        def say(line: str) -> None:
            self._tell(Event(LINE, name, line))

        self._tell(Event(PHASE, "", f"Canary: {', '.join(new)} on {name}"))
        gates = [step.do for step in report.plan.of(SWITCH) if isinstance(step.do, Gate)]
        gate = gates[-1] if gates else None
        if gate is not None:
            units = tuple(unit for node, unit in zip(gate.nodes, gate.units, strict=False) if node in new)
            first = gate._replace(nodes=new, units=units or new, command=None)
            health.wait(self._session(report), first, say, self.cancel)
        judging.judge(name, canary, lambda: look(name, new), say, self.cancel)

    def _is_tolerated(self, report: HostReport) -> bool:
        failed = 1 + sum(one.state in (FAILED, REVERTED, STUCK, UNREACHABLE) for one in self.reports.values())
        return failed * 100 / self._total <= self.settings.max_fail_percentage and not self.cancel.is_set()

    def _finish(self) -> None:
        names = [
            name for name, one in self.plan.hosts.items() if one.of(FINISH) and self.reports[name].state != LEFT_OUT
        ]
        names = [name for name in names if self.reports[name].state in (DONE, UNCHANGED, PREPARED)]
        self._each(names, self._finish_one)
        for one in self.reports.values():
            if one.state == PREPARED:
                one.state = DONE

    def _finish_one(self, report: HostReport) -> None:
        self._confirm(report)
        gates = [step.do for step in report.plan.of(SWITCH) if isinstance(step.do, Gate)]
        is_vouched = not report.unseen or self.plan.release is None or any(gate.command is not None for gate in gates)
        if report.unseen:
            report.warnings.append(only_alive(report.unseen, vouched=is_vouched))
        for step in report.plan.of(FINISH):
            if step.kind == GOOD and not is_vouched:
                continue
            try:
                self._do(report, step)
            except MultiError as error:
                report.warnings.append(str(error))

    # ---- going back

    def _go_back(self) -> None:
        touched = [
            name for name, one in self.reports.items() if one.has_switched and one.state not in (REVERTED, STUCK)
        ]
        for name, one in self.reports.items():
            if one.state == PREPARED and name not in touched:
                one.state = UNCHANGED
        if not touched:
            return
        if not self.settings.auto_revert:
            self._tell(Event(NOTE, "", "nothing goes back (auto_revert = false); multi deploy rollback does it"))
            return
        # who may be gone comes last: the others are not to wait for it
        gone = [name for name in touched if self.reports[name].state == UNREACHABLE]
        for batch in [*([name for name in one if name not in gone] for one in reversed(self._batches)), gone]:
            names = [name for name in batch if name in touched]
            if names:
                self._tell(Event(PHASE, "", f"Going back: {', '.join(names)}"))
                self._each(names, self._back_one)

    def _back_one(self, report: HostReport) -> None:
        """The way back, as far as it goes: one step that fails does not keep the others from being done."""
        errors: list[MultiError] = []
        was_gone = report.state == UNREACHABLE
        try:
            self._confirm(report)
        except DeployLocked as error:  # whoever has it now may be at work there
            if not report.is_lost:
                report.warnings.append(str(error).removeprefix(f"{report.host.name}: "))
            report.state, report.is_lost = STUCK, True
            return
        except HostUnreachable:
            pass  # the first step tells
        for step in report.plan.back:
            if step.node is not None and step.node not in report.begun:
                continue
            try:
                self._do(report, step, again=not was_gone and not isinstance(step.do, Command), forced=True)
            except HostUnreachable as error:
                report.fail(error)
                report.state, report.current = UNREACHABLE, None
                report.warnings.append(f"{error.reason}; it was to go back; the next push brings it into line")
                return
            except MultiError as error:
                errors.append(error)
        report.warnings += [f"going back: {error}" for error in errors]
        report.state = STUCK if errors else REVERTED

    # ---- steps

    def _do(self, report: HostReport, step: Step, *, again: bool = False, forced: bool = False) -> None:
        """One step; with `again` it is done once more where the connection was cut: it does no harm when done twice."""
        if not forced:
            self._may_begin(report, step)
        begun = time.monotonic()
        self._tell(Event(BEGIN, report.host.name, step.title, step))
        try:
            if not forced and (step.phase == ONCE or step.kind in (START, RESTART, STOP)):
                self._confirm(report)
            try:
                acting.act(report, step, self._session(report), self._tell, None if forced else self.cancel)
            except HostUnreachable:
                if not again:
                    raise
                self._tell(Event(NOTE, report.host.name, "the connection was cut; connecting again", step))
                acting.act(report, step, self._session(report), self._tell, None if forced else self.cancel)
        except MultiError as error:
            reason = getattr(error, "reason", None) or str(error).removeprefix(f"{report.host.name}: ")
            if isinstance(error, HostUnreachable) and not report.reason and step.phase != FINISH:
                report.step = step.title
            self._tell(Event(FAULT, report.host.name, f"{step.title}: {reason.removeprefix(f'{step.title}: ')}", step))
            raise
        self._tell(Event(END, report.host.name, step.title, step, time.monotonic() - begun))

    def _confirm(self, report: HostReport) -> None:
        """`DeployLocked` where the lock is not ours any more."""
        if self._holder is not None:
            self._holder.confirm(self.backend.connect(report.host), age=_SEEN)

    def _may_begin(self, report: HostReport, step: Step) -> None:
        if self.cancel.is_set():
            raise StepFailed(report.host.name, step.title, "not begun: the deploy was interrupted")

    def _session(self, report: HostReport) -> Session:
        session = self.backend.connect(report.host)
        if self._holder is not None:
            self._holder.renew(session)
        return session

    # ---- many hosts

    def _each(self, names: Sequence[str], what: Callable[[HostReport], None], *, even_cancelled: bool = False) -> None:
        """Do this on these hosts, so many at once as may be. What fails is noted in the host's report."""
        futures = {self._pool.submit(self._guarded, self.reports[name], what) for name in names}
        while futures:
            # a wait without a limit could not be interrupted
            done, futures = wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                _raise_ours(future)

    def _guarded(self, report: HostReport, what: Callable[[HostReport], None]) -> None:
        begun = time.monotonic()
        try:
            what(report)
        except MultiError as error:
            report.fail(error)
        finally:
            report.seconds += time.monotonic() - begun

    def _stopped(self) -> bool:
        if self.cancel.is_set() and not self._reason:
            self._reason = "the deploy was interrupted"
        return bool(self._reason)

    def _count_failures(self) -> None:
        """Whether the deploy goes on. A host that was not there from the start does not count: it is left out."""
        if self._stopped():
            return
        lost = [f"{name}: {one.reason}" for name, one in self.reports.items() if one.is_lost]
        if lost:
            self._reason = lost[0]
            return
        bad = [name for name, one in self.reports.items() if one.state in (FAILED, UNREACHABLE, REVERTED, STUCK)]
        if bad and len(bad) * 100 / self._total > self.settings.max_fail_percentage:
            self._reason = f"{', '.join(bad)} failed"

    def _renew_all(self) -> None:
        """The lock of hosts whose turn is over or has not come must not expire while the others take their time."""
        assert self._holder is not None
        for report in self.reports.values():
            if report.state in (LEFT_OUT, UNREACHABLE):
                continue
            try:
                self._holder.renew(self.backend.connect(report.host))
            except HostUnreachable:
                pass  # its turn will tell, or it is over
            except DeployLocked as error:
                self._reason = str(error)


def _raise_ours(future: Future[None]) -> None:
    """An error of ours that is no `MultiError` must not be swallowed."""
    error = future.exception()
    if error is not None:
        raise error


def _one_first(batches: Sequence[Sequence[str]]) -> list[list[str]]:
    """The same with the first host alone: it has the canary."""
    if not batches:
        return []
    first, *others = batches[0]
    return [[first], *([others] if others else []), *map(list, batches[1:])]


def _count(names: Sequence[str], word: str) -> str:
    return f"{len(names)} {word}{'s' if len(names) != 1 else ''}"
