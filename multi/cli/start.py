"""`multi start`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import Any

import click

from multi.cli.group import DONE, FAILED, USAGE
from multi.cli.nodes import (
    Request,
    nodes_argument,
    record_of,
    refuse_broken_environment,
    refuse_files_of_others,
    refuse_shared_files,
    state_dir_option,
)
from multi.cli.optional import HERE, WATCH, OptionalValue, looks_like_path
from multi.cli.policy import WHAT, policy_of, policy_options
from multi.cli.progress import Item, Progress
from multi.cli.screen import Screen, clock, complain
from multi.controller import rehearsal
from multi.controller import start as starting
from multi.controller import stop as stopping
from multi.controller.launch import command, environment
from multi.controller.managed import refuse_beyond, refuse_change, start_of
from multi.controller.node import ORPHANED, Node
from multi.controller.project import described as described_project
from multi.controller.project import description, locate
from multi.controller.start import ALREADY, OK, WAITING, Result, Start
from multi.errors import ConfigurationError, NodeError
from multi.nodes import options as table
from multi.nodes.spec import NodeSpec, difference, kept_environment

#: How an interpreter says that it can't run multi's worker.
_NO_MULTI = ": No module named multi"


@click.command(cls=OptionalValue, passes_on=True, spelling="--watch", alone=HERE, looks=looks_like_path)
@nodes_argument
@policy_options
@WATCH
@click.option("--all", "every", is_flag=True, help="All nodes of the project that were ever started.")
@click.option(
    "--foreground", is_flag=True, help="Be the node's keeper, in the foreground (for supervisord, containers)."
)
@state_dir_option
@click.pass_context
def start(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Start nodes, given by name or by their number, and wait until they consume.

    What follows is kept with each node, so that later commands need only its name. Without -A, a node starts as it was,
    with what is given changed.

    \b
    multi start w1 w2 -A proj -l INFO
    multi start 3 -A proj -c 4 -Q a,b --pidfile=/run/proj/%n.pid
    multi start w1
    multi start --all
    multi start w1 -A proj --watch          for development: reloads w1 when code changes
    """
    request = Request(ctx, given)
    chosen = request.nodes(nodes, to_start=True)
    if not chosen:
        raise NodeError("no node is known here that could be started again; name one: multi start w1 -A proj")
    path = watched(request)
    if given["foreground"]:
        foreground(request, chosen)
    screen = request.screen
    screen.header()
    starts = prepare(request, chosen)
    screen.section("Starting nodes...")
    try:
        code = report(screen, starts, given["timeout"])
    except KeyboardInterrupt:
        if path is None:
            raise
        code = DONE  # to be stopped again, below
    ctx.exit(code if path is None else stay(request, chosen, path))


def watched(request: Request) -> str | None:
    """What --watch names, checked before anything is started; None without it."""
    if request.own.get("watch") is None:
        return None
    if request.own.get("foreground"):
        raise ConfigurationError("either --foreground or --watch: the one is for other managers, the other for you")
    from multi.cli.watching import check

    return check(request.own["watch"], request.here)


def stay(request: Request, nodes: list[Node], path: str) -> int:
    """Stay with nodes that run, and reload them when code changes; the exit code. Also where one could not start: the next
    change may help it."""
    from multi.cli import watching

    return watching.stay(request.screen, nodes, path, request.own["timeout"])


def prepare(request: Request, nodes: list[Node]) -> list[Start]:
    """What to start, everything checked before anything starts."""
    managed = managed_of(request, nodes)
    nodes = [node for node in nodes if node not in managed]
    specs = [(node, *specification(request, node)) for node in nodes]
    for _, spec, _ in specs:
        spec.check()
    if any(node.status().is_up for node in nodes):
        check_values(request, [(node, spec) for node, spec, _ in specs])
    records = [(node, record_of(node, spec)) for node, spec, _ in specs]
    refuse_shared_files(records)
    refuse_files_of_others(records, request.fleet)
    refuse_broken_environment(records)
    tell(request.screen, specs, records)
    _tell_projects(request, nodes)
    return [start_of(node) for node in managed] + [
        Start(node, record, spec.environment) for (node, spec, _), (_, record) in zip(specs, records, strict=True)
    ]


def _tell_projects(request: Request, nodes: list[Node]) -> None:
    """Of new nodes which project they join, where that is another folder's and nobody has named it."""
    if request.fleet.app is not None or described_project(request.cwd) is not None:
        return
    new = [node for node in nodes if node.record() is None and node.place.project.location != request.cwd]
    for location in dict.fromkeys(node.place.project.location for node in new):
        names = ", ".join(node.name.short for node in new if node.place.project.location == location)
        request.screen.line(f"{names}: in the project at {location}, which has nodes already")


