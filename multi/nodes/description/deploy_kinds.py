"""The types of values that only deploys have: batch sizes, secrets, hooks of a deploy, names of hosts."""

from __future__ import annotations

import re
from typing import Any

from multi.nodes.description.kinds import BAD, Kind, Schema, ShellLine, Words
from multi.nodes.description.positions import Path
from multi.nodes.description.problems import Report, suggestion

#: What a deploy runs at which moment, and where: on each host in the release's folder, on one of them, or here.
DEPLOY_HOOKS = {
    "before": "here, before anything is done",
    "before_build": "on each host, in the new release, before its environment is built, or linked where it is there",
    "after_build": "on each host, in the new release, when its environment is there",
    "migrate": "on one host, in the new release, before any node runs it",
    "before_restart": "on each host, before its nodes are restarted",
    "after_restart": "on each host, when its nodes are restarted and up",
    "after": "here, when all hosts have the release",
    "failed": "here, when the deploy has failed",
}
_SOURCES = ("env", "file", "command")
#: The formats of units that deploys write.
UNIT_FORMATS = ("systemd", "supervisord")
_RANGE = re.compile(r"\[(\d+):(\d+)\]")
_LARGEST = 10_000


class Serial(Kind):
    """Sizes of batches: numbers of hosts, or shares of all of them."""

    expected = 'a number of hosts, a share such as "25%", or a list of these'
    named = "number, share, or list of them"

    def read(self, value: object, path: Path, report: Report) -> Any:
        items = value if isinstance(value, list) else [value]
        for number, item in enumerate(items):
            is_number = isinstance(item, int) and not isinstance(item, bool) and item >= 1
            if not is_number and not (isinstance(item, str) and _is_share(item)):
                report.expected((*path, number) if isinstance(value, list) else path, self.expected, item)
                return BAD
        return items or self._bad(value, path, report)

    def schema(self) -> Schema:
        one = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d+(\.\d+)?%$"}]}
        return {"anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 1}]}


def _is_share(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?%", text) is not None and 0 < float(text[:-1]) <= 100


class Percentage(Kind):
    """A number from 0 to 100."""

    expected = "a number from 0 to 100"
    named = "percentage"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100:
            return float(value)
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"type": "number", "minimum": 0, "maximum": 100}


class Ratio(Kind):
    """A number above 0: how many times as much."""

    expected = "a number above 0, such as 1.5"
    named = "number"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
            return float(value)
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"type": "number", "exclusiveMinimum": 0}


class Absolute(Kind):
    """An absolute path on a host, other than its root; nothing in it leads upwards."""

    expected = 'an absolute path, such as "/srv/shop"'
    named = "absolute path"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, str) and value.startswith("/") and _is_plain(value[1:]):
            return value
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^/[^/]"}


class Below(Kind):
    """Paths below a folder that isn't known yet; none leads out of it."""

    expected = 'paths below the release, such as ["media"]'
    named = "list of paths"

    def read(self, value: object, path: Path, report: Report) -> Any:
        found = []
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(item, str) or not _is_plain(item.removesuffix("/")):
                where = (*path, number) if isinstance(value, list) else path
                report.expected(where, 'a path below the release, such as "media"', item)
                return BAD
            found.append(item.removesuffix("/"))
        return found

    def schema(self) -> Schema:
        text = {"type": "string", "pattern": "^[^/]"}
        return {"anyOf": [text, {"type": "array", "items": text}]}


def _is_plain(text: str) -> bool:
    """Whether a path goes down only, by names."""
    return "\0" not in text and "\n" not in text and all(part not in ("", ".", "..") for part in text.split("/"))


