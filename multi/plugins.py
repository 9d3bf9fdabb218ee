"""Looks up implementations by the entry points under which they are installed.

Our own brokers, backends, pools and engines come in by the same door as anybody else's. But the list of our own
distribution is read first, and by ourselves: `importlib.metadata` costs every producer and node some 10 ms and 2 MB, and
is needed only for what others have installed.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from multi.errors import ConfigurationError

DISTRIBUTION = "multi-workers"

_WORDS = {
    "multi.brokers": ("broker", "URL scheme"),
    "multi.backends": ("result backend", "URL scheme"),
    "multi.pools": ("pool", "name"),
    "multi.engines": ("engine", "name"),
    "multi.units": ("unit format", "name"),
    "multi.serializers": ("serializer", "name"),
    "multi.middleware": ("middleware", "name"),
}

_found: dict[tuple[str, str], Any] = {}
_own: dict[tuple[str, str], str] | None = None


def find(group: str, name: str) -> Any:
    """What is installed as `name` in `group`, for instance ("multi.brokers", "redis"). Raises `ConfigurationError`."""
    key = (group, name)
    if key not in _found:
        own = _ours().get(key)
        target = own or _others(group, name)
        if target is None:
            kind, what = words(group)
            known = ", ".join(names(group)) or f"none: is the distribution {DISTRIBUTION} installed?"
            raise ConfigurationError(f"no {kind} has the {what} {name!r}; there are: {known}")
        try:
            _found[key] = _load(target)
        except Exception as error:
            if own is not None:
                raise  # whoever asked knows which extra is missing
            raise broken(group, name, error) from error
    return _found[key]


def _load(target: str) -> Any:
    module, _, attributes = target.partition(":")
    found: Any = import_module(module)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    return found


def broken(group: str, name: str, why: object) -> ConfigurationError:
    """That what somebody has installed as `name` can't be used, and whose it is."""
    from importlib.metadata import entry_points

    point = next(iter(entry_points(group=group, name=name)), None)
    dist = point.dist if point is not None else None
    whose = f" (of {dist.name} {dist.version})" if dist is not None else ""
    what = f" as {point.value}" if point is not None else ""
    text = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else str(why)
    return ConfigurationError(f"the {words(group)[0]} {name!r}{whose} can't be loaded{what}: {text}")


def words(group: str) -> tuple[str, str]:
    """What the implementations in a group are called, and by what they are known: a broker, by its URL scheme."""
    return _WORDS.get(group, (group, "name"))


def names(group: str) -> list[str]:
    """All names in `group`, sorted."""
    from importlib.metadata import entry_points

    return sorted({name for own, name in _ours() if own == group} | {point.name for point in entry_points(group=group)})


def _others(group: str, name: str) -> str | None:
    from importlib.metadata import entry_points

    return next((point.value for point in entry_points(group=group, name=name)), None)


def _ours() -> dict[tuple[str, str], str]:
    """(group, name) -> "module:attribute" of our own distribution; empty where it isn't found, and then it is slow."""
    global _own
    if _own is None:
        _own = _read()
    return _own


def _read() -> dict[tuple[str, str], str]:
    prefix = DISTRIBUTION.replace("-", "_") + "-"
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            if entry.startswith(prefix) and entry.endswith(".dist-info"):
                try:
                    with open(os.path.join(folder, entry, "entry_points.txt"), encoding="utf-8") as file:
                        return _parse(file.read())
                except OSError:
                    continue
    return {}


def _parse(text: str) -> dict[tuple[str, str], str]:
    """The entries of an `entry_points.txt`, an INI file of groups with lines `name = module:attribute`."""
    found = {}
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            found[group, name.strip()] = target.partition("[")[0].strip()
    return found
