"""The types of three keys that have a form of their own: resource limits, event hooks, dependencies."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from multi.nodes.description.kinds import BAD, Duration, Kind, Schema, Words
from multi.nodes.description.positions import Path
from multi.nodes.description.problems import WARNING, Report, suggestion
from multi.nodes.policy import EVENTS, LIMITS, UNLIMITED

_URL = re.compile(r"https?://\S+")
_TCP = re.compile(r"tcp://(?:\[([0-9A-Fa-f:.]+)\]|([^:/\s\[\]]+)):(\d+)/?")
_OF_SHELLS = re.compile(r"[$|<>`;&]")
_SHELLS = frozenset(
    folder + name for name in ("sh", "bash", "dash", "zsh", "ksh") for folder in ("", "/bin/", "/usr/bin/")
)
_UNLIMITED = ("unlimited", "infinity")

#: How long a dependency is waited for unless it says otherwise.
PATIENCE = 60


class Need(NamedTuple):
    """Something that a node depends on: another node or a table of nodes, a TCP port, a command that succeeds."""

    kind: str  # "node", "tcp" or "command"; of what is wrong "unknown"
    target: tuple[str, ...]  # (name,), (host, port) or the command's words
    timeout: float = PATIENCE

    def __str__(self) -> str:
        if self.kind == "tcp":
            host, port = self.target
            return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        if self.kind == "command":
            import shlex

            return f"command: {shlex.join(self.target)}"
        return self.target[0]


#: Stands for one that could not be read.
UNKNOWN = Need("unknown", ())


class Limits(Kind):
    """Resource limits: a number for both limits, or [soft, hard]."""

    expected = "a table of limits, such as { nofile = 65536 }"
    named = "table of limits"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._bad(value, path, report)
        found: dict[str, Any] = {}
        for name, item in value.items():
            at = (*path, name)
            if name not in LIMITS:
                known = suggestion(name, LIMITS) or f"; there are {', '.join(LIMITS)}"
                report.add(at, f"there is no such limit{known}")
            elif isinstance(item, list):
                pair = [number for one in item if (number := _limit(one)) is not None]
                if len(pair) != 2 or len(item) != 2 or not _is_in_order(*pair):
                    what = 'a list [soft, hard] of whole numbers or "unlimited", the first not above the second'
                    report.expected(at, what, item)
                else:
                    found[name] = pair
            elif (number := _limit(item)) is None:
                report.expected(at, 'a whole number, "unlimited", or a list [soft, hard]', item)
            else:
                found[name] = number
        return found

    def schema(self) -> Schema:
        one = {"anyOf": [{"type": "integer", "minimum": 0}, {"enum": list(_UNLIMITED)}]}
        item = {"anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 2, "maxItems": 2}]}
        return {"type": "object", "properties": dict.fromkeys(LIMITS, item), "additionalProperties": False}


def _is_in_order(soft: int, hard: int) -> bool:
    return hard == UNLIMITED or (soft != UNLIMITED and soft <= hard)


def _limit(value: object) -> int | None:
    if isinstance(value, str) and value in _UNLIMITED:
        return UNLIMITED
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_number else None  # type: ignore[return-value]


class Hooks(Kind):
    """What is run or called when something has happened to a node."""

    expected = 'a table of events, such as { crashed = "https://…", ready = ["notify", "x"] }'
    named = "table of commands and URLs"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._bad(value, path, report)
        found: dict[str, list[dict[str, Any]]] = {}
        for event, item in value.items():
            at = (*path, event)
            if event not in EVENTS:
                known = suggestion(event, EVENTS) or f"; there are {', '.join(EVENTS)}"
                report.add(at, f"there is no such event{known}")
                continue
            is_several = isinstance(item, list) and (
                any(isinstance(one, list) for one in item)
                or all(isinstance(one, str) and _URL.fullmatch(one) for one in item)
            )
            places = [((*at, number), one) for number, one in enumerate(item)] if is_several else [(at, item)]
            hooks = [self._hook(one, place, report) for place, one in places]
            if hooks and BAD not in hooks:
                found[event] = hooks
            elif not hooks:
                report.expected(at, "a command or a URL", item)
        return found

    @staticmethod
    def written(hooks: list[dict[str, Any]]) -> Any:
        """The value that reads as these hooks."""
        items = [hook.get("url") or hook["argv"] for hook in hooks]
        return items[0] if len(items) == 1 else items

    @staticmethod
    def _hook(item: object, path: Path, report: Report) -> Any:
        if isinstance(item, str) and _URL.fullmatch(item):
            return {"url": item}
        if isinstance(item, str) and "://" in item.partition(" ")[0]:
            report.expected(path, "a command or a URL that begins with http:// or https://", item)
            return BAD
        words = Words().read(item, path, report)
        if words is BAD:
            return BAD
        if isinstance(item, str) and (found := _OF_SHELLS.search(item)) and not _SHELLS.intersection(words):
            text = f"no shell runs it, so {found[0]} means nothing; write sh -c '…' where it should"
            report.add(path, text, WARNING)
        return {"argv": words}

    def schema(self) -> Schema:
        text = {"type": "string", "minLength": 1}
        words = {"type": "array", "items": text, "minItems": 1}
        several = {"type": "array", "items": {"anyOf": [text, words]}, "minItems": 1}
        item = {"anyOf": [text, words, several]}
        return {"type": "object", "properties": dict.fromkeys(EVENTS, item), "additionalProperties": False}


class Needs(Kind):
    """What has to be there before a node is started."""

    expected = 'a list such as ["beat", "tcp://127.0.0.1:6379", { command = ["pg_isready"], timeout = "30s" }]'
    named = "list of dependencies"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            return self._bad(value, path, report)
        found = [self._need(item, (*path, number), report) for number, item in enumerate(value)]
        return [UNKNOWN if need is BAD else need for need in found]

    def _need(self, item: object, path: Path, report: Report) -> Any:
        if isinstance(item, str):
            return self._of_text(item, path, report)
        if not isinstance(item, dict):
            report.expected(path, "a node's name, tcp://HOST:PORT, or a table with command", item)
            return BAD
        timeout: Any = PATIENCE
        kinds = [name for name in ("node", "tcp", "command") if name in item]
        for name in item:
            if name not in ("node", "tcp", "command", "timeout"):
                known = (
                    suggestion(name, ("node", "tcp", "command", "timeout")) or "; there are node, tcp, command, timeout"
                )
                report.add((*path, name), f"there is no such key{known}")
                return BAD
        if len(kinds) != 1:
            report.add(
                path, "expected one of node, tcp and command" + (f", not {' and '.join(kinds)}" if kinds else "")
            )
            return BAD
        if "timeout" in item:
            timeout = Duration(zero=False).read(item["timeout"], (*path, "timeout"), report)
        kind = kinds[0]
        at = (*path, kind)
        if kind == "command":
            words = Words().read(item[kind], at, report)
            need = BAD if words is BAD else Need("command", tuple(words))
        elif not isinstance(item[kind], str):
            report.expected(at, "a text", item[kind])
            return BAD
        else:
            text = item[kind]
            need = self._of_text(text if kind == "node" or "://" in text else f"tcp://{text}", at, report)
        return BAD if BAD in (need, timeout) else need._replace(timeout=timeout)

    @staticmethod
    def _of_text(text: str, path: Path, report: Report) -> Any:
        if "://" not in text:
            if not re.fullmatch(r"\w[\w.-]*", text):
                report.expected(path, "a node's name, tcp://HOST:PORT, or a table with command", text)
                return BAD
            return Need("node", (text,))
        found = _TCP.fullmatch(text)
        if found is None or not 1 <= int(found[3]) <= 65535:
            report.expected(path, "tcp://HOST:PORT with a port from 1 to 65535", text)
            return BAD
        return Need("tcp", (found[1] or found[2], found[3]))

    def schema(self) -> Schema:
        text = {"type": "string", "minLength": 1}
        timeout = {"timeout": Duration().schema()}

        def table(name: str, kind: Schema) -> Schema:
            return {
                "type": "object",
                "properties": {name: kind, **timeout},
                "required": [name],
                "additionalProperties": False,
            }

        item = {"anyOf": [text, table("node", text), table("tcp", text), table("command", Words().schema())]}
        return {"anyOf": [text, {"type": "array", "items": item}]}
