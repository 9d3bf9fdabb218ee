"""What `multi probe` does, without click: a probe runs every few seconds, and click alone takes longer than the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from multi.controller.glance import MAX_AGE, Verdict, glance
from multi.errors import MultiError

_FLAGS = {"--live": False, "--ready": True}


def answer(
    names: Sequence[str],
    *,
    ready: bool = False,
    max_age: float = MAX_AGE,
    as_json: bool = False,
    state_dir: str | None = None,
) -> int:
    """Print what is to be said of these nodes, or of all of the project; 0 when all of them are well, 4 when one is unknown, else
    1."""
    named = state_dir or os.environ.get("MULTI_STATE_DIR")
    found: list[tuple[str, Verdict]] = []
    missing: list[MultiError] = []
    if named and len(names) == 1:
        seen = glance(os.path.expanduser(named), names[0], ready=ready, max_age=max_age)
        found = [seen] if seen is not None else []
    if not found:
        found, missing = _looked_up(names, ready=ready, max_age=max_age, state_dir=state_dir)
    if as_json:
        import json

        sys.stdout.write(json.dumps([{"node": name, **verdict._asdict()} for name, verdict in found]) + "\n")
    else:
        for name, verdict in found:
            said = f"{verdict.state}: {verdict.reason}" if verdict.reason else verdict.state
            sys.stdout.write(f"{name}: {'ok' if verdict.ok else 'NOT ' + ('READY' if ready else 'WELL')}, {said}\n")
        if not found and not missing:
            sys.stdout.write("no node is known here; name the project's folder or state directory (--state-dir)\n")
    if missing:
        from multi.cli.group import UNKNOWN
        from multi.cli.screen import complain

        sys.stdout.flush()
        for error in missing:
            complain(str(error))
        return UNKNOWN
    return 0 if found and all(verdict.ok for _, verdict in found) else 1


def _looked_up(
    names: Sequence[str], *, ready: bool, max_age: float, state_dir: str | None
) -> tuple[list[tuple[str, Verdict]], list[MultiError]]:
    from multi.controller.fleet import Fleet
    from multi.controller.probing import judge
    from multi.errors import NodeNotFound
    from multi.nodes.spec import logical_cwd

    cwd = logical_cwd()
    fleet = Fleet(cwd, None, os.path.join(cwd, state_dir) if state_dir else None)
    nodes = [] if names else fleet.all()
    missing: list[MultiError] = []
    for name in dict.fromkeys(names):
        try:
            nodes += fleet.known([name])
        except NodeNotFound as error:
            from multi.controller import project

            members = {*project.members(cwd, name)}  # of the table of that name
            of_table = [node for node in fleet.all() if node.name.short in members] if members else []
            nodes += of_table
            missing += [] if of_table else [error]
    unique = {node.place.kept: node for node in nodes}.values()
    return [(str(node), judge(node, ready=ready, max_age=max_age)) for node in unique], missing


def quick(words: Sequence[str]) -> int | None:
    """The exit status of `multi probe WORDS`; None for words that click has to judge (help, mistakes)."""
    names: list[str] = []
    ready, as_json, max_age, state_dir = False, False, MAX_AGE, None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        spelling, equals, value = word.partition("=")
        if word in _FLAGS:
            ready = _FLAGS[word]
        elif word == "--json":
            as_json = True
        elif spelling in ("--max-age", "--state-dir"):
            if not equals:
                if not rest:
                    return None
                value = rest.pop(0)
            if spelling == "--state-dir":
                state_dir = value
                continue
            from multi.nodes.policy import parse_span

            try:
                max_age = parse_span(value)
            except MultiError:
                return None
        elif word.startswith("-"):
            return None
        else:
            names.append(word)
    try:
        return answer(names, ready=ready, max_age=max_age, as_json=as_json, state_dir=state_dir)
    except (MultiError, BrokenPipeError):
        return None  # said by click's way, with its exit code
