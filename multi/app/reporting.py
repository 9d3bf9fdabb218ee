"""What belongs into a report about a fault: versions, the system, and the settings of an app with their secrets masked."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.app.app import App

#: What is said of libraries, if they are installed.
LIBRARIES = (
    "msgspec",
    "click",
    "hiredis",
    "redis",
    "celery",
    "kombu",
    "django",
    "flask",
    "pydantic",
    "pyyaml",
    "fabric",
)


def report(app: App | None = None) -> dict[str, Any]:
    """What is told, under its titles; of the app only if there is one."""
    return {"software": _software(), "platform": _platform(), **({} if app is None else _app(app))}


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """A report as it is shown."""
    for title, rows in told.items():
        yield f"{title}:"
        if isinstance(rows, Mapping):
            width = max(map(len, rows), default=0)
            yield from (f"  {key:<{width}}  {value}" for key, value in rows.items()) if rows else ["  none"]
        else:
            yield from (f"  {row}" for row in rows or ["none"])


def text(told: Mapping[str, Any]) -> str:
    return "\n".join(lines(told))


def _software() -> dict[str, str]:
    from multi import __version__

    found = {"multi": __version__, "python": f"{platform.python_version()} ({sys.executable})"}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    import sqlite3

    return {**found, "sqlite": sqlite3.sqlite_version}


def _platform() -> dict[str, str]:
    return {
        "system": platform.platform(),
        "processors": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "user": str(os.geteuid()),
        "directory": os.getcwd(),
    }


def _app(app: App) -> dict[str, Any]:
    from multi.app.connections import backend_url, broker_url
    from multi.urls import mask

    app.conf.check()
    backend = backend_url(app)
    return {
        "app": {
            "name": app.main or "__main__",
            "broker": mask(broker_url(app, write=True)),
            "results": mask(backend) if backend else "disabled",
            "tasks": str(len(app.tasks)),
        },
        "settings": app.conf.shown(),
        "notes": app.conf.notes(),
    }
