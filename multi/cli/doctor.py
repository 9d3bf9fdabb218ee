"""`multi doctor`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.screen import Screen
from multi.controller import project
from multi.controller.comparing import compare
from multi.controller.fleet import Fleet
from multi.controller.keeper.standing import STOPPED, STOPPING
from multi.controller.node import UNKNOWN
from multi.deploy import doctor
from multi.deploy.doctor import CHECKS, ELSEWHERE, ERROR, OF_APP, WARNING, Finding, NotDone, Patient
from multi.deploy.hosts.facts import HostFacts, parse
from multi.deploy.hosts.question import FOLDERS, Question
from multi.deploy.hosts.settings import KEEPER
from multi.deploy.releases import compatibility
from multi.deploy.releases.compatibility import App
from multi.errors import ConfigurationError, HostUnreachable, MultiError
from multi.nodes.description import Description
from multi.nodes.spec import NodeSpec, logical_cwd

_HERE = "this machine"


@click.command(name="doctor")
@click.option(
    "--check",
    "checks",
    multiple=True,
    type=click.Choice([*CHECKS]),
    metavar="NAME",
    help="Only this check; once or more.",
)
@click.option("--local", is_flag=True, help="This machine, though multi.toml describes hosts.")
@click.option("--json", "as_json_", is_flag=True, help="The findings as JSON.")
@host_options
@click.pass_context
def doctor_(ctx: click.Context, /, *, checks: tuple[str, ...], local: bool, as_json_: bool, **given: Any) -> None:
    """What will bite later: of brokers, hosts and nodes, each with its remedy. Changes nothing.

    Redis: does it drop tasks when its memory is full, does it keep them through a crash? Celery's workers: can a task take
    longer than the broker waits before it gives it to another one? Have nodes the time to finish their longest task when they
    are stopped? Hosts: clocks, disks, files that may be open, the same release and versions everywhere, units as described,
    nodes that are down, locks left behind.

    What is asked of a broker is asked by the project's own app, where it runs. Hosts whose code no deploy has brought are
    looked at by their own multi. What could not be looked at is told. The exit code is 1 when there are errors, 0 when there
    are only warnings.

    \b
    multi doctor
    multi doctor --hosts 'app*'
    multi doctor --local --json
    """
    description = project.description(logical_cwd()).check()
    wanted = [check for check in CHECKS if check in checks] or list(CHECKS)
    if local or not description.deployment.hosts:
        named = [name for name in ("hosts", "roles", "environment") if given.get(name)]
        if named:
            why = "this machine was asked for" if local else f"{description.path} describes no hosts"
            raise ConfigurationError(f"--{named[0]}: {why}")
        before: dict[str, Any] = ctx.obj if isinstance(ctx.obj, dict) else {}
        screen = Screen(quiet=bool(before.get("quiet")), color=not before.get("no_color"))
        patient = _here(description, wanted)
    else:
        with Remote(ctx, given) as remote:
            screen = remote.screen
            patient = _there(remote, wanted)
    found = doctor.examine(patient, wanted)
    errors = sum(one.level == ERROR for one in found)
    if as_json_:
        missing = [one._asdict() for one in patient.not_done]
        value = {"ok": not errors, "checks": wanted, "findings": [one.json() for one in found], "not_done": missing}
        screen.show(as_json(value))
    else:
        _show(screen, found, patient)
    ctx.exit(FAILED if errors else DONE)


def _show(screen: Screen, found: Sequence[Finding], patient: Patient) -> None:
    for one in found:
        level = screen.paint(one.level, False) if one.level == ERROR else one.level
        about = f"{one.about}: " if one.about else ""
        screen.show(f"{level}: {about}{one.text}")
        screen.show(f"    {one.remedy}")
    reasons: dict[tuple[str, str], list[str]] = {}
    for missing in patient.not_done:
        reasons.setdefault((missing.about, missing.why), []).append(missing.check)
    for (about, why), checks in reasons.items():
        screen.show(f"not looked at: {f'{about}: ' if about else ''}{', '.join(checks)}")
        screen.show(f"    {why}")
    errors = sum(one.level == ERROR for one in found)
    warnings = len(found) - errors
    where = ", ".join(list(patient.facts)[:6]) + (" …" if len(patient.facts) > 6 else "")
    counts = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    verdict = ", ".join(counts) or screen.paint("OK", True)
    screen.line(f"{where}: {verdict}")


# ---- this machine


def _here(description: Description, wanted: Sequence[str]) -> Patient:
    nodes = [node.spec for node in description.nodes]
    asked = Question(description.folder, description.name or "project", "python3", (), FOLDERS).command()
    said = subprocess.run(list(map(str, asked.argv)), input=asked.stdin, capture_output=True, check=False)
    facts = parse(_HERE, said.stdout.decode(errors="replace"))
    apps = {}
    worker = next((node for node in nodes if node.kind == "worker" and node.options.get("app")), None)
    if worker is not None and {*OF_APP} & {*wanted}:
        command = compatibility.question(nodes, worker.cwd, worker.executable)
        assert command is not None
        apps[""] = _asked_here(command)
    told: list[Finding] = []
    not_done: list[NotDone] = []
    fleet = Fleet(logical_cwd())
    if "nodes" in wanted:
        _states(fleet, description, told, not_done)
    if "units" in wanted:
        _units(fleet, description, told, not_done)
    return Patient(
        nodes, _stop_times(nodes), {_HERE: facts._replace(current=None)}, apps=apps, told=told, not_done=not_done
    )


def _states(fleet: Fleet, description: Description, told: list[Finding], not_done: list[NotDone]) -> None:
    """How the described nodes are that were ever started here, or have a unit."""
    names = {node.name for node in description.nodes}
    for node in fleet.all():
        status = node.status()
        short = node.name.short
        if short not in names or status.is_up:
            continue
        why = f": {status.message}" if status.message else ""
        if status.state == UNKNOWN:
            not_done.append(NotDone("nodes", short, status.message))
        elif status.state in (STOPPED, STOPPING):
            told.append(Finding("nodes", WARNING, short, "does not run: it was stopped", f"multi start {short}"))
        else:
            told.append(Finding("nodes", ERROR, short, f"{status.state}{why}", f"multi why {short} tells more"))


def _units(fleet: Fleet, description: Description, told: list[Finding], not_done: list[NotDone]) -> None:
    """Whether units are as the description has them."""
    try:
        found = compare(fleet, description)
    except MultiError as error:
        not_done.append(NotDone("units", "", str(error)))
        return
    for one in found:
        paths = [change.path for change in one.changes]
        names = [step.node.name.short for step in one.steps if step.unit.id in one.affected]
        if paths:
            running = f", and {', '.join(names)} would run otherwise" if names else ""
            text = f"differ from the description: {', '.join(paths)}{running}"
            remedy = f"multi install {one.host.manager} brings them into line; with --dry-run it shows the difference"
            told.append(Finding("units", WARNING, "", text, remedy))


def _asked_here(command: Any) -> App:
    try:
        done = subprocess.run(
            list(map(str, command.argv)),
            cwd=command.cwd,
            input=command.stdin,
            capture_output=True,
            timeout=command.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return App(error=f"its import took longer than {command.timeout:g} s")
    except OSError as error:
        return App(error=f"{command.argv[0]} in {command.cwd}: {error.strerror}")
    return compatibility.answer(
        done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def _stop_times(nodes: Sequence[NodeSpec]) -> dict[str, float]:
    """How long a manager would wait for each; nothing kills a node of multi's own keepers unless it is told to."""
    found = {}
    for node in nodes:
        after = node.policy.get("kill_after")
        if after is not None:
            found[node.name.short] = float(after)
    return found


