"""Programs of supervisord: a file with one program for each node.

supervisord replaces what has changed by whole groups, and each program is a group of its own unless a [group:] says
otherwise. So there is none by default, and a changed node is the only one that is restarted.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError
from multi.nodes import names
from multi.nodes.spec import LOG_KEEP, LOG_SIZE
from multi.units import programs
from multi.units.base import File, Problem, Target, UnitFormat
from multi.units.spans import stop_time

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

SETTINGS = {
    "group": "yes, or a name: all programs in one [group:] (then a change of one restarts all)",
    "daemon": "yes: also the configuration of a supervisord for these nodes alone, with a socket for its user only",
    "minfds": "files that each node may have open, for --set daemon (4096); with more than the system allows it doesn't start",
}
#: Tries to start, with pauses of 1, 2, 3 … s between them.
RETRIES = 30
START_SECONDS = 10
#: A keeper restarts its worker itself; it ends early when that can't begin at all.
KEEPER_START_SECONDS = 5
#: A keeper that ends its worker by force has so long (s) for that, and to end itself: else supervisord would end the keeper at
#: the same moment, and the worker, which has a session of its own, would live on.
KEEPER_STOP_SECONDS = 10
#: Above the one of what doesn't say otherwise.
PRIORITY = 999
_COMMENT = re.compile(r"(?<=\s)[;#]")


#: Reads $1 files of lines NAME=VALUE (a dash before a name: it may be missing) and becomes the program behind them. Values may
#: be in quotes; nothing in them is filled in.
_READ = (
    'n=$1;shift;while [ "$n" -gt 0 ];do f=$1;shift;n=$((n-1));case $f in -*)f=${f#-};[ -e "$f" ]||continue;;esac;'
    '[ -r "$f" ]||{ echo "the environment file $f can not be read">&2;exit 2;};'
    "while IFS= read -r l||[ -n \"$l\" ];do case $l in ''|\\#*|\\;*)continue;;*=*);;*)continue;;esac;"
    "l=${l#export };k=${l%%=*};v=${l#*=};case $v in \\\"*\\\")v=${v#?};v=${v%?};;\\'*\\')v=${v#?};v=${v%?};;esac;"
    'export "$k=$v";done<"$f";done;exec "$@"'
)


class SupervisordFormat(UnitFormat):
    """`multi render supervisord`."""

    name = "supervisord"
    templates = ("supervisord/program.j2", "supervisord/group.j2", "supervisord/daemon.j2")
    settings = SETTINGS

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        texts = self.text(target)
        folder = _folder(target)
        files = []
        order = _order(nodes, target)
        for node in nodes:
            values = self._values(node, target, order.get(node.name.short))
            secret = bool(programs.variables(node).secret) or (
                target.multi is not None and programs.has_secret_words(node)
            )
            files.append(
                File(
                    os.path.join(folder, f"multi-{target.project}.{node.name.short}.conf"),
                    texts.filled("supervisord/program.j2", values),
                    mode=0o600 if secret else 0o644,
                    secret=secret,
                    why="the node's program",
                    nodes=(node.name.short,),
                )
            )
        if group := _group(target):
            values = {
                "project": target.project,
                "group": group,
                "programs": [_program(node.name.short, target) for node in nodes],
            }
            files.append(
                File(
                    os.path.join(folder, f"multi-{target.project}.conf"),
                    texts.filled("supervisord/group.j2", values),
                    why="all nodes as one group",
                    nodes=tuple(node.name.short for node in nodes),
                )
            )
        if _has_daemon(target):
            base = _base(target)
            path = os.path.join(base, "supervisord.conf")
            values = {
                "project": target.project,
                "path": path,
                "folder": doubled(base),
                "socket": doubled(os.path.join(base, "supervisor.sock")),
                "log_dir": doubled(_log_dir(target)),
                "minfds": _minfds(target),
                "include": doubled(os.path.join(folder, "*.conf")),
            }
            files.append(File(path, texts.filled("supervisord/daemon.j2", values), why="supervisord itself"))
        return files

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        group = _group(target)
        return {
            node.name.short: f"{group}:{node.name.short}" if group else _program(node.name.short, target)
            for node in nodes
        }

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        found = []
        for node in nodes:
            short = node.name.short
            if node.group or target.group:
                found.append(
                    f"{short}: supervisord knows no group beside a user's own: {node.group or target.group} is left out"
                )
            if target.multi is not None:
                continue
            keepers = [name for name in ("watchdog", "max_memory", "max_age") if node.policy.get(name)]
            keepers += [name for name in ("limits", "hooks") if getattr(node, name)]
            keepers += ["nice"] if node.nice is not None else []
            if keepers:
                found.append(
                    f"{short}: supervisord has nothing for {', '.join(keepers)}; a keeper has, where multi is on that machine"
                )
            if node.policy.get("quit_after") is not None and node.engine != "multi":
                found.append(
                    f"{short}: supervisord sends no QUIT between TERM and KILL: stop.quit_after is added to stopwaitsecs"
                )
        return found

    def effective(self, files: Iterable[File], units: Iterable[str] = ()) -> dict[str, str]:
        texts = [file.text for file in files if file.path.endswith(".conf")]
        groups: dict[str, str] = {}
        for text in texts:
            for group, listed in re.findall(r"^\[group:([^\]]+)\]\nprograms=(.*)$", text, re.MULTILINE):
                groups |= dict.fromkeys((one.strip() for one in listed.split(",")), group)
        found = {}
        for text in texts:
            lines = [line for line in text.splitlines() if line and not line.startswith(";")]
            head = re.fullmatch(r"\[program:([^\]]+)\]", lines[0]) if lines else None
            if head is None:
                continue
            values = dict(line.partition("=")[::2] for line in lines[1:])
            group = groups.get(head[1])
            unit = f"{group}:{values.get('process_name', head[1])}" if group else head[1]
            # a change of the group itself changes all in it
            mark = hashlib.sha256(",".join(sorted(name for name, of in groups.items() if of == group)).encode())
            found[unit] = "\n".join([*lines, mark.hexdigest()])
        return found

    def check(self, files: Sequence[File]) -> list[Problem]:
        from multi.units.checks import check_supervisord

        return check_supervisord(files)

    def _values(self, node: NodeSpec, target: Target, priority: int | None) -> dict[str, Any]:
        has_keeper = target.multi is not None
        owner = None if target.user else node.user or target.owner
        policy = node.policy
        stop = stop_time(node, target)
        given = node.options.get("logfile")
        log_file = os.path.join(_log_dir(target), f"multi-{target.project}.{node.name.short}.log")
        if given and not has_keeper:
            log_file = os.path.join(node.cwd, names.expand(os.path.expanduser(str(given)), node.name))
        argv = programs.keeper(node, target) if has_keeper else [*reader(node), *programs.own(node, target)]
        if owner and not target.homes.get(owner) and "HOME" not in node.environment:
            # supervisord leaves it that of whoever started it; without one the system's list of users is asked
            argv = ["/usr/bin/env", "-u", "HOME", *argv]
        ends_by_force = has_keeper and policy.get("kill_after") is not None
        own_ready = policy.get("ready_after") if node.kind == "command" else None
        return {
            "project": target.project,
            "node": node.name.short,
            "unit": _group(target) or _program(node.name.short, target),
            "program": _program(node.name.short, target),
            "grouped": bool(_group(target)),
            "has_keeper": has_keeper,
            "command": " ".join(_word(node, word) for word in argv),
            "directory": _value(node, "directory", node.cwd),
            "owner": owner,
            "reads_files": bool(node.env_files) and not has_keeper,
            "environment": _environment(node, target),
            "umask": f"{node.umask:03o}",
            # a keeper ends when the node is stopped or given up, whatever its own policy
            "restart": "on-failure" if has_keeper else policy.get("restart", "on-failure"),
            "startsecs": KEEPER_START_SECONDS if has_keeper else int(own_ready or START_SECONDS),
            "retries": RETRIES,
            "patience": RETRIES * (RETRIES + 1) // 2,
            "stop_signal": str(policy.get("stop_signal") or "TERM").upper().removeprefix("SIG"),
            "stop": stop,
            "wait": stop.seconds + (KEEPER_STOP_SECONDS if ends_by_force else 0),
            "ends_by_force": ends_by_force,
            "priority": priority,
            # supervisord fills in what is in names of logs twice
            "log_file": _value(node, "log.file", doubled(log_file)),
            "log_size": policy.get("log_size", LOG_SIZE),
            "log_keep": policy.get("log_keep", LOG_KEEP),
        }


def reader(node: NodeSpec) -> list[str]:
    """What reads the node's env files, since supervisord reads none: a shell that becomes the program when it has done so."""
    if not node.env_files:
        return []
    return ["/bin/sh", "-c", _READ, "sh", str(len(node.env_files)), *node.env_files]


