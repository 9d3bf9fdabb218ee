"""A description of a project's nodes: what multi.toml says, as specifications of nodes in an order in which they can start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from multi.errors import ConfigurationError
from multi.nodes import names
from multi.nodes.commandline import expanded
from multi.nodes.description.deployment import Deployment, check_places
from multi.nodes.description.keys import FIELD, NODE_KEYS, OPTION, POLICY
from multi.nodes.description.needs import linked
from multi.nodes.description.positions import Path
from multi.nodes.description.problems import ERROR, DescriptionError, Problem, Report, suggestion
from multi.nodes.description.reading import Tables, read
from multi.nodes.description.special import Need
from multi.nodes.engines.celery import OF_BEAT
from multi.nodes.options import Value
from multi.nodes.spec import BEAT, NodeSpec

#: Tables that are added to, where others are replaced.
_ADDED = ("env", "limits", "hooks", "stop", "log")
#: What a table's keys are called in a policy.
STOP_KEYS = {"signal": "stop_signal", "quit_after": "quit_after", "kill_after": "kill_after"}
LOG_KEYS = {
    "size": "log_size",
    "every": "log_every",
    "keep": "log_keep",
    "compress": "log_compress",
    "format": "log_format",
}

Which = Callable[[str], str | None]


class Places:
    """Where in the file it stands what a node is given: in its own table, in one that it inherits, or in the defaults."""

    def __init__(self, report: Report, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.report = report
        self._tables = tables

    def of(self, section: str, key: Path) -> Path:
        """The path of a key of the nodes of a table; the table itself where the file says nothing of it."""
        for table in self.tables(section):
            if self.report.has((*table, *key)):
                return (*table, *key)
        return self.of(section, key[:-1]) if len(key) > 1 else ("nodes", section)

    def tables(self, section: str) -> list[Path]:
        """The tables from which its nodes have their values, the strongest first."""
        names = [section]
        while (
            above := str(self._tables.get(names[-1], {}).get("inherits", ""))
        ) in self._tables and above not in names:
            names.append(above)
        return [*(("nodes", name) for name in names), ("defaults",)]

    def is_broken(self, section: str, key: Path) -> bool:
        """Whether an error is told of this key already, or of what it stands in: what follows from that is no news."""
        return any(
            (*table, *key)[:end] in self.report.broken
            for table in self.tables(section)
            for end in range(len(table) + 1, len(table) + len(key) + 1)
        )

    def problem(self, section: str, key: Path, text: str, level: str = ERROR) -> Problem:
        """What is wrong with a key of the nodes of a table."""
        return self.report.problem(self.of(section, key), text, level)


class Described(NamedTuple):
    """One node of a description. `needs` are what it depends on, the nodes among it by their short names; `hosts` and `roles`
    say where it runs, both empty: everywhere."""

    spec: NodeSpec
    needs: tuple[Need, ...]
    line: int
    hosts: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.name.short

    @property
    def section(self) -> str:
        return self.spec.section or ""


class Description(NamedTuple):
    """What one file describes; `nodes` in the order of the file."""

    path: str
    folder: str
    name: str | None
    state_dir: str | None
    nodes: list[Described]
    problems: list[Problem]
    deployment: Deployment
    places: Places
    templates: str | None = None  # a folder, absolute

    def sections(self) -> list[str]:
        """The names of its tables of nodes."""
        return list(dict.fromkeys(node.section for node in self.nodes))

    def of_group(self, group: str) -> list[Described]:
        """The nodes of a table, or the one of that name."""
        return [node for node in self.nodes if group in (node.section, node.name)]

    def check(self) -> Description:
        """Itself; raises `DescriptionError` with all errors when there are any."""
        errors = [problem for problem in self.problems if problem.level == ERROR]
        if errors:
            raise DescriptionError(errors)
        return self


def describe(
    text: str,
    path: str,
    *,
    prefix: Path = (),
    host: str | None = None,
    which: Which | None = None,
    python: str | None = None,
) -> Description:
    """The description in `text`, which stands in the file `path` (absolute, its links not followed).

    `which` finds a program on the PATH. Nothing else of the machine is looked at. `python` is the interpreter of nodes for
    which the text names none; without it the one that runs.
    """
    tables = read(text, path, prefix)
    builder = _Builder(tables, path, host or names.this_host(), which, python or sys.executable)
    nodes = linked(builder.nodes(), builder.places)
    check_places(nodes, tables.deployment, tables.report)
    return Description(
        path,
        os.path.dirname(path),
        tables.project.get("name"),
        tables.project.get("state_dir"),
        nodes,
        sorted(tables.report.problems, key=lambda problem: problem.line),
        tables.deployment,
        builder.places,
        builder.templates(),
    )


class _Builder:
    """Makes specifications of tables."""

    def __init__(self, tables: Tables, path: str, host: str, which: Which | None, python: str) -> None:
        self.tables = tables
        self.report: Report = tables.report
        self.path = path
        self.folder = os.path.dirname(path)
        self.host = host
        self.which = which
        self.python = python
        self.places = Places(self.report, tables.nodes)
        self.circles: set[frozenset[str]] = set()

    def templates(self) -> str | None:
        """The folder of the project's own templates."""
        given = self.tables.project.get("templates")
        return None if given is None else self._path(given)

    def nodes(self) -> list[Described]:
        found: list[Described] = []
        seen: dict[str, str] = {}
        for section, table in self.tables.nodes.items():
            at = ("nodes", section)
            own = self._inherited(section, [])
            if own is None:  # others may depend on it all the same
                own = {key: value for key, value in table.items() if key not in ("count", "inherits")}
            count = table.get("count")
            shorts = [section] if count is None else [f"{section}{number}" for number in range(1, count + 1)]
            for short in shorts:
                if short in seen:
                    self.report.add(at, f"makes a node {short}, and so does [nodes.{seen[short]}]; rename one of them")
                    continue
                seen[short] = section
                spec = self._spec(short, section, own)
                values = _merged(self._defaults(own), own)
                needs, places = (
                    tuple(own.get("depends_on", ())),
                    [tuple(values.get(key, ())) for key in ("hosts", "roles")],
                )
                found.append(Described(spec, needs, self.report.line(at), *places))
            self._check_once(own, section, len(shorts))
        return found

    def _inherited(self, section: str, way: list[str]) -> dict[str, Any] | None:
        """A table's values with those that it inherits; None where that leads nowhere."""
        table = dict(self.tables.nodes[section])
        table.pop("count", None)
        above = table.pop("inherits", None)
        if above is None:
            return self._shaped(section, table)
        at = ("nodes", section, "inherits")
        way = [*way, section]
        if above in way:
            if frozenset(way) in self.circles:
                return None  # told at another of them
            self.circles.add(frozenset(way))
            self.report.add(("nodes", way[0], "inherits"), f"goes round in a circle: {' -> '.join([*way, above])}")
            return None
        if above not in self.tables.nodes:
            if len(way) == 1:
                known = suggestion(above, self.tables.nodes)
                self.report.add(at, f'there is no table of nodes "{above}"{known}')
            return None
        values = self._inherited(above, way)
        return None if values is None else self._shaped(section, _merged(values, table))

    def _shaped(self, section: str, own: dict[str, Any]) -> dict[str, Any]:
        """The values of a table that is called beat make a scheduler, unless they say something else."""
        if (
            section != BEAT
            or "engine" in self.tables.defaults
            or any(one in own for one in ("kind", "engine", "command"))
        ):
            return own
        return {**own, "kind": "beat"}

    def _spec(self, short: str, section: str, own: dict[str, Any]) -> NodeSpec:
        values = _merged(self._defaults(own), own)
        try:
            name = names.parse(short, values.get("hostname"), self.host)
        except ConfigurationError as error:
            if ("nodes", section) not in self.report.broken:
                self.report.add(("nodes", section), str(error))
            name = names.NodeName(short, self.host)
        options: dict[str, Value] = {}
        for key, value in values.items():
            if NODE_KEYS[key].to == OPTION and value is not False:
                options[key] = _word(value)
        options = expanded(options, name)
        log, stop = values.get("log", {}), values.get("stop", {})
        for option, pattern in (("logfile", log.get("file")), ("pidfile", values.get("pidfile"))):
            if pattern is not None:
                # a percent sign in the way to it is just one
                options[option] = os.path.join(self.folder.replace("%", "%%"), os.path.expanduser(pattern))
        policy = {key: value for key, value in values.items() if NODE_KEYS[key].to == POLICY}
        policy |= {STOP_KEYS[key]: value for key, value in stop.items()}
        policy |= {LOG_KEYS[key]: value for key, value in log.items() if key in LOG_KEYS}
        return NodeSpec(
            name,
            executable=self._python(values.get("python"), section),
            cwd=self._path(values.get("directory", ".")),
            options=options,
            rest=list(values.get("args", ())),
            env=dict(values.get("env", {})),
            umask=values.get("umask", 0o022),
            policy=policy,
            env_files=[self._env_file(file) for file in values.get("env_files", ())],
            description=self.path,
            section=section,
            **{key: value for key, value in values.items() if NODE_KEYS[key].to == FIELD},
        )

    def _defaults(self, own: dict[str, Any]) -> dict[str, Any]:
        """The defaults that suit a node: a command has no options of a worker, and a beat has few."""
        defaults = dict(self.tables.defaults)
        kind = own.get("kind")
        is_program = "command" in own and not own["command"][0].startswith("-")
        if own.get("engine") == "command" or ("engine" not in own and (kind == "command" or is_program)):
            defaults["engine"] = "command"
            # nor does it say that it lives, as a watchdog wants it
            return {key: value for key, value in defaults.items() if NODE_KEYS[key].to != OPTION and key != "watchdog"}
        if kind == "beat":
            return {key: value for key, value in defaults.items() if NODE_KEYS[key].to != OPTION or key in OF_BEAT}
        return defaults

    def _check_once(self, own: dict[str, Any], section: str, count: int) -> None:
        of_others = (own.get("engine") or self.tables.defaults.get("engine") or "multi") != "multi"
        is_single = own.get("singleton", own.get("kind") == "beat" and of_others)
        if is_single and count > 1:
            self.report.add(("nodes", section, "count"), "a singleton is one node; leave out count, or singleton")

    def _path(self, text: str) -> str:
        return os.path.normpath(os.path.join(self.folder, os.path.expanduser(text)))

    def _env_file(self, text: str) -> str:
        dash = "-" if text.startswith("-") else ""
        return dash + self._path(text.removeprefix("-"))

    def _python(self, text: str | None, section: str) -> str:
        if text is None:
            return self.python
        if os.sep in text or text.startswith("~"):
            # not normalised: the last link of it must not be followed, it tells which environment is meant
            return os.path.join(self.folder, os.path.expanduser(text.removeprefix("./")))
        found = self.which(text) if self.which is not None else text
        if found is None:
            place = self.places.of(section, ("python",))
            if place not in self.report.broken:
                self.report.add(place, f'there is no program "{text}" on the PATH')
            return sys.executable
        return found


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    found = {**under, **over}
    for key in _ADDED:
        if key in under and key in over:
            found[key] = {**under[key], **over[key]}
    return found


def _word(value: object) -> str | bool:
    """A value as it stands on a command line."""
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, bool) else str(value)
