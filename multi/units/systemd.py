"""Units of systemd: one service per node, a target for all of them, a slice around them.

Nodes that differ in nothing but their names are instances of one template unit, multi-PROJECT@.service; what differs has a
file of its own under its instance's name, multi-PROJECT@NODE.service, which systemd prefers. So a unit is called the same
however it came about, and a singleton is no template that somebody could start twice.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.errors import ConfigurationError
from multi.nodes import names
from multi.nodes.policy import UNLIMITED
from multi.units import programs
from multi.units.base import File, Problem, Target, UnitFormat
from multi.units.spans import stop_time
from multi.units.systemd_notes import OLDEST, notes
from multi.units.systemd_values import checked, seconds
from multi.units.unit_names import escaped, stem

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec
    from multi.units.templates import Templates

#: So many starts in so many seconds, and then it is given up.
BURST, INTERVAL = 10, 300
START_SECONDS = 90
_PLAIN_WORD = re.compile(r"[A-Za-z0-9@%_+=:,./-]+")
_HOMES = ("/home/", "/root/", "/run/user/")
_TEMPORARY = ("/tmp/", "/var/tmp/")
SETTINGS = {
    "writable": "directories that nodes write to, by spaces; with --hardening strict they can write nowhere else",
    "on_failure": "a unit that is started when a node has been given up, as notify@%n.service",
    "start_timeout": "the time for imports and the first connection (90)",
}
_RESTART = {"on-failure": "on-failure", "always": "always", "never": "no"}


#: Stands for a node's name where it is to become a mark of systemd's.
_MARK = "\0"


class _Rendered(NamedTuple):
    """A node's unit. `body` is what it says; where the node's name is a plain one, by a mark that means the same in all units."""

    node: NodeSpec
    unit: str
    is_plain: bool
    body: str = ""

    @property
    def mark(self) -> str:
        """The node's name in the unit."""
        return "%i" if self.is_plain else doubled(self.node.name.short)