def doubled(text: str) -> str:
    """The text, with nothing in it that supervisord fills in."""
    return text.replace("%", "%%")


def _program(short: str, target: Target) -> str:
    return f"{target.project}-{short}"


def _group(target: Target) -> str | None:
    given = target.settings.get("group", "")
    if given.lower() in ("", "no", "false", "0"):
        return None
    return target.project if given.lower() in ("yes", "true", "1") else given


def _has_daemon(target: Target) -> bool:
    given = target.settings.get("daemon", "").lower()
    return target.user if not given else given in ("yes", "true", "1")


def _minfds(target: Target) -> int:
    given = target.settings.get("minfds") or "4096"
    if not given.isdecimal():
        raise ConfigurationError(f"--set minfds={given}: that is no number of files")
    return int(given)


def _base(target: Target) -> str:
    """The folder of a supervisord of the project's own."""
    if target.settings_dir:
        return target.settings_dir
    if not target.user:
        return f"/etc/multi/{target.project}"
    home = target.homes.get(target.owner or "")
    if not home:
        raise ConfigurationError(
            "where a user's own supervisord has its files is known by the user's home directory only"
        )
    return os.path.join(home, ".config/multi", target.project)


def _folder(target: Target) -> str:
    if target.unit_dir:
        return target.unit_dir
    return os.path.join(_base(target), "conf.d") if _has_daemon(target) else "/etc/supervisor/conf.d"


