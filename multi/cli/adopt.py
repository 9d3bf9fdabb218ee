"""`multi adopt`."""

from __future__ import annotations

import os
import shlex
from typing import Any

import click

from multi.cli.files import record_of, refuse_files_of_others, refuse_shared_files
from multi.cli.group import DONE, FAILED, UNKNOWN
from multi.cli.nodes import state_dir_option
from multi.cli.screen import Screen, clock, complain
from multi.controller.adopt import Candidate, refuse_alike, take_over
from multi.controller.fleet import Fleet
from multi.controller.foreign import find, why_none
from multi.controller.node import Node
from multi.errors import ConfigurationError
from multi.urls import mask


@click.command()
@click.argument("chosen", nargs=-1, metavar="[PID|NAME]...")
@click.option("-A", "--app", metavar="APP", help="Only those of this app, as they were started with.")
@click.option("--all", "every", is_flag=True, help="Take over all that can be.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Say less.")
@click.option("-C", "--no-color", is_flag=True, help="No colours.")
@state_dir_option
@click.pass_context
def adopt(ctx: click.Context, /, chosen: tuple[str, ...], **given: Any) -> None:
    """Take over Celery workers and beats that run already, started by hand or by `celery multi`; none is restarted.

    Alone it shows what runs and what would be kept of it, and changes nothing. Afterwards `status`, `stopwait`, `restart` (the
    same command line, directory, user and environment) and the restart after a crash work. What a worker prints is in its
    node's log from its next restart on. Workers that supervisord, systemd or a container looks after are left to those.

    \b
    multi adopt                  what there is
    multi adopt --all
    multi adopt -A proj --all
    multi adopt w1@host 12345
    """
    before: dict[str, Any] = ctx.obj if isinstance(ctx.obj, dict) else {}
    screen = Screen(quiet=given["quiet"] or bool(before.get("quiet")), color=not given["no_color"])
    state_dir = given["state_dir"] or before.get("state_dir")
    app = given["app"] if given["app"] is not None else before.get("app")
    if app == "":
        raise ConfigurationError(
            "-A: its value is empty (a variable that is not set?); leave the option out, or give it one"
        )
    every = [Candidate(foreign, state_dir) for foreign in find() if app is None or foreign.app == app]
    refuse_alike(every)
    candidates = [candidate for candidate in every if not candidate.is_taken]
    already: list[Node] = []
    if chosen:
        meant = [_meant(word, every, app, state_dir) for word in chosen]
        candidates = [one for one in dict.fromkeys(meant) if isinstance(one, Candidate)]
        already = [one for one in meant if isinstance(one, Node)]
    taking = bool(chosen) or given["every"]
    if given["as_json"]:
        import json

        codes = [_take(screen, candidate, state_dir, quiet=True) if taking else DONE for candidate in candidates]
        screen.show(json.dumps([_as_json(candidate) for candidate in candidates], indent=2))
        ctx.exit(max(codes, default=DONE))
    for node in dict.fromkeys(already):
        screen.line(f"{node} is a node already (pid {node.status().keeper_pid}): multi status {node.name.short}")
    if already and not candidates:
        ctx.exit(DONE)
    if not candidates:
        of_app = f" of the app {app} (as they were started with)" if app else ""
        screen.show(f"No Celery workers{of_app} run here, but for those of nodes (`multi ls --all` lists these).")
        ctx.exit(DONE)
    if not (taking and screen.quiet):
        for candidate in candidates:
            _show(screen, candidate)
    able = [candidate for candidate in candidates if not candidate.refusal]
    if not taking:
        if able:
            screen.line("Nothing is changed yet. To take them over: multi adopt --all, or their pids or names.")
        ctx.exit(DONE)
    screen.section("Taking over...")
    refuse_shared_files([(c.node, record_of(c.node, c.spec, make=False)) for c in able if c.node and c.spec])
    code = max([_take(screen, candidate, state_dir) for candidate in able], default=DONE)
    refused = len(candidates) - len(able)
    ctx.exit(max(code, FAILED if refused and (chosen or not able) else DONE))


