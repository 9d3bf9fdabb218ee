"""What a node's keeper is to go by, read from words: sizes, spans of time, limits, hooks, signals.

The command line and a description use the same spellings.
"""

from __future__ import annotations

import re
import signal
from typing import Any

from multi.errors import ConfigurationError

#: What a hook may be told of.
EVENTS = ("started", "ready", "crashed", "gave_up", "stopped", "reloaded")
#: The limits that a node's processes may be given, as the system names them (RLIMIT_NOFILE and so on).
LIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")
UNLIMITED = -1

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_size(text: str) -> int:
    """A number of bytes, as 10MB, 1.5GB, 500k or 0."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"{text!r} is no size; write it as 10MB, 1.5GB, 500k or 0")
    return int(float(found[1]) * (1 << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[found[2].lower()]))


def parse_span(text: str) -> float:
    """A span of time in seconds, from 90, 90s, 15m, 2h, 1h30m or 7d."""
    seconds, at, rest = 0.0, 0, text.strip()
    while found := _SPAN.match(rest, at):
        seconds += float(found[1]) * _SECONDS[(found[2] or "s").lower()]
        at = found.end()
        while at < len(rest) and rest[at] == " ":
            at += 1
        if found[2] is None and found.start():
            at = 0  # 2h30 may mean minutes or seconds
        if found[2] is None:
            break  # a bare number is seconds, and stands alone
    if at == 0 or at != len(rest):
        raise ConfigurationError(f"{text!r} is no span of time; write it as 90 (seconds), 15m, 2h, 1h30m or 7d")
    return seconds


def parse_limit(text: str) -> tuple[str, int | list[int]]:
    """One limit, from nofile=65536, nofile=1024:65536 (soft and hard), core=unlimited or as=2G."""
    name, equals, value = text.partition("=")
    name = name.strip().lower().removeprefix("rlimit_")
    if not equals or name not in LIMITS:
        raise ConfigurationError(
            f"{text!r} is no limit; write it as nofile=65536 or nofile=SOFT:HARD. The names: {', '.join(LIMITS)}"
        )
    return name, limit_value(name, value)


def limit_value(name: str, value: str) -> int | list[int]:
    """A limit's value: one number, or soft and hard."""
    numbers = [_limit_number(name, part) for part in value.split(":")]
    if len(numbers) > 2:
        raise ConfigurationError(f"the limit {name}={value} has more than a soft and a hard value")
    if len(numbers) == 1:
        return numbers[0]
    soft, hard = numbers
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise ConfigurationError(f"the limit {name}={value}: its soft value is above its hard one")
    return numbers


def _limit_number(name: str, text: str) -> int:
    text = text.strip()
    if text.lower() in ("unlimited", "infinity", "-1"):
        return UNLIMITED
    try:
        return parse_size(text)
    except ConfigurationError:
        raise ConfigurationError(f"the limit {name}={text}: it should be a number (65536, 512M) or unlimited") from None


def parse_hook(text: str) -> tuple[str, dict[str, Any]]:
    """One hook, from EVENT=COMMAND or EVENT=URL: the event, and what is to be done."""
    event, equals, what = text.partition("=")
    event = event.strip().replace("-", "_")
    if not equals or event not in EVENTS:
        raise ConfigurationError(
            f"{text!r} is no hook; write it as EVENT=COMMAND or EVENT=https://…. The events: {', '.join(EVENTS)}"
        )
    return event, hook_action(event, what)


def hook_action(event: str, what: str) -> dict[str, Any]:
    """A command or a URL as the keeper takes it."""
    import shlex

    if what.startswith(("http://", "https://")):
        return {"url": what}
    try:
        argv = shlex.split(what)
    except ValueError as error:
        raise ConfigurationError(f"the hook {event}={what}: {error}") from None
    if not argv:
        raise ConfigurationError(f"the hook {event}= names neither a command nor a URL")
    return {"argv": argv}


def signal_number(text: str) -> int:
    """A signal by its name, with or without SIG, or by its number."""
    name = text.strip().upper().removeprefix("SIG")
    try:
        return int(signal.Signals(int(name)) if name.isdecimal() else signal.Signals[f"SIG{name}"])
    except (KeyError, ValueError):
        raise ConfigurationError(f"{text!r} is no signal; write it as TERM, INT, USR1 or by its number") from None
