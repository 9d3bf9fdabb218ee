"""Schedules as they are kept: plain values, with a version.

    {"v": 1, "kind": "crontab", "with": {"minute": "*/5", "hour": "8-17", …}, "tz": "Europe/Zurich"}
    {"v": 1, "kind": "interval", "with": {"run_every": 300, "relative": false}}
    {"v": 1, "kind": "solar", "with": {"event": "sunset", "lat": 47.37, "lon": 8.54}}
    {"v": 1, "kind": "proj.schedules:Workdays", "with": {…}}

A class of a project's own is kept as its name and the arguments that make it again (`BaseSchedule.arguments`). It is looked for
among the modules that are loaded, and nowhere else: what is kept can't have anything imported, and nothing is pickled.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import msgspec

from multi.app.schedules.base import BaseSchedule
from multi.app.schedules.cron import crontab
from multi.app.schedules.interval import schedule
from multi.app.schedules.sun import solar
from multi.errors import DecodeError, EncodeError, MultiError

VERSION = 1
_KINDS: dict[str, type[BaseSchedule]] = {"crontab": crontab, "interval": schedule, "solar": solar}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(given: BaseSchedule) -> dict[str, Any]:
    """A schedule as plain values. Raises `EncodeError` for one that only its own code can make."""
    kind = type(given)
    if given.nowfun is not None:
        raise EncodeError(f"{given!r} has a clock of its own (nowfun), which can't be kept")
    found: dict[str, Any] = {"v": VERSION, "kind": _NAMES.get(kind) or f"{kind.__module__}:{kind.__qualname__}"}
    try:
        found["with"] = msgspec.to_builtins(given.arguments())
        if given.own_tz is not None:
            found["tz"] = _zone(given.own_tz)
        if kind not in _NAMES:
            _prove(given, found)
    except EncodeError:
        raise
    except (MultiError, AttributeError, TypeError, ValueError) as error:
        raise EncodeError(
            f"{given!r} can't be kept: {error}. A schedule of your own is kept by the arguments of its class: each is an "
            "attribute of that name with a plain value, or `arguments()` tells them"
        ) from error
    return found


def decode(kept: Mapping[str, Any]) -> BaseSchedule:
    """The schedule that was kept. Raises `DecodeError`."""
    if not isinstance(kept, Mapping) or kept.get("v") != VERSION:
        version = kept.get("v") if isinstance(kept, Mapping) else None
        raise DecodeError(f"a schedule of version {version!r}; this multi knows version {VERSION}")
    name, arguments = kept.get("kind"), kept.get("with")
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise DecodeError("a schedule without kind and arguments")
    kind = _KINDS.get(name) or _loaded(name)
    try:
        found = kind(**arguments)
        zone = kept.get("tz")
        if zone is not None:
            found = found.within(timezone(timedelta(seconds=zone)) if isinstance(zone, int | float) else zone)
    except (MultiError, TypeError, ValueError, OverflowError) as error:
        raise DecodeError(f"a schedule {name} that can't be: {error}") from error
    return found


def _prove(given: BaseSchedule, found: dict[str, Any]) -> None:
    """That what is kept makes the same schedule again."""
    again = decode(found)
    if again.arguments() != given.arguments():
        raise EncodeError(f"{given!r} can't be kept: made again it is {again!r}")


def _loaded(name: str) -> type[BaseSchedule]:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    if found is None:
        raise DecodeError(f"the schedule {name}: its module isn't loaded here")
    for part in path.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, BaseSchedule)):
        raise DecodeError(f"{name} is no schedule's class")
    return found


def _zone(zone: tzinfo) -> str | float:
    name = getattr(zone, "key", None) or str(zone)
    if isinstance(zone, timezone) and name != "UTC":
        offset = zone.utcoffset(datetime.now())  # noqa: DTZ005 - a fixed one
        return offset.total_seconds()
    from multi.app.schedules.zones import named

    named(name)
    return name
