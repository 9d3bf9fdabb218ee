"""Whether Celery's workers on a host without multi work, and don't only live: Celery itself is asked, over the broker.

Nothing there knows more of a node than that its processes live: systemd is told nothing by a worker that is Celery's alone, and
supervisord takes for up what has lived for a while. Where Celery can't be asked either, that is said.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from multi.deploy.hosts.inventory import SOME_HOST
from multi.deploy.hosts.settings import SUPERVISORD, Settings
from multi.deploy.steps import Command
from multi.errors import HostUnreachable
from multi.nodes.spec import NodeSpec

if TYPE_CHECKING:
    from multi.deploy.base import Session

MARK = "multi-pings-1 "
_SCRIPT = "pings.py"
#: Beside the time after which the question ends by itself (s): for the way there and back.
_MARGIN = 30.0


class Answers(NamedTuple):
    """Nodes that have answered, those that can't be asked with the reason, and what was said about the others."""

    working: frozenset[str]
    unknown: Mapping[str, str]
    said: str = ""


def unseen(spec: NodeSpec, manager: str, *, is_shared: bool = False) -> str | None:
    """Why nobody on a host without multi can tell whether this node works, though multi could; None where it can be told, or
    living is all that there is. `is_shared`: nodes of other hosts have the same name."""
    if spec.engine == "multi":
        return "supervisord is told nothing by it" if manager == SUPERVISORD else None
    if spec.engine != "celery":
        return None
    if spec.kind != "worker":
        return "a beat answers nothing"
    if not spec.options.get("app"):
        return "no app is named"
    if spec.options.get("pool") == "solo":
        return "a worker with the pool solo answers nothing while a task runs"
    if is_shared and SOME_HOST not in spec.name.host:
        return "nodes of other hosts have the same name"
    return None


def only_alive(unknown: Mapping[str, str], *, vouched: bool) -> str:
    """The line about nodes of which only processes were, or will be, seen; `vouched`: there is a health command."""
    reasons = "; ".join(
        f"{', '.join(name for name in unknown if unknown[name] == reason)}: {reason}"
        for reason in dict.fromkeys(unknown.values())
    )
    told = f"whether they work can't be seen there, only that their processes live ({reasons})"
    return told if vouched else f"{told}; the release is not noted as good by that: give a health_command"


def ask(session: Session, specs: Sequence[NodeSpec], seconds: float) -> Answers:
    """Ask these workers, for some seconds at most and never longer than `seconds`."""
    working: set[str] = set()
    unknown: dict[str, str] = {}
    said = ""
    for alike in _alike(specs):
        names = {str(spec.name): spec.name.short for spec in alike}
        begun = time.monotonic()
        result = session.run(question(alike, session.host.settings, seconds))
        line = next((line for line in result.out.splitlines() if line.startswith(MARK)), None)
        if line is not None:
            told = json.loads(line.removeprefix(MARK))
            working |= {names[name] for name in told.get("answered", ()) if name in names}
            said = told.get("said") or said
            if told.get("cannot"):
                unknown |= dict.fromkeys(names.values(), str(told["cannot"]))
        elif result.code is None:
            raise HostUnreachable(session.host.name, result.err)
        elif time.monotonic() - begun < seconds - 1:  # it has not ended because its time was up
            last = next(
                (line for line in reversed(result.tail.splitlines()) if line.strip()), f"exit code {result.code}"
            )
            unknown |= dict.fromkeys(names.values(), f"{alike[0].executable} can't ask: {last}")
        else:
            said = "its app was not imported in that time"
    return Answers(frozenset(working), unknown, said)


def question(specs: Sequence[NodeSpec], settings: Settings, seconds: float) -> Command:
    """What asks workers that are alike in all but their names."""
    spec = specs[0]
    files = [*spec.env_files, *([f"-{settings.secrets_file}"] if settings.secrets else [])]
    asked = {
        "app": str(spec.options["app"]),
        "nodes": [str(one.name) for one in specs],
        "host": SOME_HOST,
        "env": {**spec.environment, **settings.env},
        "env_files": files,
        "broker": str(spec.options.get("broker") or ""),
    }
    script = Path(os.path.dirname(os.path.abspath(__file__)), _SCRIPT).read_text(encoding="utf-8")
    text = f"import json; MULTI_ASKED = json.loads({json.dumps(json.dumps(asked))})\n{script}"
    words = (spec.executable, "-", f"{seconds:.0f}")
    return Command(words, user=settings.owner_user, cwd=spec.cwd, stdin=text.encode(), timeout=seconds + _MARGIN)


def _alike(specs: Iterable[NodeSpec]) -> list[list[NodeSpec]]:
    found: dict[object, list[NodeSpec]] = {}
    for spec in specs:
        environment = tuple(sorted(spec.environment.items()))
        broker = str(spec.options.get("broker") or "")
        key = (spec.executable, spec.cwd, str(spec.options["app"]), broker, environment, tuple(spec.env_files))
        found.setdefault(key, []).append(spec)
    return list(found.values())