class Secrets(Kind):
    """Where the values of secret variables come from. The values themselves are never in the file."""

    expected = 'a table such as { DB_PASSWORD = { env = "DB_PASSWORD" }, KEY = { command = "pass shop/key" } }'
    named = "table of sources"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._bad(value, path, report)
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for name, item in value.items():
            at = (*path, name)
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                report.add(at, f"{name!r} can't be a variable's name: letters, digits and '_' can stand in it")
                continue
            if not isinstance(item, dict) or len(item) != 1:
                what = 'one of { env = "NAME" }, { file = "PATH" } and { command = "pass shop/key" }'
                report.expected(at, what, item, secret=True)
                continue
            ((source, given),) = item.items()
            if source not in _SOURCES:
                known = suggestion(source, _SOURCES) or f"; there are {', '.join(_SOURCES)}"
                report.add((*at, source), f"there is no such source{known}")
            elif source == "command":
                words = Words().read(given, (*at, source), report)
                if words is not BAD:
                    found[name] = (source, tuple(words))
            elif not isinstance(given, str) or not given:
                report.expected((*at, source), "a text", given, secret=True)
            else:
                found[name] = (source, (given,))
        return found if len(found) == len(value) else BAD

    def schema(self) -> Schema:
        text = {"type": "string", "minLength": 1}
        kinds = {"env": text, "file": text, "command": Words().schema()}
        item = {"type": "object", "properties": kinds, "minProperties": 1, "maxProperties": 1}
        return {"type": "object", "additionalProperties": {**item, "additionalProperties": False}}


class UnitSettings(Kind):
    """Settings of unit formats. Which of them a format knows is its own to say (`multi.deploy.hosts.inventory.problems`)."""

    expected = 'a table for each format, such as { systemd = { writable = "/srv/media" } }'
    named = "table of tables"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._bad(value, path, report)
        found: dict[str, dict[str, str]] = {}
        for name, item in value.items():
            at = (*path, name)
            if name not in UNIT_FORMATS:
                known = suggestion(name, UNIT_FORMATS) or f"; there are {', '.join(UNIT_FORMATS)}"
                report.add(at, f"deploys write no units of this format{known}")
            elif not isinstance(item, dict):
                report.expected(at, 'a table of settings, such as { writable = "/srv/media" }', item)
            else:
                bad = {
                    key: one
                    for key, one in item.items()
                    if isinstance(one, bool) or not isinstance(one, str | int | float)
                }
                for key, one in bad.items():
                    report.expected((*at, key), "a text or a number", one)
                if not bad:
                    found[name] = {key: str(one) for key, one in item.items()}
        return found if len(found) == len(value) else BAD

    def schema(self) -> Schema:
        item = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
        return {"type": "object", "properties": dict.fromkeys(UNIT_FORMATS, item), "additionalProperties": False}


class DeployHooks(Kind):
    """Commands at certain moments of a deploy."""

    expected = 'a table of moments, such as { migrate = "python manage.py migrate" }'
    named = "table of commands"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._bad(value, path, report)
        found: dict[str, tuple[tuple[str, ...], ...]] = {}
        for moment, item in value.items():
            at = (*path, moment)
            if moment not in DEPLOY_HOOKS:
                known = suggestion(moment, DEPLOY_HOOKS) or f"; there are {', '.join(DEPLOY_HOOKS)}"
                report.add(at, f"there is no such moment{known}")
                continue
            is_several = isinstance(item, list) and any(isinstance(one, list) or " " in str(one) for one in item[:1])
            places = [((*at, number), one) for number, one in enumerate(item)] if is_several else [(at, item)]
            commands = [ShellLine().read(one, place, report) for place, one in places]
            if BAD not in commands:
                found[moment] = tuple(tuple(words) for words in commands)
        return found if len(found) == len(value) else BAD

    def schema(self) -> Schema:
        words = Words().schema()
        item = {"anyOf": [*words["anyOf"], {"type": "array", "items": words, "minItems": 1}]}
        return {"type": "object", "properties": dict.fromkeys(DEPLOY_HOOKS, item), "additionalProperties": False}


def expanded(name: str) -> list[str]:
    """The names that one with ranges stands for: app[1:3] is app1, app2, app3, and app[01:10] has leading zeros. A
    ValueError for a range that is none."""
    found = _RANGE.search(name)
    if found is None:
        return [name]
    low, high = int(found[1]), int(found[2])
    if low > high or high - low >= _LARGEST:
        raise ValueError(f"the range {found[0]} should go up, by less than {_LARGEST}")
    width = len(found[1]) if found[1].startswith("0") else 0
    rest = expanded(name[found.end() :])
    return [f"{name[: found.start()]}{number:0{width}d}{end}" for number in range(low, high + 1) for end in rest]
