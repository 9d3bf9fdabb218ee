"""`multi deploy plan`, and how plans are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.screen import Screen, complain
from multi.deploy.steps import FINISH, ONCE, PHASES, PREPARE, SWITCH, HostPlan, Plan, Step

_PHASES = {
    PREPARE: "before anything that runs is touched",
    ONCE: "once for all hosts",
    SWITCH: "batch by batch",
    FINISH: "at the end",
}
_NAMED = 6  # so many hosts of a group are named


@click.command()
@click.option("--source", metavar="SOURCE", help="In place of that of multi.toml: git, git:REF, a folder or a wheel.")
@click.option("-v", "--verbose", is_flag=True, help="With the command lines and files.")
@click.option("--check", is_flag=True, help="Exit with 1 when there is something to be done.")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
@host_options
@click.pass_context
def plan(ctx: click.Context, /, **given: Any) -> None:
    """What `multi deploy push` would do on each host, step by step, each with its reason. Nothing is done.

    Every host is asked once what it is like and what it has; that, multi.toml and the release make the plan. Hosts for which
    it is the same are shown together. Where all is as it should be, the plan is empty. The exit code is 1 when nothing can be
    planned for a host: it can't be reached, or lacks what a deploy needs.

    \b
    multi deploy plan
    multi deploy plan -e staging --hosts 'app*' -v
    multi deploy plan --check --json > plan.json
    """
    from multi.deploy.planning.plan import make_plan
    from multi.deploy.releases import making as releases
    from multi.deploy.rollout import secrets

    with Remote(ctx, given) as remote:
        source, release = releases.make(remote.inventory, given["source"])
        if source.note:
            complain(source.note)
        values = secrets.resolve(remote.settings.secrets, remote.inventory.description.folder)
        facts = remote.facts()
        found = make_plan(
            remote.inventory,
            remote.hosts,
            facts,
            release,
            secrets=values or None,
            password=remote.password is not None,
        )
        found = remote.covered(found, facts)
        if given["as_json"]:
            remote.screen.show(as_json(found.json()))
        else:
            show(remote.screen, found, verbose=given["verbose"])
    ctx.exit(FAILED if found.errors or found.refusal or (given["check"] and not found.is_empty) else DONE)


def show(screen: Screen, plan: Plan, *, verbose: bool = False) -> None:
    """The steps, for hosts that are to be treated alike together."""
    for line in lines(plan, verbose=verbose):
        screen.show(line)
    for name, error in plan.errors.items():
        complain(f"{name}: {error}")
    if plan.refusal:
        complain(plan.refusal)


def lines(plan: Plan, *, verbose: bool = False) -> list[str]:
    """The plan as text, but for its errors."""
    count = sum(1 for host in plan.hosts.values() if host.steps)
    there = len(plan.hosts) - len(plan.errors)
    release = f", release {plan.release}" if plan.release else ""
    if plan.is_empty:
        return [f"{plan.project}{release}: nothing is to be done on {_hosts(there)}"] if there else []
    found = [f"{plan.project}{release}: {count} of {_hosts(len(plan.hosts))} to be changed", *plan.notes]
    for members in _alike(plan.hosts.values()):
        found += ["", f"{_named([host.host for host in members])}: {_from(members, plan.release)}"]
        host = members[0]
        found += [f"  note: {note}" for note in host.notes]
        for phase in PHASES:
            steps = host.of(phase)
            if steps:
                found += [f"  {_PHASES[phase]}:", *_steps(steps, verbose=verbose)]
    if plan.once:
        found += ["", f"{_PHASES[ONCE]}, before the first batch:"]
        found += [line for step in plan.once for line in _steps([step], verbose=verbose, host=f"{step.host}: ")]
    unchanged = [name for name, host in plan.hosts.items() if not host.steps and host.error is None]
    if unchanged:
        found += ["", f"{_named(unchanged)}: nothing is to be done"]
    if len(plan.batches) > 1:
        sizes = ", ".join(str(len(batch)) for batch in plan.batches)
        first = _named(plan.batches[0])
        found += ["", f"{len(plan.batches)} batches of {sizes}; the first is {first}"]
    return found


def _steps(steps: Sequence[Step], *, verbose: bool, host: str = "") -> list[str]:
    width = min(50, max(len(step.title) for step in steps))
    found = []
    for step in steps:
        found.append(f"    {host}{step.title.ljust(width)}  {step.reason}".rstrip())
        if verbose:
            found.append(f"        {step.do}")
    return found


def _alike(hosts: Any) -> list[list[HostPlan]]:
    """The hosts with steps, those with the same ones together, in their order."""
    groups: dict[tuple[object, ...], list[HostPlan]] = {}
    for host in hosts:
        if host.steps:
            key = (host.notes, *((step.phase, step.title, step.reason) for step in host.steps))
            groups.setdefault(key, []).append(host)
    return list(groups.values())


def _from(members: Sequence[HostPlan], release: str | None) -> str:
    before = sorted({host.current or "nothing" for host in members})
    if before == [release]:
        return f"stays at {release}"
    return f"{' or '.join(before)} -> {release}"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _hosts(count: int) -> str:
    return f"{count} host{'' if count == 1 else 's'}"
