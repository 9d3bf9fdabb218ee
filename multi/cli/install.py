"""`multi install`: nodes as units of this host's systemd or supervisord."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection, Sequence
from typing import Any

import click

from multi import units as formats
from multi.cli import rendering
from multi.cli import stop as stopping
from multi.cli.group import DONE, FAILED, INTERRUPTED
from multi.cli.guard import FORCE, refuse_last_consumers
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.policy import SPAN
from multi.cli.restart import Batch, ways
from multi.cli.rolling import roll_on
from multi.cli.screen import Screen, complain
from multi.cli.start import report
from multi.cli.stop import ladder_options
from multi.controller import installed, project
from multi.controller import stop as stopper
from multi.controller.applying_units import Applied
from multi.controller.installation import (
    KEEP,
    MOVE,
    RESTART,
    START,
    STOP,
    Host,
    Installation,
    Step,
    find_host,
    target_here,
)
from multi.controller.installing import CHANGED
from multi.controller.managed import UnitStart
from multi.controller.node import Node
from multi.controller.roll import in_batches
from multi.controller.units import SUPERVISORD, SYSTEMD
from multi.errors import ConfigurationError, NodeError
from multi.nodes import options as table
from multi.nodes.spec import NodeSpec
from multi.units.base import ERROR, HARDENING

_TIMEOUT = 120.0
_VERBS = {START: "start", RESTART: "restart", MOVE: "take over", STOP: "stop"}


def where(function: Any) -> Any:
    """Which manager is meant, and whose."""
    for option in reversed(
        (
            click.option("--user/--system", "user", default=None, help="Your own systemd, or the machine's (as root)."),
            click.option(
                "--supervisord", "supervisord", metavar="FILE", help="The configuration file of the supervisord."
            ),
            click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
        )
    ):
        function = option(function)
    return function


def turning(function: Any) -> Any:
    """How the nodes that have changed are restarted."""
    for option in (
        click.option(
            "--timeout", type=SPAN, metavar="SPAN", default=_TIMEOUT, help="How long a node may take to get ready."
        ),
        FORCE,
        json_option,
        state_dir_option,
    ):
        function = option(function)
    return ways(ladder_options(function))


@click.command(cls=NodesCommand)
@click.argument("manager", type=click.Choice((SYSTEMD, SUPERVISORD)))
@nodes_argument
@where
@click.option("--hardening", type=click.Choice(HARDENING), help="How much systemd keeps nodes from (basic).")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the format, as multi render has them."
)
@turning
@click.pass_context
def install(ctx: click.Context, /, manager: str, nodes: tuple[str, ...], **given: Any) -> None:
    """Have systemd or supervisord run the nodes of multi.toml: now, and whenever the machine is started.

    What differs from what is there is shown, written and loaded; then the nodes that have changed are restarted, and no
    others. Each finishes its tasks first. A node that runs by itself, or as another manager's, is handed over: it is stopped
    there before it is started here. With names, only these nodes are added to those that are installed already.

    \b
    multi install systemd --dry-run
    multi install systemd
    multi install systemd --user w1 w2
    multi install supervisord --rolling --batch 25%
    """
    request = Request(ctx, given)
    refuse_words(request)
    host = find_host(manager, user=given["user"], config=given["supervisord"])
    description = project.description(request.cwd).check()
    if not description.nodes:
        raise ConfigurationError(f"{description.path} describes no nodes; add a table for them: [nodes.NAME]")
    described = {node.name: node for node in description.nodes}
    chosen = _chosen(request, host, nodes, list(described))
    after = {name: [need.target[0] for need in node.needs if need.kind == "node"] for name, node in described.items()}
    more: dict[str, Any] = {
        "after": after,
        "templates_dir": description.templates,
        "settings": rendering.settings(formats.find(manager), given["settings"]),
    }
    if given["hardening"]:
        more["hardening"] = given["hardening"]
    ctx.exit(carry_out(request, host, [described[name].spec for name in chosen], given, **more))


def refuse_words(request: Request, where: str = "write it into multi.toml") -> None:
    """What nodes are is not said here; nor is a batch believed before it is looked at."""
    options = {name: value for name, value in request.options.items() if name != "workdir"}
    if options or request.rest:
        words = " ".join([*table.words(options), *request.rest]) or next(iter(options))
        raise ConfigurationError(f"{words}: what nodes run with is not said here; {where}")
    if request.own.get("rolling"):
        in_batches([], str(request.own.get("batch") or 1))


def _chosen(request: Request, host: Host, texts: Sequence[str], described: list[str]) -> list[str]:
    """The described nodes that are to be units: all, or those named here and those that are units already."""
    if not texts:
        return described
    wanted: list[str] = []
    for text in texts:
        found = project.members(request.cwd, text) or [text]
        unknown = [name for name in found if name not in described]
        if unknown:
            raise ConfigurationError(
                f"multi.toml describes no node {unknown[0]!r}; it describes {', '.join(described)}"
            )
        wanted += found
    home = request.fleet.current
    before = installed.read(request.fleet.places, home).get(host.manager) if home is not None else None
    there = before.units if before is not None else {}
    return [name for name in described if name in wanted or name in there]


# ---- doing it


def carry_out(
    request: Request,
    host: Host,
    specs: Sequence[NodeSpec],
    given: dict[str, Any],
    *,
    turn: bool = True,
    off: Collection[str] = (),
    **more: Any,
) -> int:
    """Bring the nodes to their manager; the exit code. Without `turn` nothing is started or stopped; those of `off` are not
    started with the machine."""
    fleet = request.fleet
    if fleet.current is None:
        raise ConfigurationError("there is no project here; go to the folder of its multi.toml, or name it with -A")
    target = target_here(host, fleet.current, fleet.places, specs, **more)
    wanted = Installation(fleet, host, specs, target, off)
    screen = request.screen
    screen.quiet = screen.quiet or given["as_json"]
    screen.header()
    _show_plan(screen, wanted, turn=turn, dry=given["dry_run"])
    _check(wanted, force=given["force"])
    code = DONE
    failed: list[Node] = []
    turns = [step for step in wanted.steps if step.action != KEEP] if turn else []
    for step in turns:
        if step.action == RESTART and given["when_idle"] and not step.node.has_own_keeper:
            raise NodeError(
                f"--when-idle: {step.node} is run by {host}, so nobody can have it consume nothing; leave it out"
            )
    _guard(request, turns, given)
    if not given["dry_run"] and not (wanted.is_empty if turn else wanted.is_prepared):
        applied = Applied(wanted)
        applied.prepare()
        if turn:
            applied.load()
            code, failed = _turn(request, wanted, turns, given)
            if code not in (FAILED, INTERRUPTED):
                applied.finish()
        _linger(screen, host)
    elif not given["dry_run"]:
        wanted.seen()
    if given["as_json"]:
        click.echo(json.dumps(_as_json(wanted, failed), indent=1))
    return code


def _show_plan(screen: Screen, wanted: Installation, *, turn: bool, dry: bool) -> None:
    for note in wanted.format.notes(wanted.specs, wanted.target):
        if "enable-linger" not in note:  # which is seen to below
            complain(f"note: {note}")
    who = wanted.host
    if wanted.is_empty:
        screen.section(f"Nothing to do: {len(wanted.steps)} node{'s' * (len(wanted.steps) != 1)} of {who} as wanted.")
        return
    screen.section(f"{'Would be done' if dry else 'To do'} for {who}:")
    for change in wanted.changes:
        why = f"  ({change.file.why})" if change.file is not None and change.file.why else ""
        screen.line(f"    {change.action:8} {change.path}{why}")
        for line in change.diff() if screen.verbose or change.action == CHANGED else ():
            screen.line(f"      {screen.paint(line, {'+': True, '-': False}.get(line[:1]))}")
    for name in wanted.unwanted:
        screen.line(f"    boot     {name}  (it is not started with the machine)")
    for step in wanted.steps:
        if step.action != KEEP and turn:
            screen.line(f"    {_VERBS[step.action]:8} {step.node.name.short}  ({step.why})")
        elif step.action in (MOVE, START) and not turn:
            screen.line(f"    at boot  {step.node.name.short}  (until then: {step.why})")


def _check(wanted: Installation, *, force: bool) -> None:
    if wanted.foreign and not force:
        raise NodeError(
            f"{', '.join(wanted.foreign)}: there is such a file already that multi has not written. Move it away, or have it "
            "replaced with --force"
        )
    changed = {change.path for change in wanted.changes}
    problems = wanted.format.check(wanted.files) if changed else []
    for problem in problems:
        if problem.level != ERROR:
            complain(f"warning: {problem}")
    if errors := [problem for problem in problems if problem.level == ERROR]:
        raise ConfigurationError("\n".join(map(str, errors)))


def _guard(request: Request, turns: Sequence[Step], given: dict[str, Any]) -> None:
    """What is stopped for good must not leave a queue without a consumer while other nodes stay up; what is restarted, as with
    `multi up`, is away for a moment only."""
    going = [step.node for step in turns if step.action == STOP]
    if going and not given["force"]:
        refuse_last_consumers(request.fleet, going)


def _turn(
    request: Request, wanted: Installation, turns: Sequence[Step], given: dict[str, Any]
) -> tuple[int, list[Node]]:
    """Stop, hand over, restart and start; the exit code, and what has failed."""
    code = DONE
    gone = [step.node for step in turns if step.action == STOP]
    if gone:
        stops = stopping.send(request.screen, [stopper.begin(node) for node in gone], given)
        code = stopping.wait(request.screen, stops, None)
    for step in turns:
        step.node.place.make()
    failed = []
    if new := [UnitStart(step.node, step.unit) for step in turns if step.action == START]:
        request.screen.section("Starting nodes...")
        code = max(code, report(request.screen, list(new), given["timeout"]))
        failed = [start.node for start in new if not start.is_good]
    starts = {str(step.node): UnitStart(step.node, step.unit) for step in turns if step.action in (RESTART, MOVE)}
    nodes = [start.node for start in starts.values()]
    if not nodes:
        return code, failed
    if given["rolling"]:
        return max(code, roll_on(request, nodes, dict(starts))), failed
    batch = Batch(request, nodes, dict(starts))
    try:
        code = max(code, batch.run())
    except KeyboardInterrupt:
        batch.let_go()
        code = INTERRUPTED
    return code, [*failed, *batch.failed]


def _linger(screen: Screen, host: Host) -> None:
    """A user's own systemd runs without a session only if it was told to."""
    if not host.user or os.geteuid() == 0:
        return
    import pwd

    name = pwd.getpwuid(os.geteuid()).pw_name
    if os.path.exists(f"/var/lib/systemd/linger/{name}"):
        return
    try:
        done = subprocess.run(["loginctl", "enable-linger"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return
    if done.returncode:
        complain(
            f"your systemd ends with your last session, and its nodes with it; have root run: loginctl enable-linger {name} "
            f"({' '.join(done.stderr.split())})"
        )
    else:
        screen.line(f"    > linger: your systemd now runs without a session of yours, too ({name})")


def _as_json(wanted: Installation, failed: Sequence[Node]) -> dict[str, Any]:
    return {
        "manager": wanted.host.manager,
        "files": [{"path": change.path, "action": change.action} for change in wanted.changes],
        "nodes": [
            {
                "node": step.node.name.short,
                "unit": step.unit.id,
                "action": step.action,
                "why": step.why,
                "failed": step.node in failed,
            }
            for step in wanted.steps
        ],
    }


__all__: list[str] = ["carry_out", "install", "turning", "where"]
