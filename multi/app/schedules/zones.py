"""Clocks on the wall: which zone, and what happens where its offset changes."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import NamedTuple

from multi.errors import ConfigurationError

_SECOND = timedelta(seconds=1)


class Change(NamedTuple):
    """A change of a zone's offset. Forward, the clock never shows the times from `start` up to `end`; backward, it shows them
    twice."""

    moment: datetime
    """When, in UTC."""
    start: datetime
    end: datetime
    shift: timedelta
    """How far the clock is set, forward or (negative) back."""


def change_at(zone: tzinfo, wall: datetime) -> Change | None:
    """The change that makes the time `wall` (naive) one that isn't there, or is there twice; None for an ordinary time."""
    before = offset(zone, wall.replace(fold=0))
    after = offset(zone, wall.replace(fold=1))
    if before == after:
        return None
    # the earlier of both readings lies before the change, the later one after it
    low, high = sorted((wall - before, wall - after))
    low = low.replace(tzinfo=UTC, fold=0)
    high = high.replace(tzinfo=UTC, fold=0)
    while high - low > _SECOND:
        middle = low + ((high - low) // _SECOND + 1) // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    moment = high.replace(microsecond=0)
    start, end = sorted((moment.replace(tzinfo=None) + before, moment.replace(tzinfo=None) + after))
    return Change(moment, start, end, after - before)


def offset(zone: tzinfo, wall: datetime) -> timedelta:
    found = zone.utcoffset(wall)
    assert found is not None, "a zone that knows no offset can't be a schedule's (`known`)"
    return found


def known(zone: str | tzinfo) -> tzinfo:
    """The zone of that name, or the one given, as one that knows both readings of a repeated hour. Raises
    `ConfigurationError`."""
    if isinstance(zone, str):
        return named(zone)
    if zone is UTC:
        return UTC
    if not isinstance(zone, tzinfo):
        raise ConfigurationError(
            f"tz: {zone!r} is no time zone; give a name, as 'Europe/Zurich', or a zoneinfo.ZoneInfo"
        )
    # pytz' zones don't go by `fold`, and dateutil's not where the clock is set forward; both know their names
    name = getattr(zone, "zone", None) or str(getattr(zone, "_filename", "")).partition("zoneinfo/")[2]
    if isinstance(name, str) and name:
        return named(name)
    if zone.utcoffset(datetime.now(UTC).replace(tzinfo=None)) is None:
        raise ConfigurationError(f"tz: {zone!r} doesn't know its offset from UTC")
    return UTC if str(zone) in ("UTC", "Etc/UTC", "tzutc()") else zone


@cache
def named(name: str) -> tzinfo:
    """The zone of that name. Raises `ConfigurationError`, with the name that is near."""
    from zoneinfo import ZoneInfo, available_timezones

    if name.upper() in ("UTC", "ETC/UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    from difflib import get_close_matches

    zones = available_timezones()
    if not zones:
        raise ConfigurationError(
            f"tz: the system's time zone data is missing, {name!r} can't be found: pip install tzdata"
        )
    by_fold = {zone.casefold(): zone for zone in zones}
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in sorted(zones) if "/" in zone}
    wanted = name.casefold().replace(" ", "_")
    near = get_close_matches(wanted, by_fold, 1, 0.75)
    found = by_fold[near[0]] if near else cities.get(wanted)
    hint = f"; did you mean {found!r}?" if found else "; names are as in 'Europe/Zurich' or 'UTC'"
    raise ConfigurationError(f"tz: no time zone is called {name!r}{hint}")


@cache
def local() -> tzinfo:
    """The machine's own zone."""
    from zoneinfo import ZoneInfo

    for name in (os.environ.get("TZ", "").lstrip(":"), os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]):
        try:
            if name:
                return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            continue
    try:
        with open("/etc/localtime", "rb") as data:
            return ZoneInfo.from_file(data, key="localtime")
    except (OSError, ValueError):
        return UTC
