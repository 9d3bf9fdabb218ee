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
#: Queues in which something lay when somebody looked; and when that was.
_SEEN, _LOOKED = "seen", "looked"
#: Seconds that somebody who presses TAB waits for an import, and after which names are read anew.
_PATIENCE, _LIFE = 4.0, 3600.0
#: The same for what lies in the broker, which changes sooner.
_FRESH = 60.0


def place_of(app: str | None, workdir: str | None) -> str:
    """The file for an app as it is named in this folder, by which it is found again."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.realpath(os.path.join(os.getcwd(), workdir or ""))
    key = hashlib.sha256(f"{folder}\0{app or ''}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return os.path.join(base, "multi", "names", f"{key}.json")


def remember(path: str, app: App, queues: list[str]) -> None:
    """Keep the names that an app has now."""
    found = {"time": time.time(), TASKS: sorted(app.tasks.regular()), QUEUES: sorted(queues)}
    _write(path, {**_read(path), **found})


def remember_entries(path: str, entries: list[str]) -> None:
    """Keep the names of the schedule's entries."""
    known = _read(path)
    if known.get(ENTRIES) != entries:
        _write(path, {"time": 0.0, **known, ENTRIES: entries})


def remember_queues(path: str, queues: list[str]) -> None:
    """Keep the names of the queues that the broker knows now."""
    _write(path, {"time": 0.0, **_read(path), _SEEN: sorted(queues), _LOOKED: time.time()})


def _write(path: str, found: dict[str, Any]) -> None:
    """That they can't be kept is no reason to fail."""
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
    app, workdir = _named(ctx)
    path = place_of(app, workdir)
    known = _read(path)
    if kind == ENTRIES:
        if not known.get(kind):
            _learn(app, workdir, "schedule", "list")
    elif time.time() - known.get("time", 0.0) > _LIFE:
        _learn(app, workdir, "tasks")
    found: list[str] = (_read(path) or known).get(kind, [])
    return found


def _queues(ctx: click.Context) -> list[str]:
    """The queues of the app, and those in which something lies."""
    found = names(ctx, QUEUES)
    app, workdir = _named(ctx)
    path = place_of(app, workdir)
    known = _read(path)
    if time.time() - known.get(_LOOKED, 0.0) > _FRESH:
        # written down before: where the broker is away, not every TAB is to wait for it
        _write(path, {"time": 0.0, **known, _LOOKED: time.time()})
        _learn(app, workdir, "queues", "list")
        known = _read(path)
    return sorted({*found, *known.get(_SEEN, [])})


def _named(ctx: click.Context) -> tuple[str | None, str | None]:
    """The app and the folder that a line names, behind its command or before one of its words."""
    app = workdir = None
    at: click.Context | None = ctx
    while at is not None:
        app, workdir = app or at.params.get("app"), workdir or at.params.get("workdir")
        at = at.parent
    return app, workdir


def complete_tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The tasks of the app."""
    return [name for name in names(ctx, TASKS) if name.startswith(incomplete)]


def complete_entries(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The entries of the schedule, as a command that looked at it last has seen them."""
    taken = _several(ctx.params.get(param.name or ""))
    return [name for name in names(ctx, ENTRIES) if name.startswith(incomplete) and name not in taken]


def complete_queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The queues that are known; of a list the last one."""
    before, comma, start = incomplete.rpartition(",")
    taken = {*before.split(","), *_several(ctx.params.get(param.name or ""))}
    return [f"{before}{comma}{name}" for name in _queues(ctx) if name.startswith(start) and name not in taken]


def _several(given: Any) -> tuple[str, ...]:
    return tuple(given) if isinstance(given, tuple | list) else ()


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _learn(app: str | None, workdir: str | None, *command: str) -> None:
    """Have another process look: what a project prints while it is imported must not get among the completions."""
    environment = {name: value for name, value in os.environ.items() if name != "_MULTI_COMPLETE"}
    words = [*command, "--json", *(("-A", app) if app else ()), *(("--workdir", workdir) if workdir else ())]
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
