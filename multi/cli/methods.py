"""The commands that workers understand, with the arguments that stand for them on a command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from multi.errors import ConfigurationError

INSPECT, CONTROL = "inspect", "control"


class Method(NamedTuple):
    """One command: its arguments in their order with what reads each, and the name of that which takes all further words.

    `least` is how many words it needs, `named` what stands as name=value alone. With `pairs` its further words are name=value
    themselves.
    """

    name: str
    kind: str
    help: str
    signature: str = ""
    args: Sequence[tuple[str, Callable[[str], Any] | None]] = ()
    variadic: str | None = None
    least: int = 0
    alias: str | None = None
    visible: bool = True
    named: Sequence[tuple[str, Callable[[str], Any]]] = ()
    pairs: bool = False


def _truth(text: str) -> bool:
    found = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in found:
        raise ValueError(text)
    return found[text.lower()]


def _value(text: str) -> Any:
    """JSON, or else the text."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _rate(text: str) -> str:
    number, _, unit = text.partition("/")
    float(number)
    if unit not in ("", "s", "m", "h"):
        raise ValueError(text)
    return text


#: What stands for an argument, by what reads it.
_EXPECTED: dict[Callable[[str], Any], str] = {
    int: "a whole number",
    float: "a number",
    _truth: "yes or no",
    _rate: "a rate as 10/s, 100/m or 5/h",
}


