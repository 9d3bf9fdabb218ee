"""`multi up`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import click

from multi.cli.check import findings
from multi.cli.group import DONE, FAILED
from multi.cli.guard import FORCE, refused
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
from multi.controller import project
from multi.controller import start as starting
from multi.controller.applying import Applying, Began, Event, Forgotten, Opened, Skipped, Work
from multi.controller.described import claim, facts, with_env
from multi.controller.fleet import Fleet
from multi.controller.guard import uncovered
from multi.controller.node import Node
from multi.controller.start import Result
from multi.controller.stop import Down
from multi.errors import ConfigurationError, MultiError, NodeError
from multi.nodes import options as table
from multi.nodes.description import ERROR, Description, DescriptionError, Problem
from multi.nodes.description.plan import FORGET, KEEP, RESTART, START, STOP, Plan, plan
from multi.nodes.spec import kept_environment

_AGAIN = 10.0  # seconds until it is told again what is waited for
_VERBS = {START: "start", RESTART: "restart", STOP: "stop", FORGET: "forget"}


def _complete_groups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
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


#: Names are no arguments of these commands, but given as such by everybody once.
WORDS = click.argument("words", nargs=-1, metavar="")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.command(cls=NodesCommand)
@WORDS
@ONLY
@DRY_RUN
@click.option(
    "--timeout",
    type=SPAN,
    metavar="SECONDS",
    help="How long a node may take to get ready (60), and when given, what it depends on to be there.",
)
@FORCE
@json_option
@state_dir_option
@click.pass_context
def up(ctx: click.Context, /, **given: Any) -> None:
    """Make what runs match multi.toml: start what is missing, restart what has changed, stop what is gone from it.

    Everything is checked before anything is done. What is gone from the file is forgotten when it is down; its log stays.
    Nodes that were started by hand under other names are left alone. With --only, what those nodes depend on is started
    too. --dry-run exits with 1 where the same without it would be refused.

    \b
    multi up --dry-run
    multi up
    multi up --only images
    """
    request = Request(ctx, given)
    screen = request.screen
    refuse_options(request)
    description = project.description(request.cwd)
    if not description.nodes or any(problem.level == ERROR for problem in description.problems):
        _refuse_errors(findings(description))  # all of them, as `multi check` tells them
    fleet = request.fleet
    known = facts(fleet, description)
    shell = kept_environment(dict(os.environ), [])
    found = plan(description, known.values, given["only"], shell)
    problems = _check(description, found)
    works = _works(fleet, found, known.nodes)
    refusal = "" if given["force"] else _refusal(fleet, found, known.nodes)
    if refusal and not given["dry_run"]:
        raise NodeError(refusal)
    if given["as_json"]:
        screen.quiet = True
    screen.header()
    drifted = _drifted(fleet, description, known.nodes)
    _print_plan(screen, description, found, problems, drifted, dry=given["dry_run"])
    if refusal:
        complain(f"this would be {refusal}")
    code = FAILED if refusal else DONE
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
        if drifted:
            shown["units"] = drifted
        if refusal:
            shown["refused"] = refusal
        click.echo(json.dumps(shown, indent=1))
    ctx.exit(code)


def refuse_options(request: Request) -> None:
    """What nodes are is said by the description alone, and which of them are meant by --only."""
    if words := request.own["words"]:
        only = " ".join(f"--only {word}" for word in words)
        raise ConfigurationError(
            f"{' '.join(words)}: this is for the whole of multi.toml; for some of its nodes: {only}"
        )
    given = {name: value for name, value in request.options.items() if name != "workdir"}
    if given or request.rest:
        words = " ".join([*table.words(given), *request.rest]) or next(iter(given))
        raise ConfigurationError(f"{words}: what nodes are is for multi.toml to say; write it there")


def _works(fleet: Fleet, found: Plan, nodes: dict[str, Node]) -> list[Work]:
    """What there is to do, with the records of what is started; raises an error for what can't be."""
    works, records = [], []
    for step in found.of(START, RESTART):
        assert step.spec is not None
        node = nodes.get(step.name) or fleet.to_start([str(step.spec.name)], own=[str(step.spec.name)])[0]
        record = with_env(record_of(node, step.spec, make=False), step.env)
        records.append((node, record))
        works.append(Work(step, node, record, step.spec.environment))
    refuse_shared_files(records)
    refuse_files_of_others(records, fleet)
    # what a unit runs is kept there; `multi disable` removes it
    found.steps[:] = [step for step in found.steps if step.action != FORGET or nodes[step.name].unit is None]
    works += [Work(step, nodes[step.name], None, {}) for step in found.of(STOP, FORGET)]
    # what is kept, but is on its way only, is waited for by those that depend on it
    needed = {need.target[0] for work in works for need in work.step.needs if need.kind == "node"}
    works += [Work(step, nodes[step.name], None, {}) for step in found.of(KEEP) if step.name in needed]
    return works