def managed_of(request: Request, nodes: list[Node]) -> list[Node]:
    """Those of the nodes that systemd or supervisord run; an error where they were to run otherwise than their units say."""
    for node in nodes:
        refuse_beyond(node)
    found = [node for node in nodes if node.manager is not None]
    for node in found:
        if words := changes(request, node):
            refuse_change(node, words)
    return found


def changes(request: Request, node: Node) -> str:
    """What this command line says about how the node is run."""
    own = request.own_of(node)
    given = {name: value for name, value in request.options_of(node).items() if name != "workdir"}
    words = [*table.words(given), *request.rest_of(node)]
    of_stop = ("quit_after", "kill_after")  # of `multi restart`: for this one stop
    named = [name for name in (*policy_of(own), *WHAT) if own.get(name) and name not in of_stop]
    words += [f"--{name.replace('_', '-')}" for name in named]
    return " ".join(words)


def tell(
    screen: Screen,
    specs: list[tuple[Node, NodeSpec, NodeSpec | None]],
    records: list[tuple[Node, dict[str, Any]]],
) -> None:
    """What is changed of nodes, and with --verbose the command lines that will be run."""
    for node, spec, old in specs:
        if old is not None:
            for line in difference(old, spec):
                screen.item(node, line)
    if screen.verbose:
        from multi.urls import mask

        for node, record in records:
            screen.item(node, mask(shlex.join(record["argv"])))


def check_values(request: Request, specs: list[tuple[Node, NodeSpec]]) -> None:
    """Let the parser of workers, or of beats, look at what is given, before anything is done to a node that runs."""
    from multi.cli.check import check_words

    checked: list[list[str]] = []
    for node, spec in specs:
        options = request.options_of(spec.name)
        app = options.get("app")
        if app and spec.executable == sys.executable and locate(str(app), spec.cwd) is None:
            raise ConfigurationError(f"-A {app}: there is no such module, neither in {spec.cwd} nor on the path")
        words = table.words(options)
        if spec.executable == sys.executable:
            words += request.rest  # of another interpreter's multi nothing is known
        seen = [spec.kind, *words]
        if spec.engine == "multi" and words and seen not in checked and request.engine_of(node) == "multi":
            checked.append(seen)
            check_words(spec.kind, words)
        if spec.engine == "celery" and (new := _new_options(request, node, spec)) and new not in checked:
            checked.append(new)
            if why := rehearsal.refusal(spec):
                raise ConfigurationError(
                    f"{node}: {' '.join(new)}: neither this command nor its Celery worker has it ({why}); nothing was done"
                )


def _new_options(request: Request, node: Node, spec: NodeSpec) -> list[str]:
    """The options that no table has, and that the node was not started with."""
    kept = node.spec()
    had = kept.options if kept is not None else {}
    return [name for name in request.options_of(spec.name) if name.startswith("-") and name not in had]


def specification(request: Request, node: Node, *, anew: bool | None = None) -> tuple[NodeSpec, NodeSpec | None]:
    """The specification to start `node` with, and the kept one where this is a change of it."""
    new = request.spec(node)
    if anew is None:
        anew = "app" in request.options_of(node)
    old = None if anew else node.spec()
    if old is None:
        described = None if anew else _described(request, node)
        return (new if described is None else described.changed(new)), None
    changed = old.changed(new)
    if env := list(request.own_of(node).get("env") or ()):
        changed.env = {**old.env, **_given(env)}
    return changed, old


def _described(request: Request, node: Node) -> NodeSpec | None:
    """What multi.toml says of a node that was never started."""
    if node.place.project != described_project(request.cwd):
        return None
    for one in description(request.cwd).check().nodes:
        if one.spec.name == node.name:
            one.spec.env = {**kept_environment(dict(os.environ), []), **one.spec.env}
            return one.spec
    return None


def _given(env: list[str]) -> dict[str, str]:
    wanted = {text.partition("=")[0] for text in env}
    everything = kept_environment(dict(os.environ), env)
    return {name: value for name, value in everything.items() if name in wanted}


def report(screen: Screen, starts: list[Start], timeout: float) -> int:
    """Start, and print what becomes of each; the exit code."""
    code = DONE
    left = {id(start.node): start.node for start in starts}
    progress = Progress(screen, len(starts), "ready")
    # elsewhere the nodes' own news have to do
    tick = progress.ticker(lambda: [Item(node, "starting", "") for node in left.values()]) if screen.is_live else None
    try:
        for news in starting.start_all(starts, timeout, tick):
            if isinstance(news, Result):
                left.pop(id(news.node), None)
                code = max(code, show(screen, news, timeout))
            else:
                node, text = news
                screen.item(node, text)
    finally:
        progress.close()
    return code


