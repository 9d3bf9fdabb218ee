"""`multi up` and `multi down`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import click

from multi.cli.check import findings
from multi.cli.group import DONE, FAILED
from multi.cli.guard import FORCE, refuse_last_consumers
from multi.cli.nodes import (
    NodesCommand,
    Request,
    json_option,
    record_of,
    refuse_files_of_others,
    refuse_shared_files,
    state_dir_option,
)
from multi.cli.policy import SPAN
from multi.cli.progress import Item, Progress, draining
from multi.cli.screen import Screen, complain
from multi.cli.start import show as show_start
from multi.cli.stop import ladder_options
from multi.cli.stop import send as send_stop
from multi.cli.stop import wait as wait_down
from multi.controller import project
from multi.controller import start as starting
from multi.controller import stop as stopping
from multi.controller.applying import Applying, Began, Event, Opened, Skipped, Work
from multi.controller.described import claim, facts, with_env
from multi.controller.fleet import Fleet
from multi.controller.guard import uncovered
from multi.controller.node import Node
from multi.controller.start import Result
from multi.controller.stop import Down
from multi.errors import ConfigurationError
from multi.nodes import options as table
from multi.nodes.description import ERROR, Description, DescriptionError, Problem
from multi.nodes.description.needs import in_waves
from multi.nodes.description.plan import KEEP, RESTART, START, STOP, Plan, Step, plan
from multi.nodes.spec import kept_environment

_VERBS = {START: "start", RESTART: "restart", STOP: "stop"}


def _complete_groups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from multi.errors import MultiError

    try:
        found = project.description(Request(ctx, dict(ctx.params)).cwd)
    except MultiError:
        return []
    every = [*found.sections(), *(node.name for node in found.nodes)]
    return [name for name in dict.fromkeys(every) if name.startswith(incomplete)]


ONLY = click.option(
    "--only",
    multiple=True,
    metavar="GROUP",
    shell_complete=_complete_groups,
    help="Just the nodes of this table, [nodes.GROUP], or of this name; may be repeated.",
)


@click.command(cls=NodesCommand)
@ONLY
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--timeout",
    type=SPAN,
    metavar="SECONDS",
    default=starting.TIMEOUT,
    help="How long a node may take to get ready (60).",
)
@FORCE
@json_option
@state_dir_option
@click.pass_context
def up(ctx: click.Context, /, **given: Any) -> None:
    """Make what runs match multi.toml: start what is missing, restart what has changed, stop what is gone from it.

    Everything is checked before anything is done. Nodes that were started by hand under other names are left alone. With
    --only, what those nodes depend on is started too.

    \b
    multi up --dry-run
    multi up
    multi up --only images
    """
    request = Request(ctx, given)
    screen = request.screen
    _refuse_options(request)
    description = project.description(request.cwd).check()
    if not description.nodes:
        raise ConfigurationError(f"{description.path} describes no nodes; add a table for them: [nodes.NAME]")
    fleet = request.fleet
    known = facts(fleet, description)
    shell = kept_environment(dict(os.environ), [])
    found = plan(description, known.values, given["only"], shell)
    works = _works(fleet, found, known.nodes)
    problems = _check(request, description, found)
    if not given["force"]:
        _guard(fleet, found, known.nodes)
    if given["as_json"]:
        screen.quiet = True
    screen.header()
    _print_plan(screen, description, found, problems, dry=given["dry_run"])
    code = DONE
    results: dict[str, str] = {}
    if not given["dry_run"]:
        for step in found.of(KEEP):
            if step.claims and step.spec is not None:
                claim(known.nodes[step.name], step.spec, step.env)
        if not found.is_empty:
            code, results = _apply(screen, works, given["timeout"])
    if given["as_json"]:
        steps = [{**step.as_json(), "result": results.get(step.name)} for step in found.steps]
        shown = {"description": description.path, "steps": steps, "warnings": [one.as_json() for one in problems]}
        click.echo(json.dumps(shown, indent=1))
    ctx.exit(code)


def _refuse_options(request: Request) -> None:
    """What nodes are is said by the description alone."""
    given = {name: value for name, value in request.options.items() if name != "workdir"}
    if given or request.rest:
        words = " ".join([*table.words(given), *request.rest]) or next(iter(given))
        raise ConfigurationError(f"{words}: what nodes are is for multi.toml to say; write it there")


def _works(fleet: Fleet, found: Plan, nodes: dict[str, Node]) -> list[Work]:
    """What there is to do, with the records of what is started; raises an error for what can't be."""
    works, records = [], []
    for step in found.of(START, RESTART):
        assert step.spec is not None
        node = nodes.get(step.name) or fleet.to_start([str(step.spec.name)])[0]
        record = with_env(record_of(node, step.spec, make=False), step.env)
        records.append((node, record))
        works.append(Work(step, node, record, step.spec.environment))
    refuse_shared_files(records)
    refuse_files_of_others(records, fleet)
    works += [Work(step, nodes[step.name], None, {}) for step in found.of(STOP)]
    # what is kept, but is on its way only, is waited for by those that depend on it
    needed = {need.target[0] for work in works for need in work.step.needs if need.kind == "node"}
    works += [Work(step, nodes[step.name], None, {}) for step in found.of(KEEP) if step.name in needed]
    return works