def _check(description: Description, found: Plan) -> list[Problem]:
    """The warnings; raises an error for all that would not work."""
    names = {step.name for step in found.of(START, RESTART)}
    problems = findings(description, [node for node in description.nodes if node.name in names])
    _refuse_errors(problems)
    return problems


def _refuse_errors(problems: list[Problem]) -> None:
    errors = [problem for problem in problems if problem.level == ERROR]
    if errors:
        raise DescriptionError(errors)


def _refusal(fleet: Fleet, found: Plan, nodes: dict[str, Node]) -> str:
    """Why the last consumer of a queue is not stopped, unless a node that is started consumes from it; empty if all is well."""
    going = [nodes[step.name] for step in found.of(STOP)]
    coming = {
        queue
        for step in found.of(START, RESTART)
        if step.spec is not None
        for queue in str(step.spec.options.get("queues", "celery")).split(",")
    }
    lost = [one for one in uncovered(fleet, going) if one.queue not in coming]
    return f"{refused(lost)}. To do it all the same add --force" if lost else ""


def _drifted(fleet: Fleet, description: Description, nodes: dict[str, Node]) -> list[str]:
    """Of nodes that units run, those whose unit is not as the description has it: a sentence for each manager."""
    if not any(node.manager is not None for node in nodes.values()):
        return []
    from multi.controller.comparing import compare

    try:
        found = compare(fleet, description)
    except MultiError as error:
        return [f"whether units are as {description.path} describes can't be told: {error}"]
    told = []
    for one in found:
        names = [step.node.name.short for step in one.steps if step.unit.id in one.affected]
        if names:
            told.append(
                f"{', '.join(names)}: what {one.host} runs is not as {description.path} describes; multi install "
                f"{one.host.manager} brings it there"
            )
    return told


def _print_plan(
    screen: Screen,
    description: Description,
    found: Plan,
    problems: list[Problem],
    drifted: Sequence[str],
    *,
    dry: bool,
) -> None:
    for problem in problems:
        complain(f"warning: {problem}")
    for text in drifted:
        complain(f"warning: {text}")
    kept = len(found.of(KEEP))
    if found.is_empty and drifted:
        screen.section(f"Nothing to do for nodes that run by themselves, as {description.path} describes.")
        return
    if found.is_empty:
        nodes = "the node runs" if kept == 1 else f"all {kept} nodes run"
        screen.section(f"Nothing to do: {nodes} as {description.path} describes.")
        return
    screen.section(f"{'Would be done' if dry else 'To do'} for {description.path}:")
    for step in found.of(START, RESTART, STOP, FORGET):
        verb = screen.paint(f"{_VERBS[step.action]:7}", step.action in (START, RESTART))
        screen.line(f"    {verb} {step.name}  ({step.why[0]})" if step.why else f"    {verb} {step.name}")
        for line in step.why[1:]:
            screen.line(f"            {line}")
        if step.needs:
            screen.line(f"            after {', '.join(str(need) for need in step.needs)}")
    if kept:
        screen.line(f"    {kept} node{'s' if kept > 1 else ''} as described")


def _apply(screen: Screen, works: list[Work], given: float | None) -> tuple[int, dict[str, str]]:
    """Do it, and tell of it; the exit code, and what became of each node."""
    for work in works:
        if work.record is not None and work.step.spec is not None:
            record_of(work.node, work.step.spec)  # makes the directories of its files
    screen.section("Applying...")
    progress = Progress(screen, len(works), "done")
    timeout = starting.TIMEOUT if given is None else given
    applying = Applying(works, timeout, progress.ticker(lambda: _left(applying)), given)
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
            if closed:
                gate, waited = closed[0], time.monotonic() - closed[0].begun
                text = f"waits for {gate}: {gate.why or 'no answer yet'} ({waited:.0f} s of {gate.patience:g} s)"
                items.append(Item(work.node, text, f"{gate} {gate.why} {waited // _AGAIN}"))
            else:
                items.append(Item(work.node, "waits for its turn", "turn"))
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
        elif isinstance(event, Forgotten):
            self._forgotten(event)
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

    def _forgotten(self, event: Forgotten) -> None:
        name = event.node.name.short
        if event.why:
            self.code = FAILED
            complain(f"{event.node} is not forgotten: {event.why}")
            return
        text = f"forgotten; its log stays: {event.log_file}" if event.log_file else "forgotten"
        if name in self.results:
            self.screen.detail(text)  # below what is told of its end
        else:
            self.screen.item(event.node, text)
        self.results.setdefault(name, "forgotten")