def _meant(word: str, candidates: list[Candidate], app: str | None, state_dir: str | None) -> Candidate | Node:
    """What this pid or name means: a process, or a node that runs already."""
    found = [
        candidate
        for candidate in candidates
        if word == str(candidate.foreign.pid)
        or (candidate.name is not None and word in (str(candidate.name), candidate.name.short))
    ]
    found = [one for one in found if not one.is_taken] or found
    if len(found) == 1:
        return found[0].node if found[0].is_taken and found[0].node else found[0]
    if found:
        raise click.UsageError(
            f"{word!r} may be one of several processes; name its pid: {', '.join(str(c.foreign.pid) for c in found)}"
        )
    for node in Fleet(os.getcwd(), None, state_dir).all(everywhere=True):
        status = node.status()
        pids = [str(status.keeper_pid), *(str(worker["pid"]) for worker in status.workers)]
        if status.has_keeper and word in (str(node), node.name.short, *pids):
            return node
    there = ", ".join(f"{c.name or '?'} ({c.foreign.pid})" for c in candidates if not c.is_taken) or "none"
    of_app = f" of the app {app}" if app else ""
    why = f"no Celery worker or beat{of_app} that runs here is called {word!r}"
    if word.isdecimal() and why_none(int(word)):
        why = why_none(int(word))
    complain(f"{why}; there are: {there}")
    raise click.exceptions.Exit(UNKNOWN)


def _show(screen: Screen, candidate: Candidate) -> None:
    """What it is, and what would be kept of it."""
    foreign = candidate.foreign
    what = f"{candidate.name or 'celery ' + foreign.kind} (pid {foreign.pid}, {foreign.kind}"
    since = f", since {clock(foreign.created)}" if foreign.created else ""
    screen.show(f"{what}{since})")
    screen.show(f"    runs       {mask(shlex.join(foreign.words))}")
    if candidate.refusal:
        screen.show(f"    {screen.paint('stays', False)}      {candidate.refusal}")
        return
    spec = candidate.spec
    assert spec is not None
    assert candidate.node is not None
    screen.show(f"    directory  {spec.cwd}")
    screen.show(f"    project    {candidate.node.place.project.location}")
    if spec.user:
        screen.show(f"    user       {spec.user}")
    screen.show(f"    keeps      {len(spec.env)} variables of its environment: {_some(sorted(spec.env))}")
    if candidate.pidfile:
        screen.show(
            f"    pid file   {candidate.pidfile} will hold the pid of its keeper, which is what to send signals to"
        )
    screen.show(f"    later      {mask(shlex.join(candidate.later))}")
    for line in candidate.differences():
        screen.show(f"    differs    {mask(line)}")
    for line in candidate.replaced:
        screen.show(f"    replaces   {mask(line)} (as the stopped node {candidate.node} had it)")
    if foreign.terminal:
        screen.show(f"    note       it hangs on the terminal {foreign.terminal}: it may end when that is closed")


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _as_json(candidate: Candidate) -> dict[str, Any]:
    foreign, spec = candidate.foreign, candidate.spec
    return {
        "pid": foreign.pid,
        "kind": foreign.kind,
        "since": foreign.created or None,
        "argv": [mask(word) for word in foreign.words],
        "node": str(candidate.name) if candidate.name is not None else None,
        "refusal": candidate.refusal or None,
        "cwd": spec.cwd if spec else foreign.cwd,
        "user": spec.user if spec else None,
        "env": sorted(spec.env) if spec else [],
        "pidfile": candidate.pidfile,
        "later": [mask(word) for word in candidate.later] if spec else None,
        "differences": [mask(line) for line in candidate.differences()] if spec else [],
        "replaces": [mask(line) for line in candidate.replaced],
    }


def _take(screen: Screen, candidate: Candidate, state_dir: str | None, *, quiet: bool = False) -> int:
    """Take one over; the exit code that it means."""
    node, spec = candidate.node, candidate.spec
    if node is None or spec is None or candidate.refusal:
        return FAILED
    record = record_of(node, spec)
    refuse_files_of_others([(node, record)], Fleet(spec.cwd, None, state_dir))
    problem = take_over(candidate, record)
    if problem:
        candidate.refusal = problem
        if not quiet:
            screen.item(node, "FAILED", good=False)
        complain(f"{node} was not taken over, and goes on as it was: {problem}")
        return FAILED
    if not quiet:
        screen.item(node, f"OK (worker {candidate.foreign.pid}, keeper {node.status().keeper_pid})", good=True)
        log = record.get("log_file")
        screen.detail(f"what it prints goes where it went; from its next restart on, to {log}")
    return DONE