def _check(request: Request, description: Description, found: Plan) -> list[Problem]:
    """The warnings; raises an error for all that would not work."""
    names = {step.name for step in found.of(START, RESTART)}
    problems = findings(description, [node for node in description.nodes if node.name in names])
    errors = [problem for problem in problems if problem.level == ERROR]
    if errors:
        raise DescriptionError(errors)
    return problems


def _guard(fleet: Fleet, found: Plan, nodes: dict[str, Node]) -> None:
    """Refuse to stop the last consumer of a queue, unless a node that is started consumes from it."""
    going = [nodes[step.name] for step in found.of(STOP)]
    coming = {
        queue
        for step in found.of(START, RESTART)
        if step.spec is not None
        for queue in str(step.spec.options.get("queues", "celery")).split(",")
    }
    if any(one.queue not in coming for one in uncovered(fleet, going)):
        refuse_last_consumers(fleet, going)


def _print_plan(screen: Screen, description: Description, found: Plan, problems: list[Problem], *, dry: bool) -> None:
    for problem in problems:
        complain(f"warning: {problem}")
    kept = len(found.of(KEEP))
    if found.is_empty:
        nodes = "the node runs" if kept == 1 else f"all {kept} nodes run"
        screen.section(f"Nothing to do: {nodes} as {description.path} describes.")
        return
    screen.section(f"{'Would be done' if dry else 'To do'} for {description.path}:")
    for step in found.of(START, RESTART, STOP):
        verb = screen.paint(f"{_VERBS[step.action]:7}", step.action != STOP)
        screen.line(f"    {verb} {step.name}  ({step.why[0]})" if step.why else f"    {verb} {step.name}")
        for line in step.why[1:]:
            screen.line(f"            {line}")
        if step.needs and step.action != STOP:
            screen.line(f"            after {', '.join(str(need) for need in step.needs)}")
    if kept:
        screen.line(f"    {kept} node{'s' if kept > 1 else ''} as described")


def _apply(screen: Screen, works: list[Work], timeout: float) -> tuple[int, dict[str, str]]:
    """Do it, and tell of it; the exit code, and what became of each node."""
    for work in works:
        if work.record is not None and work.step.spec is not None:
            record_of(work.node, work.step.spec)  # makes the directories of its files
    screen.section("Applying...")
    progress = Progress(screen, len(works), "done")
    applying = Applying(works, timeout, progress.ticker(lambda: _left(applying)))
    teller = _Teller(screen, works, timeout)
    try:
        for event in applying.run():
            teller.tell(event)
    finally:
        progress.close()
    return teller.code, teller.results


def _left(applying: Applying) -> list[Item]:
    items = []
    for work in applying.left:
        if work.stop is not None and work.start is None:
            items.append(draining(work.node))
        elif work.start is not None:
            items.append(Item(work.node, "starting", "starting"))
        else:
            closed = [gate for gate in work.gates if not gate.is_open]
            text = f"waits for {closed[0]}: {closed[0].why or 'no answer yet'}" if closed else "waits for its turn"
            items.append(Item(work.node, text, text))
    return items


