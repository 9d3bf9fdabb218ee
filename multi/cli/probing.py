"""What `multi probe` does, without click: a probe runs every few seconds, and click alone takes as long as the rest."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from multi.controller.fleet import Fleet
from multi.controller.node import Node
from multi.controller.probing import MAX_AGE, judge
from multi.errors import MultiError
from multi.nodes.policy import parse_span
from multi.nodes.spec import logical_cwd

_FLAGS = {"--live": False, "--ready": True}


def answer(
    names: Sequence[str],
    *,
    ready: bool = False,
    max_age: float = MAX_AGE,
    as_json: bool = False,
    state_dir: str | None = None,
) -> int:
    """Print what is to be said of these nodes, or of all of the project; 0 when all of them are well, else 1."""
    cwd = logical_cwd()
    fleet = Fleet(cwd, None, os.path.join(cwd, state_dir) if state_dir else None)
    nodes: list[Node] = fleet.known(list(names)) if names else fleet.all()
    verdicts = [(node, judge(node, ready=ready, max_age=max_age)) for node in nodes]
    if as_json:
        listed = [{"node": str(node), **verdict._asdict()} for node, verdict in verdicts]
        sys.stdout.write(json.dumps(listed) + "\n")
    else:
        for node, verdict in verdicts:
            said = f"{verdict.state}: {verdict.reason}" if verdict.reason else verdict.state
            sys.stdout.write(f"{node}: {'ok' if verdict.ok else 'NOT ' + ('READY' if ready else 'WELL')}, {said}\n")
        if not verdicts:
            sys.stdout.write("no node is known here; name the project's folder or state directory (--state-dir)\n")
    return 0 if verdicts and all(verdict.ok for _, verdict in verdicts) else 1


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
            try:
                max_age, state_dir = (parse_span(value), state_dir) if spelling == "--max-age" else (max_age, value)
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