# ---- hosts


def _there(remote: Remote, wanted: Sequence[str]) -> Patient:
    from multi.deploy.hosts import gathering, looking
    from multi.deploy.planning.plan import make_plan
    from multi.deploy.rollout import secrets

    begun: dict[str, float] = {}
    ended: dict[str, float] = {}

    def ask(host: Any) -> Question:
        begun[host.name] = time.time()
        return gathering.question(host, remote.inventory.project)

    def told(facts: HostFacts) -> None:
        ended[facts.host] = time.time()

    facts = gathering.gather(remote.connections(), remote.hosts, ask, max_parallel=remote.max_parallel, told=told)
    skews = {
        name: _skew(one.clock, begun[name], ended[name])
        for name, one in facts.items()
        if one.error is None and one.clock is not None
    }
    values = secrets.resolve(remote.settings.secrets, remote.inventory.description.folder)
    plan = make_plan(
        remote.inventory, remote.hosts, facts, None, secrets=values or None, password=remote.password is not None
    )
    bare = [host for host in remote.hosts if facts[host.name].error is None and facts[host.name].current is None]
    checks = [check for check in ELSEWHERE if check in wanted]
    path = remote.inventory.description.path
    looked = looking.look(remote.connections(), bare, checks, remote.max_parallel, path) if checks else {}
    nodes = {node.name.short: node for host in remote.hosts for node in remote.inventory.nodes(host)}
    return Patient(
        list(nodes.values()),
        _times_there(remote, facts),
        facts,
        {host.name: host.settings for host in remote.hosts},
        skews,
        _apps(remote, facts) if {*OF_APP} & {*wanted} else {},
        plan,
        [finding for one in looked.values() for finding in one.findings],
        [*_unasked(facts, wanted), *(missing for one in looked.values() for missing in one.not_done)],
        {name: one.has_multi for name, one in looked.items()},
    )