class SystemdFormat(UnitFormat):
    """`multi render systemd`."""

    name = "systemd"
    templates = ("systemd/service.j2", "systemd/target.j2", "systemd/slice.j2")
    settings = SETTINGS

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        checked(target)
        texts = self.text(target)
        made = [self._rendered(node, target, texts) for node in nodes]
        folder = _folder(target)
        files = []
        common = _common(made)
        if common:
            path = os.path.join(folder, f"{stem(target.project)}@.service")
            members = tuple(one.node.name.short for one in common)
            # which they are doesn't stand there, so that one more is no change of the others
            title = f"Nodes of {target.project} that differ in nothing but their names."
            text = self._service(common[0], target, texts, title, "%i")
            files.append(File(path, text, why="the unit of nodes that differ in their names only", nodes=members))
        for one in made:
            if one not in common:
                short = one.node.name.short
                text = self._service(one, target, texts, f"The node {short} of {target.project}.", escaped(short))
                why = "the only one of its kind" if one.node.singleton else "a node's own unit"
                files.append(File(os.path.join(folder, one.unit), text, why=why, nodes=(short,)))
        values = {
            "project": target.project,
            "units": [one.unit for one in made],
            "slice": slice_name(target),
            "wanted_by": "default.target" if target.user else "multi-user.target",
        }
        files.append(
            File(
                os.path.join(folder, target_name(target)),
                texts.filled("systemd/target.j2", values),
                why="all nodes, to be started and stopped together",
            )
        )
        files.append(
            File(
                os.path.join(folder, slice_name(target)),
                texts.filled("systemd/slice.j2", values),
                why="the resources of all nodes together",
            )
        )
        for one in made:
            secret = programs.variables(one.node).secret
            if secret:
                path = secrets_file(one.node, target)
                text = "".join(f"{name}={env_value(value)}\n" for name, value in secret.items())
                files.append(
                    File(path, text, 0o600, secret=True, why="variables with a secret", nodes=(one.node.name.short,))
                )
        return files

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        return {node.name.short: unit_name(node, target) for node in nodes}

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        return notes(nodes, target)

    def effective(self, files: Iterable[File], units: Iterable[str] = ()) -> dict[str, str]:
        by_path = {file.path: file.text for file in files}
        services = {os.path.basename(path): text for path, text in by_path.items() if path.endswith(".service")}
        wanted = dict.fromkeys([*(unit for unit in services if "@." not in unit), *units])
        for path, text in by_path.items():
            if path.endswith(".target"):
                wanted |= dict.fromkeys(re.findall(r"^Wants=(\S+\.service)$", text, re.MULTILINE))
        found = {}
        for unit in wanted:
            prefix, at, rest = unit.partition("@")
            body = services.get(unit) or services.get(f"{prefix}@.service")
            if body is not None:
                found[unit] = _meaning(body, rest.removesuffix(".service") if at else "", by_path)
        return found

    def check(self, files: Sequence[File]) -> list[Problem]:
        from multi.units.checks import check_systemd

        return check_systemd(files)

    # ---- one unit

    def _rendered(self, node: NodeSpec, target: Target, texts: Templates) -> _Rendered:
        is_plain = escaped(node.name.short) == node.name.short
        one = _Rendered(node, unit_name(node, target), is_plain)
        # the title tells which nodes there are, and what they have in common must not depend on it
        return one._replace(body=self._service(one, target, texts, "", "%i"))

    def _service(self, one: _Rendered, target: Target, texts: Templates, title: str, example: str) -> str:
        version = target.manager_version or OLDEST
        unit = f"{stem(target.project)}@{'NODE' if example == '%i' else example}.service"
        values = {"title": title, "example": unit, **self._values(one, target)}
        return texts.filled("systemd/service.j2", {**values, "since": lambda wanted: version >= wanted})

    def _values(self, one: _Rendered, target: Target) -> dict[str, Any]:
        node = one.node
        policy = node.policy
        variables = programs.variables(node)
        memory, age = policy.get("max_memory"), policy.get("max_age")
        runtime = f"multi-{target.project}/{one.mark}"
        watchdog = programs.watchdog(node, target)
        after = [unit_of(other, target) for other in target.after.get(node.name.short, ())]
        public = {"PYTHONUNBUFFERED": "1", **variables.public}
        environment = [quoted(doubled(f"{name}={value}")) for name, value in public.items()]
        if node.kind != "command":
            # where its stats page is, by which `multi status` and `multi probe` see what it does
            environment.append(f"MULTI_RUN_DIR=%t/{runtime}")
        paths = [f"{os.path.normpath(path)}/" for path in (node.cwd, node.executable, *node.command[:1])]
        secrets = os.path.join(doubled(settings_dir(target)), f"{one.mark}.env")
        owner = None if target.user else node.user or target.owner
        group = None if target.user else node.group or target.group
        log = _log_file(one)
        has_log = log is not None and not log.startswith("/dev/")
        return {
            "project": target.project,
            "description": f"multi: node {one.mark} of {target.project}",
            "user": target.user,
            "after": [*target.needs, *after],
            "target": target_name(target),
            "slice": slice_name(target),
            "burst": BURST,
            "interval": INTERVAL,
            "on_failure": target.settings.get("on_failure"),
            "notifies": programs.notifies(node, target),
            "notify_access": "main" if node.engine in ("multi", "celery") else "all",
            "command": _command(one, target),
            "reloader": _word(one, node.executable),
            "reloads": programs.reloads(node) and not node.singleton,
            "directory": doubled(node.cwd),
            "owner": owner,
            "group": group,
            "umask": f"{node.umask:04o}",
            "environment": environment,
            "secrets_file": secrets if variables.secret else None,
            "env_files": [doubled(path) for path in node.env_files],
            "credentials": {name: doubled(path) for name, path in target.credentials.items()},
            "stop_signal": _signal(node),
            "stop": stop_time(node, target),
            "start_seconds": seconds(target.settings.get("start_timeout") or START_SECONDS),
            "watchdog": f"{watchdog:g}" if watchdog else None,
            "restart": _RESTART[policy.get("restart", "on-failure")],
            "restart_delay": f"{policy.get('restart_delay', 1):g}",
            "longest_delay": f"{policy.get('longest_delay', 60):g}",
            "max_age": f"{age:g}" if age else None,
            "max_age_extra": f"{age * policy.get('max_age_jitter', 0.1):g}" if age else None,
            "max_memory": memory,
            "memory_limit": memory * 5 // 4 if memory else None,
            "limits": {name.upper(): _limit(value) for name, value in node.limits.items()},
            "nice": node.nice,
            "runtime": runtime,
            "state": runtime,
            "log_file": log,
            # for a command line; no file of the node's is root's where it runs as another
            "log_words": f"{owner}{':' if group else ''}{group or ''} {quoted((log or '').replace('$', '$$'))}"
            if has_log and owner
            else None,
            "identifier": f"multi-{target.project}-{one.mark}",
            "hardening": target.hardening,
            "private_tmp": not any(path.startswith(_TEMPORARY) for path in paths) and not _mentions_temporary(node),
            "in_home": any(path.startswith(_HOMES) for path in paths),
            "writable": " ".join(quoted(f"-{doubled(path)}") for path in _writable(node, target)),
        }


def unit_of(short: str, target: Target) -> str:
    """The unit of a node, by its short name."""
    return f"{stem(target.project)}@{escaped(short)}.service"


def unit_name(node: NodeSpec, target: Target) -> str:
    """The unit of a node."""
    return unit_of(node.name.short, target)


def target_name(target: Target) -> str:
    """The unit that stands for all nodes."""
    return f"{stem(target.project)}.target"