class _Teller:
    """Prints what happens, and remembers how it ended."""

    def __init__(self, screen: Screen, works: Sequence[Work], timeout: float) -> None:
        self.screen = screen
        self.timeout = timeout
        self.code = DONE
        self.results: dict[str, str] = {}
        self._silent = {str(work.node) for work in works if work.step.action == KEEP}

    def tell(self, event: Event) -> None:
        if isinstance(event, Result):
            name = str(event.node)
            self.results[event.node.name.short] = event.kind
            if name not in self._silent or event.kind not in (starting.OK, starting.ALREADY):
                self.code = max(self.code, show_start(self.screen, event, self.timeout))
        elif isinstance(event, Down):
            self.results[event.node.name.short] = "down"
            self.screen.item(event.node, "DOWN, killed" if event.forced else "DOWN", good=not event.forced)
            if event.message:
                self.screen.detail(event.message)
        elif isinstance(event, Skipped):
            self.results[event.node.name.short] = "skipped"
            self.code = FAILED
            self.screen.item(event.node, "not started", good=False)
            complain(f"{event.node} was not started: {event.why}")
        elif isinstance(event, Began):
            if event.pid:
                self.screen.item(event.node, f"TERM -> {event.pid}")
        elif isinstance(event, Opened):
            if event.seconds > 1:
                self.screen.line(f"    > {event.what}: there, after {event.seconds:.1f} s")
        else:
            self.screen.item(*event)


@click.command(cls=NodesCommand)
@ONLY
@ladder_options
@click.option("--timeout", type=SPAN, metavar="SECONDS", help="How long to wait (for ever).")
@FORCE
@state_dir_option
@click.pass_context
def down(ctx: click.Context, /, **given: Any) -> None:
    """Stop the nodes of multi.toml and wait until they are gone, those first that others don't depend on.

    Nodes that were started by hand under other names are left alone.

    \b
    multi down
    multi down --only images --timeout 10m
    """
    request = Request(ctx, given)
    screen = request.screen
    _refuse_options(request)
    description = project.description(request.cwd)
    fleet = request.fleet
    waves = _to_stop(fleet, description, given["only"])
    chosen = [node for wave in waves for node in wave]
    if given["only"] and not given["force"]:
        refuse_last_consumers(fleet, chosen)
    for problem in description.problems:
        complain(f"warning: {problem}")  # what runs can be stopped all the same
    screen.header()
    if not chosen:
        screen.section("Nothing to do: nothing of it runs.")
    code = DONE
    for wave in waves:
        stops = send_stop(screen, [stopping.begin(node) for node in wave], given)
        code = max(code, wait_down(screen, stops, given["timeout"]))
        if code == FAILED:
            break  # what others depend on stays, as long as one of them does
    ctx.exit(code)


def _to_stop(fleet: Fleet, description: Description, only: Sequence[str]) -> list[list[Node]]:
    """The nodes that run, in the groups in which they are stopped."""
    known = facts(fleet, description)
    described = {node.name: node for node in description.nodes}
    running: dict[str, Node] = {}
    for one in known.values:
        is_of_it = one.name in described or one.spec.description == description.path
        if is_of_it and one.is_up and (not only or one.name in only or _section(one.name, one.spec, described) in only):
            running[one.name] = known.nodes[one.name]
    if only and not running:
        every = {*description.sections(), *described, *(one.spec.section or "" for one in known.values)}
        if unknown := [group for group in only if group not in every]:
            from multi.nodes.description.problems import suggestion

            raise ConfigurationError(
                f"--only {unknown[0]}: {description.path} has no node and no table of nodes "
                f'"{unknown[0]}"{suggestion(unknown[0], every)}'
            )
    after: dict[str, list[str]] = {
        name: [need.target[0] for need in (described[name].needs if name in described else ()) if need.kind == "node"]
        for name in running
    }
    try:
        waves = in_waves(after)
    except ValueError:
        waves = [list(running)]  # a circle, which is among the description's problems
    return [[running[name] for name in wave] for wave in reversed(waves)]


def _section(name: str, spec: Any, described: dict[str, Any]) -> str:
    return described[name].section if name in described else spec.section or ""


__all__ = ["Step", "down", "up"]