def _unasked(facts: dict[str, HostFacts], wanted: Sequence[str]) -> list[NotDone]:
    """What was not looked at where hosts could not be reached."""
    lost = [name for name, one in facts.items() if one.error is not None]
    return [NotDone(check, name, "the host can't be asked") for name in lost for check in wanted if check != "hosts"]


def _skew(clock: float, began: float, ended: float) -> float:
    """How far a clock is off that was read between these two moments, to the second."""
    if clock + 1 < began:
        return clock + 1 - began
    return max(0.0, clock - ended)


def _times_there(remote: Remote, facts: dict[str, HostFacts]) -> dict[str, float]:
    """How long managers wait for each node, the shortest time of all hosts."""
    from multi.deploy.planning.managers import NoManager, choose
    from multi.deploy.planning.rendering import Renderer

    renderer = Renderer(remote.inventory)
    found: dict[str, float] = {}
    for host in remote.hosts:
        one = facts[host.name]
        if one.error is not None:
            continue
        try:
            agent = one.multi is not None and host.settings.agentless is not True
            manager = choose(one, host.settings, has_multi=agent, password=remote.password is not None)
            rendered = renderer.of(host, one, manager, agent=agent)
        except (NoManager, MultiError):
            continue  # the plan tells of it
        if manager.name == KEEPER:
            found |= _stop_times(remote.inventory.nodes(host))
            continue
        for name, seconds in rendered.stop_times.items():
            found[name] = min(seconds, found.get(name, seconds))
    return found


def _apps(remote: Remote, facts: dict[str, HostFacts]) -> dict[str, App]:
    """What the app says, on the first host of each release that can tell: the broker is the same for all."""
    found: dict[str, App] = {}
    seen: set[str] = set()
    for host in remote.hosts:
        current = facts[host.name].current
        if facts[host.name].error is not None or current is None or current in seen:
            continue
        command = compatibility.of_release(remote.inventory, host, current)
        if command is None:
            continue
        try:
            result = remote.connections().connect(host).run(command)
        except HostUnreachable:
            continue
        if result.code is not None:
            seen.add(current)
            found[host.name] = compatibility.answer(result.code, result.out, result.err)
    return found
