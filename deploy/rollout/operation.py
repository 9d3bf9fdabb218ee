"""A push or a rollback from its lock to its report: for the command line, for tasks of Fabric, and for programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeVar

from multi.deploy.base import Backend, Session
from multi.deploy.hosts.facts import HostFacts, unreachable
from multi.deploy.hosts.gathering import gather, question
from multi.deploy.hosts.inventory import Host, Inventory
from multi.deploy.releases import compatibility
from multi.deploy.rollout import audit, health, hooks, runner
from multi.deploy.rollout.locking import Holder
from multi.deploy.rollout.report import NOTE, UNREACHABLE, Event, HostReport, Report, Tell
from multi.deploy.rollout.runner import Runner
from multi.deploy.steps import Plan
from multi.errors import DeployError, DeployLocked, HostUnreachable, MultiError, StepFailed

Found = TypeVar("Found")


def each(
    backend: Backend, hosts: Iterable[Host], what: Callable[[Any], Found], max_parallel: int = 20
) -> dict[str, Found | MultiError]:
    """What becomes of this on each host's session, or the error that it ends with; hosts in their order."""
    hosts = list(hosts)

    def one(host: Host) -> Found | MultiError:
        try:
            return what(backend.connect(host))
        except MultiError as error:
            return error

    with ThreadPoolExecutor(max(1, min(max_parallel, len(hosts))), "multi-each") as pool:
        return dict(zip((host.name for host in hosts), pool.map(one, hosts), strict=True))