def _log_dir(target: Target) -> str:
    if target.log_dir:
        return target.log_dir
    return os.path.join(_base(target), "log") if target.user else "/var/log/supervisor"


def _order(nodes: Sequence[NodeSpec], target: Target) -> dict[str, int]:
    """Priorities of the nodes that others come after, and of these; the others have supervisord's own."""
    depth: dict[str, int] = {}

    def deep(short: str) -> int:
        if short not in depth:
            depth[short] = 0  # circles are refused where descriptions are read
            depth[short] = max((deep(other) + 1 for other in target.after.get(short, ())), default=0)
        return depth[short]

    for node in nodes:
        deep(node.name.short)
    last = max(depth.values(), default=0)
    return {short: PRIORITY - last + level for short, level in depth.items()} if last else {}


def _environment(node: NodeSpec, target: Target) -> str:
    variables = programs.variables(node)
    given = {"PYTHONUNBUFFERED": "1", **variables.public, **variables.secret}
    owner = None if target.user else node.user or target.owner
    if owner:
        # supervisord leaves them those of whoever started it
        given = {"USER": owner, "LOGNAME": owner, **given}
        if home := target.homes.get(owner):
            given = {"HOME": home, **given}
    return ",".join(f"{name}={_env_value(node, name, value)}" for name, value in sorted(given.items()))


def _env_value(node: NodeSpec, name: str, value: str) -> str:
    """The value in quotes. supervisord knows no escapes in them, and takes quotes off its ends, however many."""
    quote = "'" if '"' in value else '"'
    why = None
    if quote in value:
        why = "both kinds of quotes"
    elif value[:1] in ("'", '"') or value[-1:] in ("'", '"'):
        why = "a quote at its beginning or end"
    elif _COMMENT.search(value):
        why = "a ; or # behind a space, which begins a comment"
    elif "\n" in value or "\r" in value:
        why = "a line break"
    if why is not None:
        raise ConfigurationError(
            f"{node.name.short}: the variable {name} can't be written for supervisord: its value has {why}. Put it into one of "
            "env_files, which a keeper reads, or use systemd"
        )
    return f"{quote}{doubled(value)}{quote}"


def _word(node: NodeSpec, word: str) -> str:
    """One word of a command line, as shlex and the parser of the file read it."""
    if "\n" in word or "\r" in word:
        raise ConfigurationError(
            f"{node.name.short}: a line break in its command line can't be written for supervisord; use systemd"
        )
    parts = []
    at = 0
    for found in _COMMENT.finditer(word):
        parts += [shlex.quote(word[at : found.start()]), "\\" + found[0]]
        at = found.end()
    if at < len(word) or not parts:
        parts.append(shlex.quote(word[at:]))
    return doubled("".join(parts))


def _value(node: NodeSpec, what: str, text: str) -> str:
    if _COMMENT.search(text) or "\n" in text:
        raise ConfigurationError(
            f"{node.name.short}: {what} {text!r} can't be written for supervisord: a ; or # behind a space begins a comment there"
        )
    return doubled(text)