def show(screen: Screen, result: Result, timeout: float, *, restarted: bool = False) -> int:
    """Print one result; the exit code that it means."""
    node = result.node
    if result.kind == OK and restarted:
        screen.section(
            f"Restarting node {node}: {screen.paint(f'OK (pid {result.pid}, ready in {result.seconds:.1f} s)', True)}"
        )
        return DONE
    if result.kind == OK:
        screen.item(node, f"OK (pid {result.pid}, ready in {result.seconds:.1f} s)", good=True)
        return DONE
    if result.kind == ALREADY and restarted:
        # it went down for us, and another command was the first to start it
        text = f"restarted by another command at the same moment (pid {result.pid}, ready {clock(result.since)})"
        screen.item(node, text, good=not result.message)
        if result.message:
            complain(f"{node} was not started with what is given here: {result.message}")
        return FAILED if result.message else DONE
    if result.kind == ALREADY:
        screen.item(node, f"already running (pid {result.pid}, since {clock(result.since)})", good=True)
        if result.message:
            screen.detail(result.message)
        return DONE
    if result.kind == WAITING:
        screen.item(node, f"not ready after {timeout:g} s, still starting (pid {result.pid})", good=False)
        why = f": {result.message}" if result.message else ""
        complain(
            f"{node} is not ready yet{why}; it goes on trying. See `multi logs {node.name.short}`, "
            f"or end it with `multi stop {node.name.short}`"
        )
        show_lines(screen, result)
        return FAILED
    screen.item(node, "FAILED", good=False)
    complain(f"{node} did not start: {result.message}")
    show_lines(screen, result)
    if result.kept != result.wanted:
        complain(
            f"{node}: what it could not start with is not kept; `multi start {node.name.short}` starts it as it was before"
            if result.kept
            else f"{node} is not kept, since it never ran"
        )
    if result.wanted and any(line.endswith(_NO_MULTI) for line in result.lines):  # of a unit nothing is known here
        again = (
            f"multi start {node.name.short} --engine celery" if result.kept == result.wanted else "add --engine celery"
        )
        python = result.wanted.get("executable")
        complain(
            f"{node}: {python} has no multi. Where it is a Celery project's: {again}; where it is one of multi's, install multi "
            "there, or leave out --executable"
        )
    return USAGE if result.code == USAGE else FAILED


def show_lines(screen: Screen, result: Result) -> None:
    """The last lines that a node's worker has written, the keeper's own left out; lines that are those of another node but for
    names and numbers are not repeated."""
    lines = [line for line in result.lines if "/Keeper] " not in line]
    name = str(result.node)
    gist = re.sub(r"\d+", "0", "\n".join(lines).replace(name, "").replace(result.node.name.short, ""))
    first = screen.told.setdefault(gist, name)
    if lines and first != name:
        click.echo(f"The last lines of {result.log_file} are like those of {first}", err=True)
    elif lines:
        click.echo(f"The last lines of {result.log_file}:", err=True)
        for line in lines:
            click.echo(f"    {line}", err=True)


def foreground(request: Request, nodes: list[Node]) -> None:
    """Become the keeper of one node; its lines go to standard error unless a log file is given."""
    if len(nodes) != 1:
        raise ConfigurationError("--foreground is for a single node")
    node = nodes[0]
    node.unit = None  # its manager may be who runs this
    spec, _ = specification(request, node)
    status = node.status()
    if status.state != ORPHANED:
        status = stopping.settled(node)
    if status.has_keeper:
        raise NodeError(
            f"{node} is running already (pid {status.keeper_pid}); stop it first: multi stopwait {node.name.short}"
        )
    record = record_of(node, spec)
    if "logfile" not in spec.options:
        record["log_file"] = None
        record["argv"] = spec.argv(None)
    node.place.make()
    sys.stdout.flush()
    words = command(node, node.put(record))
    variables = environment(node, spec.environment)
    if run_by := _supervisor():
        variables["MULTI_RUN_BY"] = run_by
    os.execve(words[0], words, variables)


def _supervisor() -> str:
    """The supervisord that has started this, and its name for it; "" where it was somebody else."""
    found = os.environ.get
    if found("SUPERVISOR_ENABLED") != "1":
        return ""
    group, name = found("SUPERVISOR_GROUP_NAME", ""), found("SUPERVISOR_PROCESS_NAME", "")
    return f"supervisord ({name if name == group else f'{group}:{name}'})"
