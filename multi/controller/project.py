"""Which project a command means: that of multi.toml, else the place where `-A` is found.

The app is looked for, never imported: a broken project must not break `multi stop`.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from multi.nodes.description import Description

FILE, PYPROJECT = "multi.toml", "pyproject.toml"
_ENDINGS = ("", ".py", ".so", ".pyc")


class Project(NamedTuple):
    """A project: `key` names its folders in the state directories, `location` is where it is."""

    key: str
    location: str


def of(name: str | None, location: str) -> Project:
    """The project of that name, or without a name the one at `location`."""
    if name:
        return Project(_slug(name, r"[^\w.-]+"), location)
    import zlib

    stem = _slug(os.path.basename(location)) or "root"
    return Project(f"{stem}-{zlib.crc32(os.fsencode(location)):08x}", location)


def find(app: str | None, cwd: str) -> Project:
    """The project of the app that `-A` names, seen from `cwd`."""
    return described(cwd) or of(None, (locate(app, cwd) if app else None) or cwd)


def described(cwd: str) -> Project | None:
    """The project of the nearest multi.toml, where that names one or describes nodes."""
    settings, folder = read_settings(cwd)
    if settings.get("name") or settings.get("nodes"):
        return of(settings.get("name"), folder)
    return None


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
    """What the nearest multi.toml (or pyproject.toml with a table [tool.multi]), in `cwd` or above it, says about the project;
    and its folder. Only what every command needs is checked here; `description` checks it all."""
    path = find_file(cwd)
    if path is None:
        return {}, cwd
    return _parse(path), os.path.dirname(path)


def members(cwd: str, table: str) -> list[str]:
    """The nodes that a table with a count makes, by the nearest multi.toml."""
    nodes = read_settings(cwd)[0].get("nodes")
    found = nodes.get(table) if isinstance(nodes, dict) else None
    count = found.get("count") if isinstance(found, dict) else None
    return [f"{table}{number}" for number in range(1, count + 1)] if isinstance(count, int) and count <= 1000 else []


def describes(cwd: str, short: str) -> bool:
    """Whether the nearest multi.toml describes a node of this short name."""
    nodes = read_settings(cwd)[0].get("nodes")
    if not isinstance(nodes, dict):
        return False
    return any(
        short in members(cwd, name) or (name == short and isinstance(table, dict) and "count" not in table)
        for name, table in nodes.items()
    )


def find_file(cwd: str) -> str | None:
    """The file that describes the project which `cwd` belongs to. In one folder multi.toml is the one that counts."""
    folder = cwd
    while True:
        path = os.path.join(folder, FILE)
        if os.path.lexists(path):
            return path  # whether it can be read is seen by whoever reads it
        path = os.path.join(folder, PYPROJECT)
        if has_table(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def description(cwd: str, path: str | None = None) -> Description:
    """The nearest description, or the one in the file `path`; its `problems` tell what is wrong with it."""
    import shutil

    from multi.nodes.description import OF_PYPROJECT, Problem, describe

    path = path or find_file(cwd)
    if path is None:
        raise ConfigurationError(
            f"there is no {FILE} in {cwd} or above it, and no {PYPROJECT} with a table [tool.multi]; `multi init` writes one"
        )
    is_pyproject = os.path.basename(path) == PYPROJECT
    found = describe(_text(path), path, prefix=OF_PYPROJECT if is_pyproject else (), which=shutil.which)
    other = os.path.join(os.path.dirname(path), PYPROJECT)
    if not is_pyproject and has_table(other):
        text = f"{other} has a table [tool.multi] too, which nobody reads; put all of it into one of them"
        found.problems.append(Problem(path, 0, "", text))
    return found


_parsed: dict[tuple[str, int], dict[str, Any]] = {}  # by path and time of change: a command asks more than once
_complain: Callable[[str], None] | None = None


_remains: dict[str, dict[str, Any]] = {}  # of those of which was told that they can't be read


def tolerate(complain: Callable[[str], None] | None) -> None:
    """What only looks at nodes that are kept, or stops them, goes on without a description that can't be read: `complain`
    is told so, once. With None it is an error, as for all that needs the description."""
    global _complain
    _complain = complain
    _remains.clear()


def _parse(path: str) -> dict[str, Any]:
    try:
        return _parse_sound(path)
    except ConfigurationError as error:
        if _complain is None:
            raise
        if path not in _remains:
            # of an error in the description the first line says no more than that it is one
            head, _, rest = str(error).partition("\n    ")
            _complain(f"{(rest or head).partition(chr(10))[0]}; going on without the description")
            _remains[path] = _remains_of(path)
        return _remains[path]


def _remains_of(path: str) -> dict[str, Any]:
    from multi.controller import remains

    try:
        settings: Any = remains.of(_text(path))
        if os.path.basename(path) == PYPROJECT:
            settings = settings["tool"]["multi"]
        return {name: settings[name] for name in ("name", "state_dir", "nodes") if _is_sound(settings, name)}
    except (ConfigurationError, KeyError, TypeError, AttributeError):
        return {}


def _parse_sound(path: str) -> dict[str, Any]:
    import tomllib

    try:
        key = (path, os.stat(path).st_mtime_ns)
    except OSError:
        key = (path, 0)  # told below
    if key in _parsed:
        return _parsed[key]
    try:
        settings: Any = tomllib.loads(_text(path))
        if os.path.basename(path) == PYPROJECT:
            settings = settings["tool"]["multi"]
    except tomllib.TOMLDecodeError:
        settings = {}
        description("", path)  # says it with the line
    if not isinstance(settings, dict) or not all(
        name not in settings or _is_sound(settings, name) for name in ("name", "state_dir")
    ):
        description("", path).check()
    _parsed[key] = settings
    return _parsed[key]


def _is_sound(settings: dict[str, Any], name: str) -> bool:
    """Whether a setting is there and can be used, of those that every command needs."""
    value = settings.get(name)
    if name == "nodes":
        return isinstance(value, dict)
    return isinstance(value, str) and bool(value) and (name != "name" or any(map(str.isalnum, value)))


def _text(path: str) -> str:
    import stat

    try:
        # a pipe would be waited for
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), encoding="utf-8") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigurationError(f"{path} can't be read: it is no plain file")
            return file.read()
    except IsADirectoryError:
        raise ConfigurationError(f"{path} can't be read: it is a directory") from None
    except FileNotFoundError as error:
        if not os.path.islink(path):
            raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
        raise ConfigurationError(
            f"{path} can't be read: it is a link to {os.readlink(path)}, which isn't there"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} can't be read: it is no UTF-8 ({error.reason} at byte {error.start})"
        ) from error


def has_table(path: str) -> bool:
    """Whether a pyproject.toml has a table for us."""
    try:
        with open(path, "rb") as file:
            return re.search(rb"^\s*\[\s*tool\s*\.\s*multi\s*[.\]]", file.read(), re.MULTILINE) is not None
    except OSError:
        return False  # not there, or not ours to read


def _slug(text: str, unfit: str = r"[^A-Za-z0-9._-]+") -> str:
    return re.sub(unfit, "-", text).strip("-.")[:60]