def slice_name(target: Target) -> str:
    """The slice of the project. A dash in a slice's name would put it into another one."""
    return f"multi-{escaped(target.project.replace('-', '_'))}.slice"


def quoted(text: str) -> str:
    """One word of a line of a unit."""
    if _PLAIN_WORD.fullmatch(text):
        return text
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def env_value(text: str) -> str:
    """A value in an EnvironmentFile, which our keepers read in the same way."""
    return '"' + re.sub(r'(["\\`$])', r"\\\1", text) + '"'


def doubled(text: str) -> str:
    """The text, without any mark in it that systemd fills in."""
    return text.replace("%", "%%")


def settings_dir(target: Target) -> str:
    """Where files of variables are."""
    if target.settings_dir:
        return target.settings_dir
    return (
        os.path.join(_home(target), ".config/multi", target.project) if target.user else f"/etc/multi/{target.project}"
    )


def secrets_file(node: NodeSpec, target: Target) -> str:
    """The file of a node's secret variables."""
    return os.path.join(settings_dir(target), f"{node.name.short}.env")


def _folder(target: Target) -> str:
    if target.unit_dir:
        return target.unit_dir
    return os.path.join(_home(target), ".config/systemd/user") if target.user else "/etc/systemd/system"


def _home(target: Target) -> str:
    home = target.homes.get(target.owner or "")
    if not home:
        raise ConfigurationError(
            "where the units of a user's own systemd belong is known by the user's home directory only"
        )
    return home


def _common(made: Sequence[_Rendered]) -> list[_Rendered]:
    """The largest set of nodes with the same unit, of equal ones the first; none for a singleton."""
    groups: dict[str, list[_Rendered]] = {}
    for one in made:
        if one.is_plain and not one.node.singleton:
            groups.setdefault(one.body, []).append(one)
    return max(groups.values(), key=len, default=[])


def _command(one: _Rendered, target: Target) -> str:
    node = one.node
    words = programs.own(node, target)
    if node.kind == "beat" and node.engine == "celery" and "schedule_filename" not in node.options:
        # where a release's folder is not lost with it, nor read-only
        words = [*words, "-s", _Marked(f"%S/multi-{target.project}/{one.mark}/schedule")]
    return " ".join(_word(one, text) for text in words)


class _Marked(str):
    """A word with marks of systemd's in it, which is to stay as it is."""


def _word(one: _Rendered, text: str) -> str:
    """One word of a command line, with the node's name as the mark for it."""
    name = one.node.name
    if isinstance(text, _Marked):
        return text
    if one.is_plain and text == f"{name.short}@%h":
        return f"{one.mark}@%%h"
    if one.is_plain and text == str(name):
        return f"{one.mark}@{doubled(name.host)}"
    return quoted(doubled(text).replace("$", "$$"))


def _signal(node: NodeSpec) -> str:
    given = str(node.policy.get("stop_signal") or "TERM").upper().removeprefix("SIG")
    return f"SIG{given}" if not given.isdecimal() else given


def _limit(value: int | list[int]) -> str:
    numbers = value if isinstance(value, list) else [value]
    return ":".join("infinity" if number == UNLIMITED else str(number) for number in numbers)


def _log_file(one: _Rendered) -> str | None:
    """The file that the node is to write to, if one was given."""
    node = one.node
    pattern = node.options.get("logfile")
    if not pattern:
        return None
    name = node.name._replace(short=_MARK) if one.is_plain else node.name
    path = os.path.join(node.cwd, names.expand(os.path.expanduser(str(pattern)), name))
    return doubled(path).replace(_MARK, one.mark)


def _mentions_temporary(node: NodeSpec) -> bool:
    """Whether a broker's socket, or whatever else the node is told of, lies in /tmp."""
    told = (*map(str, node.options.values()), *node.environment.values(), *node.rest, *node.command)
    return any(folder in text for text in told for folder in _TEMPORARY)


def _writable(node: NodeSpec, target: Target) -> list[str]:
    """The directories that it is known to write to, beside those that systemd makes for it."""
    found = target.settings.get("writable", "").split()
    for option in ("statedb", "schedule_filename", "logfile", "pidfile"):
        value = node.options.get(option)
        if value:
            path = names.expand(os.path.expanduser(str(value)), node.name)
            found.append(os.path.dirname(os.path.join(node.cwd, path)))
    return list(dict.fromkeys(os.path.normpath(path) for path in found))


def _meaning(text: str, instance: str, files: dict[str, str]) -> str:
    """What a unit says, without comments, with its node's name in it and what it reads of `files`."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line.replace("%i", instance) for line in lines if line and not line.startswith(("#", ";"))]
    for line in kept.copy():
        if line.startswith("EnvironmentFile="):
            content = files.get(line.partition("=")[2].lstrip("-").replace("%%", "%"))
            if content is not None:
                kept.append(f"({hashlib.sha256(content.encode()).hexdigest()})")
    return "\n".join(kept)
