"""The types of settings: what is taken for a bool, a number, a span of time or a list, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from multi.config.table import Setting
from multi.errors import ConfigurationError


class OwnName(str):
    """A name of the project's own, also where it looks like a setting's: it stands outside of the namespace."""

    __slots__ = ()


_WORDS = {
    "bool": "True or False",
    "int": "a whole number",
    "number": "a number",
    "seconds": "a number of seconds or a timedelta",
    "str": "a text",
    "list": "a list of texts",
    "dict": "a dictionary",
    "zone": "the name of a time zone, as in Europe/Berlin",
}
_ZONES = "/usr/share/zoneinfo"
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


def convert(setting: Setting, value: Any, key: str, *, from_text: bool = False) -> Any:
    """`value` in the type of `setting`; `key` is the name under which it came. Raises `ConfigurationError`."""
    if value is None:
        return value
    if setting.name in _REFUSED and (wrong := _REFUSED[setting.name](value)):
        raise ConfigurationError(f"{key} {wrong}")
    if setting.kind == "any":
        return value
    try:
        return _CONVERTERS[setting.kind](value, from_text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{key}: {error}") from None
    except (TypeError, ValueError, OverflowError):
        shown = repr(value)
        if any(word in setting.name for word in ("password", "secret", "key", "url", "backend")):
            shown = f"a {type(value).__name__}"
        raise ConfigurationError(f"{key} should be {_WORDS[setting.kind]}, not {shown}") from None


def _no_router(value: Any) -> str:
    """What to say of routes that are neither a table, nor a router, nor a list of these; what they hold is looked at later."""
    if not value or isinstance(value, str | list | tuple | Mapping) or callable(value):
        return ""
    if hasattr(value, "route_for_task"):
        return ""
    return f"is no router: it should be a table, a function, the path of one, or a list of these, not {value!r}"


def _no_queue(value: Any) -> str:
    return "" if value else "should be the name of a queue, and is empty"


#: What the type alone doesn't tell, and would otherwise show at the first message.
_REFUSED: dict[str, Callable[[Any], str]] = {"task_routes": _no_router, "task_default_queue": _no_queue}


def _bool(value: Any, from_text: bool) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ValueError(value)
    if value in (0, 1):
        return bool(value)
    raise TypeError(value)


def _int(value: Any, from_text: bool) -> int:
    number = float(value) if isinstance(value, str) else value
    if isinstance(number, bool) or int(number) != number:
        raise ValueError(value)
    return int(number)


def _number(value: Any, from_text: bool) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    if isinstance(value, int | float):
        return value
    return float(value)


def _seconds(value: Any, from_text: bool) -> float:
    total = getattr(value, "total_seconds", None)
    if total is not None:
        span: float = total()
        return span
    return _number(value, from_text)


def _str(value: Any, from_text: bool) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _list(value: Any, from_text: bool) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()] if from_text else [value]
    if isinstance(value, tuple | list):
        return value
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(value)


def _dict(value: Any, from_text: bool) -> dict[str, Any]:
    if from_text:
        import msgspec

        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise ValueError(value) from None
    return dict(value)


def _zone(value: Any, from_text: bool) -> str:
    if not isinstance(value, str):
        key = getattr(value, "key", None)  # a ZoneInfo is understood by its name
        if not isinstance(key, str):
            raise TypeError(value)
        return key
    if not value or value.upper() == "UTC" or (".." not in value and os.path.isfile(f"{_ZONES}/{value}")):
        return value
    # only now, since the import takes longer than all of ours
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
        if known:  # a system without any is told where a zone is needed, in the worker
            from difflib import get_close_matches

            near = get_close_matches(value, known, 1, 0.75)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"no time zone is called {value!r}{hint}") from None
    return value


_CONVERTERS = {
    "bool": _bool,
    "int": _int,
    "number": _number,
    "seconds": _seconds,
    "str": _str,
    "list": _list,
    "dict": _dict,
    "zone": _zone,
}