class Operation:
    """One deploy. `what` is "push" or "rollback", `version` what it is about, `why` the user's words; `forced`: also what the
    plan refuses."""

    def __init__(
        self,
        inventory: Inventory,
        hosts: Sequence[Host],
        backend: Backend,
        tell: Tell,
        *,
        what: str,
        version: str,
        why: str = "",
        breaking: bool = False,
        with_canary: bool = True,
        with_check: bool = True,
        max_parallel: int | None = None,
        planned: Callable[[Plan], None] | None = None,
        forced: bool = False,
    ) -> None:
        self.inventory = inventory
        self.hosts = list(hosts)
        self.backend = backend
        self.what = what
        self.version = version
        self.why = why
        self.max_parallel = max_parallel or inventory.settings.max_parallel
        self.runner: Runner | None = None
        self.interrupted = False
        self._tell = tell
        self._breaking = breaking
        self._with_canary = with_canary
        self._with_check = with_check
        self._planned = planned
        self._forced = forced

    def facts(self, hosts: Iterable[Host] | None = None) -> dict[str, HostFacts]:
        """What the hosts are like; of those that can't be reached, why."""
        project = self.inventory.project
        return gather(
            self.backend,
            self.hosts if hosts is None else hosts,
            lambda host: question(host, project),
            max_parallel=self.max_parallel,
        )

    def run(self, make: Callable[[Mapping[str, HostFacts]], Plan]) -> Report:
        """Lock, plan, carry out, and unlock. Raises `DeployLocked` and what keeps a plan from being made."""
        holder = Holder(
            f"{self.what} {self.version}" + (f": {self.why}" if self.why else ""), self.inventory.settings.lock_expires
        )
        locked: list[Host] = []
        try:
            missing = self._lock(holder, locked)
            facts = self.facts(locked) | missing
            plan = make({host.name: facts[host.name] for host in self.hosts})
            if self._planned is not None:
                self._planned(plan)
            if plan.refusal and not self._forced:
                raise DeployError(plan.refusal)
            return self._carry_out(plan, holder, locked)
        finally:
            self._unlock(holder, locked)

    def interrupt(self) -> None:
        """End it at the next step, going back."""
        self.interrupted = True
        if self.runner is not None:
            self.runner.cancel.set()

    # ---- the lock

    def _lock(self, holder: Holder, locked: list[Host]) -> dict[str, HostFacts]:
        """Lock all hosts, the first one first, so that of two deploys one gets all. Those that can't be reached, or aren't
        prepared for deploys, are left out."""
        met = each(self.backend, self.hosts, lambda session: None, self.max_parallel)
        lost = {name: error for name, error in met.items() if isinstance(error, HostUnreachable)}
        missing = {name: unreachable(name, error.reason) for name, error in lost.items()}
        there = [host for host in self.hosts if host.name not in lost]
        for group in (there[:1], there[1:]):
            found = each(self.backend, group, lambda one: holder.take(one, breaking=self._breaking), self.max_parallel)
            for host in group:
                result = found[host.name]
                if isinstance(result, HostUnreachable):
                    missing[host.name] = unreachable(host.name, result.reason)
                elif isinstance(result, StepFailed):  # it isn't prepared for deploys: the others may be
                    missing[host.name] = unreachable(host.name, " ".join(filter(None, (result.reason, result.output))))
                elif not isinstance(result, MultiError):
                    locked.append(host)
                    if result:
                        self._tell(Event(NOTE, host.name, result))
            errors = [one for one in found.values() if isinstance(one, MultiError)]
            errors = [one for one in errors if not isinstance(one, HostUnreachable | StepFailed)]
            if errors:
                raise next((one for one in errors if isinstance(one, DeployLocked)), errors[0])
        if not locked:
            told = "\n".join(f"  {name}: {facts.error}" for name, facts in missing.items())
            raise DeployError(f"there is no host that can be deployed to:\n{told}")
        return missing

    def _unlock(self, holder: Holder, locked: list[Host]) -> None:
        reports = self.runner.reports if self.runner is not None else {}
        gone = [host for host in locked if host.name in reports and reports[host.name].state == UNREACHABLE]
        for host in gone:
            text = "its lock stays until it expires, or the next push from here finds it"
            self._tell(Event(NOTE, host.name, text))
        there = [host for host in locked if host not in gone]
        for name, result in each(self.backend, there, holder.release, self.max_parallel).items():
            if isinstance(result, MultiError):
                self._tell(Event(NOTE, name, str(getattr(result, "reason", result))))

    # ---- the plan

    def _carry_out(self, plan: Plan, holder: Holder, locked: list[Host]) -> Report:
        if plan.is_empty:
            return Report(plan, self._unchanged(plan), not plan.errors, "", 0.0)
        settings = self.inventory.settings
        facts = {"release": plan.release or "", "hosts": ",".join(plan.hosts), "what": self.what}
        begun = time.monotonic()
        record = {"release": plan.release, "version": self.version, "why": self.why or None}
        self._note(locked, audit.entry(f"{self.what} begins", **record))
        try:
            self._hooks("before", facts)
            self.runner = Runner(
                plan,
                self.hosts,
                self.backend,
                self._tell,
                settings=runner.Settings(self.max_parallel, settings.max_fail_percentage, settings.auto_revert),
                holder=holder,
                canary=settings.canary if self._with_canary else None,
                look=self._look,
            )
            if self.interrupted:
                self.runner.cancel.set()
            report = self.runner.run(lambda: self._check(plan))
            if report.ok:
                self._hooks("after", facts)
        except StepFailed as error:  # a hook here
            reports = self.runner.reports if self.runner is not None else self._unchanged(plan)
            report = Report(plan, reports, False, str(error), time.monotonic() - begun)
        result = "done" if report.ok else f"failed: {report.reason}" if report.reason else "not done everywhere"
        there = [host for host in locked if report.hosts[host.name].state != UNREACHABLE]
        killed = {name: ", ".join(one.killed) for name, one in report.hosts.items() if one.killed}
        current = self._note(there, audit.entry(f"{self.what} ends", **record, result=result), killed)
        for name, one in report.hosts.items():
            if one.has_switched and name in current:
                one.current = current[name]  # by the host's own word
        if not report.ok:
            try:
                self._hooks("failed", {**facts, "reason": report.reason or result})
            except StepFailed as error:
                self._tell(Event(NOTE, "", str(error)))
        return report

    def _check(self, plan: Plan) -> str:
        """Whether the release has what is still asked of its tasks."""
        try:
            findings = compatibility.check(self.inventory, self.hosts, plan, self.backend)
        except HostUnreachable as error:
            return f"the release could not be checked: {error}"
        stopping = [one for one in findings if one.stops]
        for one in findings:
            self._tell(Event(NOTE, "", f"{'against it' if one.stops else 'to know'}: {one}"))
        if not stopping or not self._with_check:
            return ""
        broken = next((one for one in stopping if one.broken), None)
        if broken is not None:
            return f"{str(broken).splitlines()[0]}; nothing that runs was touched. Put it right, and push again"
        return (
            f"the release does not have all that is still asked of it ({len(stopping)} finding{'s' * (len(stopping) > 1)}, "
            "above); deploy it all the same with --allow-removed"
        )

    def _unchanged(self, plan: Plan) -> dict[str, HostReport]:
        known = {host.name: host for host in self.hosts}
        return {name: HostReport(one, known[name]) for name, one in plan.hosts.items()}

    def _note(
        self, hosts: Iterable[Host], record: dict[str, Any], killed: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, str | None]:
        """Write into the audit logs, and the hosts' releases; where that can't be, it is told, and nothing else happens.
        `killed` are nodes that were ended by force, by host."""

        def append(session: Session) -> str | None:
            name = session.host.name
            return audit.append(session, {**record, "killed": killed[name]} if name in killed else record)

        found = each(self.backend, hosts, append, self.max_parallel)
        for name, result in found.items():
            if isinstance(result, MultiError):
                self._tell(Event(NOTE, name, f"the audit log was not written: {result}"))
        return {name: result for name, result in found.items() if not isinstance(result, MultiError)}

    def _hooks(self, moment: str, facts: Mapping[str, str]) -> None:
        commands = self.inventory.settings.hooks.get(moment, ())
        if commands:
            self._tell(Event(NOTE, "", f"Hook {moment}"))
            folder = self.inventory.description.folder
            hooks.run(moment, commands, folder, facts, lambda line: self._tell(Event(NOTE, hooks.HERE, line)))

    def _look(self, host: str, new: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The nodes with the release and the fleet's others, for the canary."""
        theirs: dict[str, Any] = {}
        others: dict[str, Any] = {}

        def one(session: Session) -> list[dict[str, Any]]:
            return health.status(session, f"{session.host.settings.current}/.venv/bin/multi")

        for name, found in each(self.backend, self.hosts, one, self.max_parallel).items():
            for node in found if isinstance(found, list) else ():
                short = str(node.get("node", "")).partition("@")[0]
                (theirs if name == host and short in new else others)[f"{name}/{short}"] = node
        return theirs, others
