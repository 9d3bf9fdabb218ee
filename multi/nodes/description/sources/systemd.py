"""A systemd service: its ExecStart, and what around it has a counterpart here."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multi.errors import ConfigurationError
from multi.nodes.description.sources import celery, celeryd, many
from multi.nodes.description.sources.base import Files, Found, Imported

_LIMITS = {
    "LimitNOFILE": "nofile",
    "LimitNPROC": "nproc",
    "LimitCORE": "core",
    "LimitAS": "as",
    "LimitCPU": "cpu",
    "LimitFSIZE": "fsize",
    "LimitMEMLOCK": "memlock",
    "LimitSTACK": "stack",
    "LimitDATA": "data",
}
_RESTART = {
    "no": "never",
    "always": "always",
    "on-failure": "on-failure",
    "on-abnormal": "on-failure",
    "on-abort": "on-failure",
}
#: What needs no counterpart: it is about systemd itself, or is so here anyway.
_NEEDLESS = (
    *("Type", "ExecStart", "PIDFile", "KillMode", "NotifyAccess", "GuessMainPID", "RemainAfterExit", "SendSIGKILL"),
)
#: How a unit stops or reloads Celery, which a node does by itself.
_BY_ITSELF = re.compile(r"\bmulti\s+(stop|stopwait|restart)\b|\bkill\b")
#: What one should know of a key that has no counterpart.
_INSTEAD = {
    "SyslogIdentifier": "a node's lines are in a log of its own",
    "TimeoutStartSec": "how long a start may take says --timeout of multi up",
    "RuntimeDirectory": "the folders of pid files and logs are made at the start, others are not",
    "RuntimeDirectoryMode": "the folders of pid files and logs are made at the start",
    "StartLimitBurst": "say in max_crashes after how many crashes it is given up",
    "StartLimitInterval": "say in healthy_after when crashes are counted anew",
    "StartLimitIntervalSec": "say in healthy_after when crashes are counted anew",
}
#: In [Unit] and [Install]: what only tells about the unit.
_WORDS = ("Description", "Documentation")
_DEPENDS = ("Requires", "Requisite", "Wants", "BindsTo", "After")
_TAKEN = (
    *("User", "Group", "WorkingDirectory", "Environment", "EnvironmentFile", "UMask", "Nice", "Restart", "RestartSec"),
    *(
        "ExecStop",
        "ExecReload",
        "TimeoutStopSec",
        "TimeoutSec",
        "KillSignal",
        "RuntimeMaxSec",
        "StandardOutput",
        "StandardError",
        *_LIMITS,
    ),
)
_UNITS = {"us": 1e-6, "ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400, "w": 604800}
_ESCAPES = {"n": "\n", "t": "\t", "s": " ", "\\": "\\", '"': '"', "'": "'", "r": "\r"}


def read(
    text: str, path: str, files: Files, instances: Sequence[str], host: str, home: Callable[[str], str] | None = None
) -> Imported:
    """The node of a service, or those of a template's `instances`."""
    imported = Imported(path)
    name = os.path.basename(path).removesuffix(".service")
    prefix, at, instance = name.partition("@")
    found = sections(_with_drop_ins(text, path, [f"{name}.service"], files, imported))
    service = found.get("Service", {})
    if not service.get("ExecStart"):
        raise ConfigurationError(f"{path} is no service: it has no ExecStart in a section [Service]")
    if at and not instance and not instances:
        raise ConfigurationError(f"{path} is a template: name its instances, as in --instance 1 --instance 2")
    for one in [instance] if instance or not at else instances:
        if at and not instance:
            service = sections(
                _with_drop_ins(text, path, [f"{name}.service", f"{prefix}@{one}.service"], files, imported)
            )["Service"]
        user = (service.get("User") or [""])[-1]
        marks = {
            "i": one,
            "I": one.replace("-", "/"),
            "n": f"{prefix}@{one}.service" if at else f"{name}.service",
            "N": f"{prefix}@{one}" if at else name,
            "p": prefix,
            "j": prefix.rpartition("-")[2],
            "H": host,
            "l": host.partition(".")[0],
            "u": user or "root",
            "h": home(user) if home is not None else "/root",
            "t": "/run",
            "S": "/var/lib",
            "L": "/var/log",
            "C": "/var/cache",
            "%": "%",
        }
        _service(imported, service, f"{prefix}{one}" if at and one.isdecimal() else one if at else name, marks, files)
    _around(imported, found)
    return imported


