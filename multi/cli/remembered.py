"""Names of tasks and queues for completion in the shell, which can't wait until a project is imported.

Commands that have looked at an app leave its names in a file below ~/.cache/multi, one for each folder and app. Where there is
none yet, a process is started that imports the app and leaves one; it has a moment for that.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from multi.app.app import App

TASKS, QUEUES, ENTRIES = "tasks", "queues", "entries"
#: Seconds that somebody who presses TAB waits for an import, and after which names are read anew.
_PATIENCE, _LIFE = 4.0, 3600.0


def remember(app: App, name: str | None, *, tasks: bool, queues: list[str]) -> None:
    """Keep the names that an app has now. That they can't be kept is no reason to fail."""
    path = _path(name)
    known = _read(path)
    found: dict[str, Any] = {"time": time.time(), ENTRIES: known.get(ENTRIES, [])}
    found[TASKS] = sorted(app.tasks.regular()) if tasks else known.get(TASKS, [])
    found[QUEUES] = sorted({*queues, *known.get(QUEUES, ())}) if not tasks else sorted(queues)
    _write(path, found)


def remember_entries(name: str | None, entries: list[str]) -> None:
    """Keep the names of the schedule's entries."""
    path = _path(name)
    known = _read(path)
    if known.get(ENTRIES) != entries:
        _write(path, {"time": 0.0, **known, ENTRIES: entries})


def _write(path: str, found: dict[str, Any]) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.replace(temporary, path)
    except OSError:
        return


def names(ctx: click.Context, kind: str) -> list[str]:
    """The names that are known, for completion."""
    before = ctx.find_root().params
    app = ctx.params.get("app") or before.get("app") or ""
    workdir = ctx.params.get("workdir") or before.get("workdir")
    if workdir:
        try:
            os.chdir(workdir)
        except OSError:
            return []
    path = _path(app)
    known = _read(path)
    if time.time() - known.get("time", 0.0) > _LIFE:
        _learn(app)
        known = _read(path) or known
    found: list[str] = known.get(kind, [])
    return found


def complete_tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The tasks of the app."""
    return [name for name in names(ctx, TASKS) if name.startswith(incomplete)]


def complete_entries(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The entries of the schedule, as a command that looked at it last has seen them."""
    app = ctx.params.get("app") or ctx.find_root().params.get("app") or ""
    known: list[str] = _read(_path(app)).get(ENTRIES, [])
    if not known:
        _learn(app, ["schedule", "list", "--json"])
        known = _read(_path(app)).get(ENTRIES, [])
    taken = _several(ctx.params.get(param.name or ""))
    return [name for name in known if name.startswith(incomplete) and name not in taken]


def complete_queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The queues that are known; of a list the last one."""
    before, comma, start = incomplete.rpartition(",")
    taken = {*before.split(","), *_several(ctx.params.get(param.name or ""))}
    return [f"{before}{comma}{name}" for name in names(ctx, QUEUES) if name.startswith(start) and name not in taken]


def _several(given: Any) -> tuple[str, ...]:
    return tuple(given) if isinstance(given, tuple | list) else ()


def _path(app: str | None) -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    key = hashlib.sha256(f"{os.path.realpath(os.getcwd())}\0{app or ''}".encode()).hexdigest()[:32]
    return os.path.join(base, "multi", "names", f"{key}.json")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _learn(app: str, command: list[str] | None = None) -> None:
    """Have another process look: what a project prints while it is imported must not get among the completions."""
    environment = {name: value for name, value in os.environ.items() if name != "_MULTI_COMPLETE"}
    words = [*(command or ["tasks", "--json"]), *(("-A", app) if app else ())]
    try:
        subprocess.run(
            [sys.executable, "-m", "multi", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