_QUEUE = (("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str))

_ALL = (
    Method("active", INSPECT, "The tasks that run.", alias="dump_active"),
    Method("active_queues", INSPECT, "The queues that workers consume from."),
    Method("clock", INSPECT, "The logical clocks."),
    Method(
        "conf",
        INSPECT,
        "The settings, without their secrets; with yes, those that have their defaults, too.",
        "[with_defaults=no]",
        (("with_defaults", _truth),),
        alias="dump_conf",
    ),
    Method("hello", INSPECT, "What workers tell each other.", "<from_node>", (("from_node", str),), None, 1, None, False),
    Method("memdump", INSPECT, "Memory at the last samples.", "[samples=10]", (("samples", int),)),
    Method("memsample", INSPECT, "Memory that is taken now."),
    Method(
        "objgraph",
        INSPECT,
        "Draw which objects keep others alive, into a file on the worker's host.",
        "[type=Request [num=200 [max_depth=10]]]",
        (("type", str), ("num", int), ("max_depth", int)),
    ),
    Method("ping", INSPECT, "Who is there."),
    Method("query_task", INSPECT, "What is known of tasks, by their ids.", "<id>...", (), "ids", 1),
    Method(
        "registered",
        INSPECT,
        "The tasks that workers know, with these attributes of theirs.",
        "[attribute]...",
        (),
        "taskinfoitems",
        alias="dump_tasks",
    ),
    Method("report", INSPECT, "A text for a bug report."),
    Method("reserved", INSPECT, "The tasks that are taken and not begun.", alias="dump_reserved"),
    Method("revoked", INSPECT, "The ids of revoked tasks.", alias="dump_revoked"),
    Method("scheduled", INSPECT, "The tasks that wait for their time (multi's: in the broker).", alias="dump_schedule"),
    Method("stats", INSPECT, "Figures: pool, broker, totals by task, resources."),
    Method("add_consumer", CONTROL, "Consume from a queue, too.", "<queue> [exchange [type [routing_key]]]", _QUEUE, None, 1),
    Method("autoscale", CONTROL, "Keep between min and max children.", "<max> [min]", (("max", int), ("min", int)), None, 1),
    Method("cancel_consumer", CONTROL, "No longer consume from a queue.", "<queue>", (("queue", str),), None, 1),
    Method("disable_events", CONTROL, "Send no events of tasks any more."),
    Method(
        "election",
        CONTROL,
        "Have one worker of all send a task: the topic is task, the action its signature as JSON.",
        "<id> <topic> [action]",
        (("id", str), ("topic", str), ("action", _value)),
        None,
        2,
    ),
    Method("enable_events", CONTROL, "Send an event for each step of tasks."),
    Method("heartbeat", CONTROL, "Send a heartbeat now."),
    Method("pool_grow", CONTROL, "Run more children.", "[n=1]", (("n", int),)),
    Method(
        "pool_restart",
        CONTROL,
        "Replace the children; modules are imported before, with reload=yes once more.",
        "[module]... [reload=no]",
        (),
        "modules",
        named=(("reload", _truth),),
    ),
    Method("pool_shrink", CONTROL, "Run fewer children.", "[n=1]", (("n", int),)),
    Method(
        "rate_limit",
        CONTROL,
        "Begin a task no more often than this; 0 ends the limit.",
        "<task> <rate, as 10/s, 100/m or 5/h>",
        (("task_name", str), ("rate_limit", _rate)),
        None,
        2,
    ),
    Method("revoke", CONTROL, "Have tasks not run any more, by their ids.", "<id>...", (), "task_id", 1),
    Method(
        "revoke_by_stamped_headers",
        CONTROL,
        "The same for all tasks with these stamps.",
        "<header=value>...",
        (),
        "headers",
        1,
        pairs=True,
    ),
    Method("shutdown", CONTROL, "End when what runs is done."),
    Method("terminate", CONTROL, "End tasks that run, and revoke them.", "<signal> <id>...", (("signal", str),), "task_id", 2),
    Method(
        "time_limit",
        CONTROL,
        "For how long (s) a task may run.",
        "<task> <soft> [hard]",
        (("task_name", str), ("soft", float), ("hard", float)),
        None,
        2,
    ),
)  # fmt: skip

METHODS: dict[str, Method] = {method.name: method for method in _ALL}


def find(name: str, kind: str, known: Mapping[str, Method]) -> Method:
    """The command of this name, or of this former name. Raises `ConfigurationError`, with what was probably meant."""
    by_alias = {method.alias: method for method in known.values() if method.alias}
    found = known.get(name) or by_alias.get(name) or known.get(name.replace("-", "_"))
    if found is None:
        same = [method.name for method in known.values() if method.kind == kind]
        hint = f"`multi {kind} --list` lists them."
        if near := get_close_matches(name, same, 1, 0.6):
            hint = f"did you mean {near[0]}?"
        elif near := get_close_matches(name, list(known), 1, 0.6):
            hint = f"did you mean `multi {known[near[0]].kind} {near[0]}`?"
        raise ConfigurationError(
            f"there is no {kind} command {name!r}; {hint} One of your project's own is known with -A, or sent with --any"
        )
    if found.kind != kind:
        raise ConfigurationError(f"{found.name} is no {kind} command; did you mean `multi {found.kind} {found.name}`?")
    return found


def arguments(method: Method, words: Sequence[str]) -> dict[str, Any]:
    """The arguments that these words stand for: in their order, or as name=value. Raises `ConfigurationError`."""
    found: dict[str, Any] = {}
    names = {**dict(method.args), **dict(method.named)}
    left = list(method.args)
    rest: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in names and name not in found:
            found[name] = _read(method, name, value, names[name])
            left = [each for each in left if each[0] != name]
        elif equals and name == method.variadic and not method.pairs:
            rest.append(value)
        elif equals and method.named:
            raise ConfigurationError(f"{method.name}: {word!r} is none of its arguments; it takes {method.signature}")
        elif left:
            name, reads = left.pop(0)
            found[name] = _read(method, name, word, reads)
        else:
            rest.append(word)
    if rest and method.variadic is None:
        takes = f"it takes {method.signature}" if method.signature else "it takes no arguments"
        raise ConfigurationError(f"{method.name}: {rest[0]!r} is too much; {takes}")
    if method.variadic is not None:
        if rest or method.least:
            found[method.variadic] = rest
    missing = method.least > len(words) or (
        method.variadic is not None and method.least > len(method.args) and not rest
    )
    if missing:
        raise ConfigurationError(f"{method.name} needs more: {method.name} {method.signature}")
    return found


def _read(method: Method, name: str, word: str, reads: Callable[[str], Any] | None) -> Any:
    if reads is None:
        return word
    try:
        return reads(word)
    except (ValueError, TypeError) as error:
        expected = _EXPECTED.get(reads, "")
        told = f"should be {expected}, not {word!r}" if expected else f"can't be {word!r}: {error}"
        raise ConfigurationError(f"{method.name}: {name} {told}") from None


def free_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Arguments of a command that isn't known here: name=value, the values as JSON or else as texts."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ConfigurationError(
                f"{word!r}: the arguments of a command that isn't known here are written name=value"
            )
        found[name] = _value(value)
    return found