def _with_drop_ins(text: str, path: str, units: Sequence[str], files: Files, imported: Imported) -> str:
    """The text of a unit with that of its drop-ins behind it, as `systemctl edit` writes them: the folder of a name may be beside
    the unit, or in any that systemd reads; of two files of one name the administrator's counts."""
    folder = os.path.dirname(os.path.abspath(path))
    places = [folder]
    for kind in ("system", "user"):
        searched = [f"{base}/systemd/{kind}" for base in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")]
        if folder in searched:
            places = searched
    found: dict[str, tuple[str, str]] = {}
    for unit in units:
        for place in reversed(places):
            for drop_in, content in files(os.path.join(glob.escape(os.path.join(place, f"{unit}.d")), "*.conf")):
                found[os.path.basename(drop_in)] = (drop_in, content)
    for _, (drop_in, _) in sorted(found.items()):
        imported.notes.append(f"with {drop_in}")
    return "\n[]\n".join([text, *(content for _, (_, content) in sorted(found.items()))])


def _around(imported: Imported, found: Mapping[str, Mapping[str, list[str]]]) -> None:
    """What the unit's other sections say."""
    for section, keys in found.items():
        for key, values in keys.items():
            if section == "Service" or key in _WORDS or not values:
                continue
            instead = _INSTEAD.get(key, "")
            if section == "Unit" and key in _DEPENDS:
                instead = 'say in depends_on what has to be ready before, as in depends_on = ["tcp://127.0.0.1:6379"]'
            if section == "Install":
                instead = "multi.toml says nothing of the machine's start"
            imported.left.append(f"[{section}] {key}={' '.join(values)}{': ' + instead if instead else ''}")


def sections(text: str) -> dict[str, dict[str, list[str]]]:
    """The values of each key of each section, in order; an empty value forgets those before it."""
    found: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n(?:[ \t]*[#;][^\n]*\n)*", " ", text).splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            current = found.setdefault(line[1:-1], {})
            continue
        key, equals, value = line.partition("=")
        if equals:
            values = current.setdefault(key.strip(), [])
            if value.strip():
                values.append(value.strip())
            else:
                values.clear()
    return found


def split(text: str) -> list[str]:
    """Words as systemd takes them apart: quotes go, and what stands behind a backslash is as in C."""
    words: list[str] = []
    word: str | None = None
    quote, at = "", 0
    while at < len(text):
        sign = text[at]
        at += 1
        if sign == "\\" and at < len(text):
            if text[at] == "x" and re.match(r"[0-9a-fA-F]{2}", text[at + 1 : at + 3]):
                word = (word or "") + chr(int(text[at + 1 : at + 3], 16))
                at += 3
            else:
                word = (word or "") + _ESCAPES.get(text[at], "\\" + text[at])
                at += 1
        elif quote:
            if sign == quote:
                quote = ""
            else:
                word = (word or "") + sign
        elif sign in "\"'":
            quote = sign
            word = word or ""
        elif sign.isspace():
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + sign
    return words if word is None else [*words, word]


def _service(
    imported: Imported, service: Mapping[str, list[str]], name: str, marks: Mapping[str, str], files: Files
) -> None:
    def last(key: str) -> str | None:
        values = service.get(key)
        return _specified(values[-1], marks) if values else None

    variables: dict[str, str] = {}
    for line in service.get("Environment", []):
        for word in split(_specified(line, marks)):
            variable, equals, value = word.partition("=")
            if equals:
                variables[variable] = value
    env_files = [_specified(value, marks) for value in service.get("EnvironmentFile", [])]
    of_files: dict[str, str] = {}
    for file in env_files:
        for _, content in files(file.removeprefix("-")):
            of_files |= celeryd.assignments(content)[0]
    command = service["ExecStart"][-1].lstrip("@-:+!|")
    missing: list[str] = []
    words = _words(split(command), marks, {**variables, **of_files}, missing)
    imported.left += [f"ExecStart: ${one} has no value, neither in the unit nor in its files" for one in missing]
    program = celery.Program(list(words))
    started = many.split(program.words)
    if started is None and re.search(
        r"\bcelery(\s+-A\s+\S+)?\s+multi\s+(re)?start\b|\bmulti\s+start\b", " ".join(words)
    ):
        started = _through_a_shell(words, {**variables, **of_files}, missing)
    if started is not None:
        before = len(imported.nodes)
        many.take(imported, started[1], started[0], {})
        found = imported.nodes[before:]
        # the variables of the file are those of the command line
        env_files = []
    else:
        one = Found(re.sub(r"[^A-Za-z0-9_.-]", "-", name))
        if len(service["ExecStart"]) > 1:
            one.left.append(f"{len(service['ExecStart']) - 1} more ExecStart before the last one")
        celery.take(one, words)
        imported.add(one)
        found = [one]
    for one in found:
        _settings(one, service, last, variables, env_files)


def _words(words: list[str], marks: Mapping[str, str], variables: Mapping[str, str], missing: list[str]) -> list[str]:
    """Specifiers and variables filled in: $NAME alone becomes several words, ${NAME} stays within one."""
    found = []
    for word in words:
        word = _specified(word, marks)
        if alone := re.fullmatch(r"\$([A-Za-z_]\w*)", word):
            if alone[1] in variables:
                found += shlex.split(variables[alone[1]])
            else:
                missing.append(alone[1])
            continue
        is_shell = bool(found) and os.path.basename(found[0]) in ("sh", "bash") and found[-1] in ("-c", "-lc")
        found.append(word if is_shell else celery.expand(word, variables, missing))
    return found


def _through_a_shell(
    words: list[str], variables: Mapping[str, str], missing: list[str]
) -> tuple[str, list[str]] | None:
    """`/bin/sh -c '${CELERY_BIN} -A $CELERY_APP multi start $CELERYD_NODES …'`, as Celery's own unit has it."""
    line = words[-1] if os.path.basename(words[0]) in ("sh", "bash") else shlex.join(words)
    if re.search(r"[|&;<>`]", line):
        return None
    filled = shlex.split(celery.expand(line, variables, missing))
    at = filled.index("multi") if "multi" in filled else -1
    if at < 1 or filled[at + 1 : at + 2] not in (["start"], ["restart"]):
        return None
    # what stands before `multi` are options of `celery`, and hold for each worker
    program, before = filled[:1], filled[1:at]
    if before[:2] == ["-m", "celery"]:
        python, before = program[0], before[2:]
    else:
        python = many.python_of(program[0])
    return python, [*filled[at + 2 :], *before]


def _settings(
    found: Found,
    service: Mapping[str, list[str]],
    last: Callable[[str], str | None],
    variables: Mapping[str, str],
    env_files: list[str],
) -> None:
    for key, name in (("User", "user"), ("Group", "group"), ("UMask", "umask")):
        if value := last(key):
            found.set(name, value, key)
    if directory := last("WorkingDirectory"):
        found.set("directory", directory.removeprefix("-"), "WorkingDirectory")
    if variables:
        found.values["env"] = {**variables, **found.values.get("env", {})}
        found.became.append("Environment -> env")
    if env_files:
        found.set("env_files", env_files, "EnvironmentFile")
    for key, name in _LIMITS.items():
        if value := last(key):
            found.set(f"limits.{name}", _limit(value), key)
    if value := last("Nice"):
        found.set("nice", int(value), "Nice")
    if (value := last("Restart")) in _RESTART:
        found.set("restart", _RESTART[str(value)], "Restart")
    elif value:
        found.left.append(f"Restart={value}: a node is restarted always, on-failure or never")
    for keys, name in (
        (("RestartSec",), "restart_delay"),
        (("TimeoutStopSec", "TimeoutSec"), "stop.kill_after"),
        (("RuntimeMaxSec",), "max_age"),
    ):
        for key in keys:
            if (value := last(key)) and value not in ("infinity", "0"):
                found.set(name, seconds(value), key)
            elif value and key != "RestartSec":
                found.became.append(f"{key}={value}: there is no such limit unless it is given")
            elif value:
                found.set(name, 0, key)
    if (value := last("KillSignal")) and value not in ("SIGTERM", "15"):
        found.set("stop.signal", value.removeprefix("SIG"), "KillSignal")
    for key in ("StandardOutput", "StandardError"):
        value = last(key) or ""
        where, colon, path = value.partition(":")
        if colon and where in ("append", "file", "truncate") and "log" not in found.values:
            found.set("log.file", path.replace("%", "%%"), key)
        elif value and not (colon and found.values.get("log", {}).get("file") == path.replace("%", "%%")):
            found.left.append(f"{key}={value}: all that a node prints is in a log of its own")
    if (mode := last("KillMode")) == "mixed":
        found.became.append("KillMode=mixed: so every node is stopped, its main process first")
    elif mode in ("process", "none"):
        found.left.append(f"KillMode={mode}: a node is down when all its processes are")
    for key in ("ExecStop", "ExecReload"):
        if (values := service.get(key)) and not _BY_ITSELF.search(" ".join(values)):
            found.left.append(f"{key}={' '.join(values)}")
    for key in service:
        if key not in _NEEDLESS and key not in _TAKEN:
            instead = f": {_INSTEAD[key]}" if key in _INSTEAD else ""
            found.left.append(f"{key}={' '.join(service[key])}{instead}")


def _specified(text: str, marks: Mapping[str, str]) -> str:
    return re.sub(r"%(.)", lambda found: marks.get(found[1], found[0]), text)


def seconds(text: str) -> int | float:
    """A time of systemd's: 90, 1min 30s, 5m."""
    total, rest = 0.0, text.strip()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]*)", rest)
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", "", rest):
        raise ConfigurationError(f"{text!r} is no time that systemd knows")
    for number, unit in parts:
        name = (
            unit.removesuffix("s")
            if unit.removesuffix("s") in ("min", "hour", "day", "week", "second", "minute")
            else unit
        )
        name = {"hour": "h", "day": "d", "week": "w", "second": "s", "minute": "m"}.get(name, name) or "s"
        if name not in _UNITS:
            raise ConfigurationError(f"{text!r} is no time that systemd knows")
        total += float(number) * _UNITS[name]
    return int(total) if total == int(total) else total


def _limit(text: str) -> Any:
    def one(part: str) -> Any:
        if part == "infinity":
            return "unlimited"
        found = re.fullmatch(r"(\d+)([KMGT]?)", part)
        if found is None:
            raise ConfigurationError(f"{text!r} is no limit that can be taken over")
        return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2]]

    parts = [one(part) for part in text.split(":")]
    return parts[0] if len(parts) == 1 else parts
