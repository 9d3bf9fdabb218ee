"""Which project a command means: the `name` in multi.toml, else the place where `-A` is found.

The app is looked for, never imported: a broken project must not break `multi stop`.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, NamedTuple

from multi.errors import ConfigurationError

FILE = "multi.toml"
_ENDINGS = ("", ".py", ".so", ".pyc")


class Project(NamedTuple):
    """A project: `key` names its folders in the state directories, `location` is where it is."""

    key: str
    location: str


def of(name: str | None, location: str) -> Project:
    """The project of that name, or without a name the one at `location`."""
    if name:
        return Project(_slug(name), location)
    import zlib

    stem = _slug(os.path.basename(location)) or "root"
    return Project(f"{stem}-{zlib.crc32(os.fsencode(location)):08x}", location)


def find(app: str | None, cwd: str) -> Project:
    """The project of the app that `-A` names, seen from `cwd`."""
    settings, folder = read_settings(cwd)
    if settings.get("name"):
        return of(settings["name"], folder)
    return of(None, (locate(app, cwd) if app else None) or cwd)


def locate(app: str, cwd: str) -> str | None:
    """The folder from which the app's top module would be imported; None where nothing is found."""
    top = re.split(r"[.:]", app, maxsplit=1)[0]
    if not top.isidentifier():
        return None
    paths = [cwd, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]
    for path in paths:
        folder = os.path.join(cwd, path)
        if any(os.path.exists(os.path.join(folder, top + ending)) for ending in _ENDINGS):
            # of installed packages there are many in one folder; each is a project of its own
            installed = os.path.basename(folder) in ("site-packages", "dist-packages")
            return os.path.join(folder, top) if installed else os.path.normpath(folder)
    return None


def read_settings(cwd: str) -> tuple[dict[str, Any], str]:
    """What the nearest multi.toml, in `cwd` or above it, says about the project; and its folder."""
    folder = cwd
    while True:
        path = os.path.join(folder, FILE)
        if os.path.isfile(path):
            return _parse(path), folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return {}, cwd
        folder = parent


def _parse(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            settings = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error
    for key in ("name", "state_dir"):
        if key in settings and (not isinstance(settings[key], str) or not settings[key]):
            raise ConfigurationError(f"{path}: {key} should be a text, not {settings[key]!r}")
    return settings


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60]
