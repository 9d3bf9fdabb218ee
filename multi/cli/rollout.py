"""`multi deploy push`: a plan is shown, then carried out under a lock, and told of."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

import click

from multi.cli.group import DONE, FAILED, INTERRUPTED
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.screen import Screen, complain
from multi.cli.telling import Teller
from multi.deploy import audit, health, hooks, releases, runner, secrets
from multi.deploy.facts import HostFacts
from multi.deploy.inventory import Host
from multi.deploy.locking import Holder
from multi.deploy.plan import make_plan
from multi.deploy.runner import LEFT_OUT, NOTE, STUCK, UNREACHABLE, Event, HostReport, Report, Runner
from multi.deploy.steps import PHASES, Plan
from multi.errors import DeployError, DeployLocked, HostUnreachable, MultiError, StepFailed

WHY = click.option(
    "-m", "--message", "why", metavar="TEXT", default="", help="Why; stands in the lock and the audit log."
)
BREAK = click.option("--break", "breaking", is_flag=True, help="Take the lock from whoever has it.")
DRY = click.option("--dry-run", is_flag=True, help="Say what would be done on each host and why, and do nothing.")
JSON = click.option("--json", "as_json", is_flag=True, help="Events and the report as lines of JSON.")


@click.command()
@click.option("--source", metavar="SOURCE", help="In place of that of multi.toml: git, git:REF, a folder or a wheel.")
@DRY
@WHY
@BREAK
@click.option(
    "--allow-removed", is_flag=True, help="Go on though messages wait for tasks that are gone or have changed."
)
@click.option("--no-canary", is_flag=True, help="Without the canary that multi.toml describes.")
@JSON
@host_options
@click.pass_context
def push(ctx: click.Context, /, **given: Any) -> None:
    """Bring the project to its hosts: a release, units, nodes restarted one by one, each ready before the next.

    What is as it should be is left alone. When something fails, the hosts that were changed go back by themselves. Ctrl-C
    ends a deploy in the same way; once more, and everything is left as it is, with the lock.

    \b
    multi deploy push --dry-run
    multi deploy push -e staging
    multi deploy push --hosts 'app*' -m 'the new importer'
    multi deploy push --source git:v2.1
    """
    with Remote(ctx, given) as remote:
        source, release = releases.make(remote.inventory, given["source"])
        remote.connections(source)
        if source.note and not given["as_json"]:
            complain(source.note)
        values = secrets.resolve(remote.settings.secrets, remote.inventory.description.folder)
        asked = Rollout(remote, given, "push", release.version)

        def plan(facts: Mapping[str, HostFacts]) -> Plan:
            return make_plan(
                remote.inventory,
                remote.hosts,
                facts,
                release,
                secrets=values or None,
                password=remote.password is not None,
            )

        ctx.exit(asked.run(plan))


class Rollout:
    """One plan on its way: lock, facts, plan, hooks, runner, report."""

    def __init__(self, remote: Remote, given: Mapping[str, Any], what: str, version: str) -> None:
        self.remote = remote
        self.given = given
        self.what = what
        self.version = version
        self.screen: Screen = remote.screen
        self.backend = remote.connections()
        self.teller = Teller(self.screen, [host.name for host in remote.hosts], as_json=bool(given.get("as_json")))
        self._runner: Runner | None = None
        self._interrupted = False

    def run(self, make: Any) -> int:
        """The exit code."""
        if self.given.get("dry_run"):
            return self._dry(make(self.remote.facts()))
        before = signal.signal(signal.SIGINT, self._interrupt)
        term = signal.signal(signal.SIGTERM, self._interrupt)
        why = self.given.get("why") or ""
        holder = Holder(f"{self.what} {self.version}" + (f": {why}" if why else ""), self.remote.settings.lock_expires)
        locked: list[Host] = []
        try:
            with self.teller:
                missing = self._lock(holder, locked)
                facts = self.remote.facts(locked)
                facts |= missing
                plan = make({host.name: facts[host.name] for host in self.remote.hosts})
                return self._carry_out(plan, holder, locked)
        finally:
            self._unlock(holder, locked)
            signal.signal(signal.SIGINT, before)
            signal.signal(signal.SIGTERM, term)

    def _dry(self, plan: Plan) -> int:
        if self.given.get("as_json"):
            self.screen.show(as_json(plan.json()))
        else:
            show_plan(self.screen, plan)
        return FAILED if plan.errors else DONE

    # ---- the lock

    def _lock(self, holder: Holder, locked: list[Host]) -> dict[str, HostFacts]:
        """Lock all hosts, the first one first, so that of two deploys one gets all. Those that can't be reached are left out."""
        from multi.deploy.facts import unreachable

        missing: dict[str, HostFacts] = {}
        hosts = self.remote.hosts
        for group in (hosts[:1], hosts[1:]):
            found = self.remote.each(
                group, lambda session: holder.take(session, breaking=bool(self.given.get("breaking")))
            )
            for host in group:
                result = found[host.name]
                if isinstance(result, HostUnreachable):
                    missing[host.name] = unreachable(host.name, result.reason)
                elif isinstance(result, MultiError):
                    continue
                else:
                    locked.append(host)
                    if result:
                        self.teller(Event(NOTE, host.name, result))
            errors = [
                one for one in found.values() if isinstance(one, MultiError) and not isinstance(one, HostUnreachable)
            ]
            if errors:
                raise next((one for one in errors if isinstance(one, DeployLocked)), errors[0])
        if not locked:
            raise DeployError(
                "no host can be reached:\n" + "\n".join(f"  {name}: {facts.error}" for name, facts in missing.items())
            )
        return missing

    def _unlock(self, holder: Holder, locked: list[Host]) -> None:
        reports = self._runner.reports if self._runner is not None else {}
        gone = [host for host in locked if host.name in reports and reports[host.name].state == UNREACHABLE]
        for host in gone:
            complain(f"{host.name}: its lock stays until it expires, or the next push from here finds it")
        for name, result in self.remote.each([host for host in locked if host not in gone], holder.release).items():
            if isinstance(result, MultiError):
                complain(f"{name}: {getattr(result, 'reason', result)}")

    # ---- the plan

    def _carry_out(self, plan: Plan, holder: Holder, locked: list[Host]) -> int:
        if not self.given.get("as_json"):
            show_plan(self.screen, plan, brief=True)
        if plan.is_empty:
            return self._report(Report(plan, _unchanged(plan, self.remote.hosts), not plan.errors, "", 0.0))
        settings = self.remote.settings
        facts = {"release": plan.release or "", "hosts": ",".join(plan.hosts), "what": self.what}
        folder = self.remote.inventory.description.folder
        begun = time.monotonic()
        record = {"release": plan.release, "version": self.version, "why": self.given.get("why") or None}
        runner.note(self.backend, locked, audit.entry(f"{self.what} begins", **record), self.teller)
        try:
            self._hooks("before", folder, facts)
            self._runner = Runner(
                plan,
                self.remote.hosts,
                self.backend,
                self.teller,
                settings=runner.Settings(self.remote.max_parallel, settings.max_fail_percentage, settings.auto_revert),
                holder=holder,
                canary=None if self.given.get("no_canary") or self.what != "push" else settings.canary,
                look=self._look,
            )
            if self._interrupted:
                self._runner.cancel.set()
            report = self._runner.run(lambda: self._check(plan))
            if report.ok:
                self._hooks("after", folder, facts)
        except StepFailed as error:  # a hook here
            reports = self._runner.reports if self._runner is not None else _unchanged(plan, self.remote.hosts)
            report = Report(plan, reports, False, str(error), time.monotonic() - begun)
        self._look_again(report, locked)
        result = "done" if report.ok else f"failed: {report.reason}" if report.reason else "not done everywhere"
        entry = audit.entry(f"{self.what} ends", **record, result=result)
        there = [host for host in locked if report.hosts[host.name].state != UNREACHABLE]
        runner.note(self.backend, there, entry, self.teller)
        if not report.ok:
            try:
                self._hooks("failed", folder, {**facts, "reason": report.reason or result})
            except StepFailed as error:
                complain(str(error))
        return self._report(report)

    def _check(self, plan: Plan) -> str:
        """Why the release can't take over what waits for the one before; "" where it can. A rollback is not asked."""
        from multi.deploy import compatibility

        if self.what != "push" or plan.release is None:
            return ""
        found = compatibility.check(self.remote.inventory, self.remote.hosts, plan, self.backend)
        for one in found:
            self.teller(Event(NOTE, "", str(one)))
        stops = [one for one in found if one.stops]
        if not stops or (self.given.get("allow_removed") and all(one.task for one in stops)):
            return ""
        if not all(one.task for one in stops):
            return f"the app of {plan.release} can't be imported; nothing was restarted"
        names = ", ".join(one.task for one in stops)
        return f"{plan.release} can't run what waits for {names}; nothing was restarted (--allow-removed goes on all the same)"

    def _hooks(self, moment: str, folder: str, facts: Mapping[str, str]) -> None:
        commands = self.remote.settings.hooks.get(moment, ())
        if commands:
            self.teller(Event(NOTE, "", f"Hook {moment}"))
            hooks.run(moment, commands, folder, facts, lambda line: self.teller(Event(NOTE, hooks.HERE, line)))

    def _look(self, host: str, new: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The nodes with the release and the fleet's others, for the canary."""
        theirs: dict[str, Any] = {}
        others: dict[str, Any] = {}

        def one(session: Any) -> list[dict[str, Any]]:
            return health.status(session, f"{session.host.settings.current}/.venv/bin/multi")

        for name, found in self.remote.each(self.remote.hosts, one).items():
            for node in found if isinstance(found, list) else ():
                short = str(node.get("node", "")).partition("@")[0]
                (theirs if name == host and short in new else others)[f"{name}/{short}"] = node
        return theirs, others

    def _look_again(self, report: Report, locked: Iterable[Host]) -> None:
        """Which release each host has now, by its own word."""
        from multi.deploy.steps import Command

        reports = report.hosts
        hosts = [host for host in locked if reports[host.name].has_switched and reports[host.name].state != UNREACHABLE]
        found = self.remote.each(
            hosts,
            lambda session: session.run(Command(("readlink", session.host.settings.current), timeout=30)),
        )
        for name, result in found.items():
            if not isinstance(result, MultiError) and result.code is not None:
                report.hosts[name].current = result.out.strip().rpartition("/")[2] or None

    def _report(self, report: Report) -> int:
        if self.given.get("as_json"):
            self.screen.show(as_json({"event": "report", **report.json()}))
        else:
            show_report(self.screen, report)
        if report.ok:
            return DONE
        return INTERRUPTED if self._interrupted else FAILED

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            complain("interrupted again: hosts are left as they are, and locked; the next push brings them into line")
            sys.stdout.flush()
            os._exit(INTERRUPTED)  # threads wait for hosts, and would not let us go
        self._interrupted = True
        if self._runner is not None:
            self._runner.cancel.set()
        complain(
            "interrupted; what is under way is finished, then all goes back. Ctrl-C again leaves everything as it is"
        )


def _unchanged(plan: Plan, hosts: Iterable[Host]) -> dict[str, HostReport]:
    known = {host.name: host for host in hosts}
    return {name: HostReport(one, known[name]) for name, one in plan.hosts.items()}


# ---- what is shown


def show_plan(screen: Screen, plan: Plan, *, brief: bool = False) -> None:
    """The steps of a plan, host by host; `brief`: how many there are."""
    release = f" (release {plan.release})" if plan.release else ""
    if plan.is_empty and not plan.errors:
        screen.line(f"Nothing is to be done: {_count(len(plan.hosts))} as described{release}")
        return
    for text in plan.notes:
        screen.line(f"> {text}")
    if brief:
        changing = sum(bool(host.steps) for host in plan.hosts.values())
        screen.line(f"> {plan.project}{release}: {changing} of {_count(len(plan.hosts))} to be changed")
    else:
        screen.line(f"{plan.project}{release}")
        for step in plan.once:
            screen.line(f"  once, on {step.host}: {step.title} ({step.reason})")
    for name, host in plan.hosts.items():
        for text in host.notes:
            screen.line(f"  {name}: {text}")
        if host.error is not None:
            screen.line(f"  {name}: {screen.paint(host.error, False)}")
        elif not brief:
            screen.line(f"  {name}" + ("" if host.steps else ": nothing is to be done"))
            for phase in PHASES:
                for step in host.of(phase):
                    screen.line(f"    {step.title}  ({step.reason})")
    if not brief and len(plan.batches) > 1:
        screen.line("  batches: " + "; ".join(", ".join(batch) for batch in plan.batches))


def show_report(screen: Screen, report: Report) -> None:
    """The table at the end, and what failed, with its output."""
    rows = []
    for name, one in report.hosts.items():
        current = "unknown" if one.state == UNREACHABLE else one.current or "-"
        rows.append([name, one.state, current, one.plan.current or "-", f"{one.seconds:.1f} s"])
    if not report.plan.is_empty or not report.ok:
        screen.line()
        for line in screen.rows(("host", "state", "release", "before", "took"), rows, (4,)):
            screen.line(line)
    for name, one in report.hosts.items():
        if one.reason:
            step = f"{one.step}: " if one.step else ""
            complain(f"{name}: {step}{one.reason}")
            for line in one.output.splitlines():
                complain(f"    {line}")
        for text in one.warnings:
            complain(f"{name}: {text}")
    if report.ok:
        if not report.plan.is_empty:
            screen.line(f"Done in {report.seconds:.1f} s" + (f": {report.plan.release}" if report.plan.release else ""))
        return
    bad = {one.state for one in report.hosts.values()}
    if report.reason:
        complain(f"The deploy has failed: {report.reason}")
    elif bad & {LEFT_OUT, UNREACHABLE}:
        complain("Not all hosts were reached; the next push brings the others into line")
    if STUCK in bad:
        complain("Not every host could go back by itself; put right what is said above, then push or roll back")


def _count(number: int) -> str:
    return f"{number} host{'s' if number != 1 else ''}"
