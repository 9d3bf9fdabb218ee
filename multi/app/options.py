"""The options of calls: which there are, and what their values can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from multi.errors import ConfigurationError, UnsupportedOption
from multi.topology import mode

#: Options of a call that become headers under another name, or as they are.
HEADERS = {
    "group_id": "group",
    "group_index": "group_index",
    "retries": "retries",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "shadow": "shadow",
    "origin": "origin",
    "argsrepr": "argsrepr",
    "kwargsrepr": "kwargsrepr",
    "replaced_task_nesting": "replaced_task_nesting",
}
EMBED = {"link": "callbacks", "link_error": "errbacks", "chain": "chain", "chord": "chord"}

#: Properties of AMQP that a sender may set; other brokers carry them too.
PROPERTIES = ("message_id", "app_id", "user_id", "type", "timestamp", "expiration")

#: All that `apply_async` understands. (`mandatory` asks for what is so anyway: what no queue takes is an error.)
OPTIONS = frozenset(
    (
        *HEADERS,
        *EMBED,
        *("task_id", "countdown", "eta", "expires", "queue", "priority", "serializer", "compression", "headers"),
        *("time_limit", "soft_time_limit", "ignore_result", "reply_to", "delivery_mode", "retry", "retry_policy"),
        *("add_to_parent", "stamped_headers", "exchange", "routing_key", "exchange_type"),
        *("result_cls", "timeout", "confirm_timeout", "mandatory"),
        *PROPERTIES,
    )
)
REFUSED = {
    **dict.fromkeys(
        ("producer", "publisher", "connection"),
        "the app holds its connections itself, and many messages go out at once with app.send_many or a group",
    ),
    "router": "set task_routes, or name queue, exchange and routing_key",
    "declare": "name what is to be declared in task_queues",
}


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse what `apply_async` doesn't know or doesn't act upon."""
    if OPTIONS.issuperset(options):
        return
    stamps = options.get("stamped_headers") or ()
    for key in options:
        if key in OPTIONS or key in stamps:
            continue
        if key in REFUSED:
            if options[key] is None:
                continue
            raise UnsupportedOption(f"apply_async takes no {key} here: {REFUSED[key]}")
        from difflib import get_close_matches

        near = get_close_matches(key, OPTIONS, 1, 0.75)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"apply_async has no option {key!r}{hint}")


#: The highest priority that every broker knows.
HIGHEST = 9


def check_values(options: Mapping[str, Any]) -> None:
    """Refuse values that make no sense, at the call: what a program of ours asks for, not what comes in a message.

    Raises `TypeError`, `ValueError`, or `UnsupportedOption` for what is not acted upon yet.
    """
    for key, value in options.items():
        if value is not None and key in _CHECKS:
            _CHECKS[key](key, value)
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if hard and soft and soft > hard:
        raise ValueError(f"soft_time_limit ({soft}) should not be above time_limit ({hard}): it would never be reached")


def span(key: str, value: Any) -> float:
    """A span of time in seconds."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise TypeError(f"{key} should be a number of seconds, not {value!r}")
    if abs(seconds) > _AGES:
        raise ValueError(f"{key} is out of range: {value!r} is more than 1000 years")
    return float(seconds)


_AGES = 1000 * 365.25 * 86400


def _limit(key: str, value: Any) -> None:
    if isinstance(value, timedelta) or span(key, value) < 0:  # it travels as a number
        raise ValueError(f"{key} should be a number of seconds from 0 on, not {value!r}")


def _priority(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} should be a whole number, not {value!r}")
    if not 0 <= value <= 255:
        raise ValueError(f"{key} should be from 0 to 9 (on RabbitMQ up to the queue's x-max-priority), not {value}")


def _text(key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{key} should be a text, not {value!r}")


def _task_id(key: str, value: Any) -> None:
    if not isinstance(value, str):
        hint = f"; as in task_id=str({type(value).__name__.lower()})" if type(value).__name__ == "UUID" else ""
        raise TypeError(f"{key} should be a text, not {value!r}{hint}")


def _queue(key: str, value: Any) -> None:
    name = getattr(value, "name", value)  # a kombu.Queue is understood by its name
    if not isinstance(name, str):
        raise TypeError(f"{key} should be the name of a queue, not {value!r}")
    if not name.strip():
        raise ValueError(f"{key} should be the name of a queue, not an empty text")


def _mode(key: str, value: Any) -> None:
    try:
        mode(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


def _exchange(key: str, value: Any) -> None:
    if not isinstance(getattr(value, "name", value), str):
        raise TypeError(f"{key} should be the name of an exchange, not {value!r}")


def _mapping(key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{key} should be a dictionary, not {value!r}")


def _policy(key: str, value: Any) -> None:
    _mapping(key, value)
    for name, number in value.items():
        if name == "retry_errors":
            if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in number or ()):
                raise TypeError(f"{key}['retry_errors'] should be classes of exceptions, not {number!r}")
            continue
        if name not in _POLICY:
            raise TypeError(f"retry_policy has no {name!r}; it has {', '.join(_POLICY)}, retry_errors")
        if number is not None or name != "max_retries":
            span(f"{key}[{name!r}]", number)


_POLICY = ("max_retries", "interval_start", "interval_step", "interval_max")


def _link(key: str, value: Any) -> None:
    for item in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(item, Mapping) or "task" not in item:
            hint = f": write {item.name}.s()" if hasattr(item, "apply_async") and hasattr(item, "name") else ""
            raise TypeError(f"{key} should be a signature or a list of them, not {item!r}{hint}")


def _chord(key: str, value: Any) -> None:
    if not isinstance(value, Mapping) or "task" not in value:
        raise TypeError(f"{key} should be the signature of a chord's body, not {value!r}")


def _span(key: str, value: Any) -> None:
    span(key, value)


def _class(key: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{key} should be a class that is made of a task's id, not {value!r}")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "result_cls": _class,
    "timeout": _limit,
    "confirm_timeout": _limit,
    "priority": _priority,
    "queue": _queue,
    "exchange": _exchange,
    "routing_key": _text,
    "exchange_type": _text,
    "delivery_mode": _mode,
    "task_id": _task_id,
    "time_limit": _limit,
    "soft_time_limit": _limit,
    "countdown": _span,
    "serializer": _text,
    "compression": _text,
    "shadow": _text,
    "reply_to": _text,
    "root_id": _text,
    "parent_id": _text,
    "group_id": _text,
    "headers": _mapping,
    "retry_policy": _policy,
    "link": _link,
    "link_error": _link,
    "chord": _chord,
}
