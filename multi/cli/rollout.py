"""`multi deploy push`: a plan is shown, then carried out under a lock, and told of."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import click

from multi.cli.group import DONE, FAILED, INTERRUPTED
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.screen import Screen, complain
from multi.cli.telling import Teller
from multi.deploy.hosts.facts import HostFacts
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases import making as releases
from multi.deploy.rollout import secrets
from multi.deploy.rollout.operation import Operation
from multi.deploy.rollout.report import LEFT_OUT, STUCK, UNREACHABLE, Report
from multi.deploy.steps import PHASES, Plan

WHY = click.option(
    "-m", "--message", "why", metavar="TEXT", default="", help="Why; stands in the lock and the audit log."
)
BREAK = click.option("--break", "breaking", is_flag=True, help="Take the lock from whoever has it.")
DRY = click.option("--dry-run", is_flag=True, help="Say what would be done on each host and why, and do nothing.")
FORCE = click.option("--force", is_flag=True, help="Also where a queue loses its last consumer in the fleet.")
REMOVED = click.option(
    "--allow-removed", is_flag=True, help="Also when the release lacks tasks that messages still wait for."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Events and the report as lines of JSON.")


@click.command()
@click.option("--source", metavar="SOURCE", help="In place of that of multi.toml: git, git:REF, a folder or a wheel.")
@DRY
@WHY
@BREAK
@REMOVED
@FORCE
@click.option("--no-canary", is_flag=True, help="Without the canary that multi.toml describes.")
@JSON
@host_options
@click.pass_context
def push(ctx: click.Context, /, **given: Any) -> None:
    """Bring the project to its hosts: a release, units, nodes restarted one by one, each ready before the next.

    What is as it should be is left alone. Before anything is restarted, the release's tasks are compared with what waits in
    queues and schedules. When something fails, the hosts that were changed go back by themselves. Ctrl-C ends a deploy in the
    same way; once more, and everything is left as it is, with the lock.

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
            found = make_plan(
                remote.inventory,
                remote.hosts,
                facts,
                release,
                secrets=values or None,
                password=remote.password is not None,
            )
            return remote.covered(found, facts)

        ctx.exit(asked.run(plan))


class Rollout:
    """One operation as the command line shows it."""

    def __init__(self, remote: Remote, given: Mapping[str, Any], what: str, version: str) -> None:
        self.given = given
        self.screen: Screen = remote.screen
        self._json = bool(given.get("as_json"))
        self.teller = Teller(self.screen, [host.name for host in remote.hosts], as_json=self._json)
        self.operation = Operation(
            remote.inventory,
            remote.hosts,
            remote.connections(),
            self.teller,
            what=what,
            version=version,
            why=given.get("why") or "",
            breaking=bool(given.get("breaking")),
            with_canary=what == "push" and not given.get("no_canary"),
            with_check=not given.get("allow_removed"),
            max_parallel=remote.max_parallel,
            planned=self._show,
            forced=bool(given.get("force")),
        )

    def run(self, make: Callable[[Mapping[str, HostFacts]], Plan]) -> int:
        """The exit code."""
        if self.given.get("dry_run"):
            plan = make(self.operation.facts())
            if self._json:
                self.screen.show(as_json(plan.json()))
            else:
                show_plan(self.screen, plan)
                if plan.refusal:
                    complain(plan.refusal)
            is_refused = plan.refusal and not self.given.get("force")
            return FAILED if plan.errors or is_refused else DONE
        before = [(number, signal.signal(number, self._interrupt)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            with self.teller:
                report = self.operation.run(make)
        finally:
            for number, handler in before:
                signal.signal(number, handler)
        if self._json:
            self.screen.show(as_json({"event": "report", **report.json()}))
        else:
            show_report(self.screen, report)
        if report.ok:
            return DONE
        return INTERRUPTED if self.operation.interrupted else FAILED

    def _show(self, plan: Plan) -> None:
        if not self._json:
            show_plan(self.screen, plan, brief=True)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.operation.interrupted:
            complain("interrupted again: hosts are left as they are, and locked; the next push brings them into line")
            sys.stdout.flush()
            os._exit(INTERRUPTED)  # threads wait for hosts, and would not let us go
        self.operation.interrupt()
        complain(
            "interrupted; what is under way is finished, then all goes back. Ctrl-C again leaves everything as it is"
        )


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
        complain("Not all hosts could be done, for what is said above; the next push brings the others into line")
    if STUCK in bad:
        complain("Not every host could go back by itself; put right what is said above, then push or roll back")


def _count(number: int) -> str:
    return f"{number} host{'s' if number != 1 else ''}"
