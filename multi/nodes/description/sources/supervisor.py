"""supervisord.conf: its programs, with the rules by which supervisord reads them."""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from multi.errors import ConfigurationError
from multi.nodes.description.sources import celery
from multi.nodes.description.sources.base import Files, Found, Imported

_SIZE = {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
#: What has no counterpart, and needs none.
_NEEDLESS = (
    "command",
    "process_name",
    "numprocs",
    "numprocs_start",
    "redirect_stderr",
)
_TAKEN = (
    *(
        "directory",
        "autostart",
        "user",
        "umask",
        "environment",
        "autorestart",
        "startsecs",
        "startretries",
        "stopsignal",
        "stopwaitsecs",
    ),
    *(
        "stdout_logfile",
        "stdout_logfile_maxbytes",
        "stdout_logfile_backups",
        "stopasgroup",
        "killasgroup",
        "exitcodes",
        "priority",
    ),
    *("stderr_logfile", "stderr_logfile_maxbytes", "stderr_logfile_backups"),
)
_AUTOMATIC = ("auto", "none", "syslog", "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/dev/null")


def read(text: str, path: str, files: Files, environ: Mapping[str, str], host: str) -> Imported:
    """The programs of such a file, and of those that it includes."""
    imported = Imported(path)
    here = os.path.dirname(path)
    parser = _parse(text, path)
    if parser.has_option("include", "files"):
        patterns = _expanded(parser.get("include", "files"), {"here": here, "host_node_name": host}, environ, imported)
        for pattern in patterns.split():
            for other, content in files(os.path.join(here, pattern)):
                more = _parse(content, other)
                for section in more.sections():
                    if section.partition(":")[0] in ("program", "group", "fcgi-program", "eventlistener"):
                        parser[section] = dict(more[section])
    base: dict[str, Any] = {}
    if parser.has_section("supervisord"):
        own = parser["supervisord"]
        if own.get("environment"):
            base["env"] = environment(
                _expanded(own["environment"], {"here": here, "host_node_name": host}, environ, imported)
            )
        if own.get("umask"):
            base["umask"] = own["umask"].strip()
        if own.get("minfds"):
            base["limits"] = {"nofile": int(own["minfds"])}
    groups = {
        program.strip(): section.partition(":")[2]
        for section in parser.sections()
        if section.startswith("group:")
        for program in parser[section].get("programs", "").split(",")
    }
    for section in parser.sections():
        what, _, name = section.partition(":")
        if what == "program":
            _program(imported, parser[section], name.strip(), groups, base, here, environ, host)
        elif what in ("eventlistener", "fcgi-program", "rpcinterface") and name != "supervisor":
            imported.left.append(f"[{section}]: there is no such thing here")
    for group in dict.fromkeys(groups.values()):
        members = ", ".join(program for program, of in groups.items() if of == group)
        imported.notes.append(
            f"[group:{group}] ({members}): name its tables instead, as in multi restart {members.replace(',', '')}"
        )
    return imported


def _parse(text: str, path: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"), delimiters=("=", ":"))
    # a # within a word is none of a comment's; supervisord needs a blank before it as well
    try:
        parser.read_string(text, path)
    except configparser.Error as error:
        raise ConfigurationError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    return parser


def _program(
    imported: Imported,
    section: Mapping[str, str],
    program: str,
    groups: Mapping[str, str],
    base: Mapping[str, Any],
    here: str,
    environ: Mapping[str, str],
    host: str,
) -> None:
    if "command" not in section:
        imported.left.append(f"[program:{program}]: it has no command")
        return
    count, first = int(section.get("numprocs", "1")), int(section.get("numprocs_start", "0"))
    for number in range(first, first + count):
        names = {
            "here": here,
            "program_name": program,
            "group_name": groups.get(program, program),
            "host_node_name": host,
            "process_num": number,
            "numprocs": count,
        }
        values = {key: _expanded(value, names, environ, imported) for key, value in section.items()}
        process = values.get("process_name", program)
        short = f"{program}{number - first + 1}" if count > 1 and "process_name" not in section else process
        found = Found(re.sub(r"[^A-Za-z0-9_.-]", "-", short))
        found.values |= {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
        try:
            celery.take(found, shlex.split(values["command"]))
        except ValueError as error:
            raise ConfigurationError(f"{imported.source}: [program:{program}]: command: {error}") from None
        _settings(found, values, imported, f"[program:{program}]")
        imported.add(found)


def _settings(found: Found, values: Mapping[str, str], imported: Imported, where: str) -> None:
    for key, name in (("directory", "directory"), ("user", "user"), ("umask", "umask")):
        if values.get(name):
            found.set(key, values[name], name)
    if values.get("environment"):
        found.values["env"] = {**found.values.get("env", {}), **environment(values["environment"])}
        found.became.append("environment -> env")
    restart = values.get("autorestart", "unexpected").lower()
    if restart in ("true", "1", "yes", "on"):
        found.set("restart", "always", "autorestart")
    elif restart in ("false", "0", "no", "off"):
        found.set("restart", "never", "autorestart")
    if "startretries" in values:
        found.set("max_crashes", max(1, int(values["startretries"])), "startretries")
    if "startsecs" in values and found.values.get("kind") == "command":
        found.set("ready_after", int(values["startsecs"]), "startsecs")
    elif "startsecs" in values:
        found.left.append(f"{where} startsecs {values['startsecs']}: a worker says itself when it is ready")
    signal = values.get("stopsignal", "TERM").upper()
    if signal not in ("TERM", "15", "SIGTERM"):
        found.set("stop.signal", signal, "stopsignal")
    if _is_on(values.get("killasgroup", "false")):
        found.became.append("killasgroup: a KILL always reaches all processes of a node")
    if "stopwaitsecs" in values:
        found.set("stop.kill_after", int(values["stopwaitsecs"]), "stopwaitsecs")
    else:
        _once(
            imported.notes,
            "stopwaitsecs was not given, so supervisord killed after 10 s; here a node has the time that its tasks need",
        )
    log = values.get("stdout_logfile", "AUTO")
    about_log = [key for key in ("stdout_logfile_maxbytes", "stdout_logfile_backups") if key in values]
    if log.lower() not in _AUTOMATIC and "log" not in found.values:
        found.set("log.file", log.replace("%", "%%"), "stdout_logfile")
        if "stdout_logfile_maxbytes" in values:
            found.set("log.size", _bytes(values["stdout_logfile_maxbytes"]), "stdout_logfile_maxbytes")
        if int(values.get("stdout_logfile_backups", "10")) > 0 and "stdout_logfile_backups" in values:
            found.set("log.keep", int(values["stdout_logfile_backups"]), "stdout_logfile_backups")
        elif "stdout_logfile_backups" in values:
            found.left.append(
                f"{where} stdout_logfile_backups 0: of a log that is rotated one old file is kept at least"
            )
    else:
        if "stdout_logfile" in values and log.lower() != "auto":
            found.left.append(f"{where} stdout_logfile {log}: a node has a log of its own; say in log.file where it is")
        found.left += [f"{where} {key} {values[key]}: it was about a log that is not taken over" for key in about_log]
    errors = values.get("stderr_logfile", "AUTO")
    if errors.lower() not in _AUTOMATIC and errors != log:
        found.left.append(f"{where} stderr_logfile {errors}: all that a node prints is in one log")
    if "stderr_logfile" in values and errors.lower() in _AUTOMATIC and errors.lower() != "auto":
        found.left.append(f"{where} stderr_logfile {errors}: all that a node prints is in one log")
    for key in ("stderr_logfile_maxbytes", "stderr_logfile_backups"):
        if key in values:
            found.left.append(f"{where} {key} {values[key]}: all that a node prints is in one log")
    if _is_on(values.get("stopasgroup", "false")):
        found.left.append(
            f"{where} stopasgroup: the children get no TERM of their own, which would end their tasks at once"
        )
    if values.get("exitcodes", "0") != "0":
        found.left.append(f"{where} exitcodes {values['exitcodes']}: here 0 is the expected one")
    if "priority" in values:
        found.left.append(f"{where} priority {values['priority']}: say with depends_on what has to be ready before")
    if values.get("autostart", "true").lower() in ("false", "0", "no", "off"):
        found.left.append(f"{where} autostart=false: `multi up` starts all nodes; start others by --only")
    elif "autostart" in values:
        found.became.append("autostart: `multi up` starts all nodes")
    for key in values:
        if key not in _NEEDLESS and key not in _TAKEN:
            found.left.append(f"{where} {key} {values[key]}")


def _is_on(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes", "on")


def environment(text: str) -> dict[str, str]:
    """KEY="value",KEY2=value: values with anything but letters, digits and a few signs are in quotes."""
    lexer = shlex.shlex(text)
    lexer.wordchars += "/.+-():"
    tokens = list(lexer)
    found: dict[str, str] = {}
    at = 0
    while at < len(tokens):
        if tokens[at] == ",":
            at += 1
            continue
        if at + 2 >= len(tokens) or tokens[at + 1] != "=":
            raise ConfigurationError(f'environment: {tokens[at]!r} has no value; write it as KEY="value"')
        found[tokens[at]] = tokens[at + 2].strip("'\"")
        at += 3
    return found


def _expanded(text: str, names: Mapping[str, Any], environ: Mapping[str, str], imported: Imported) -> str:
    known = {**{f"ENV_{name}": value for name, value in environ.items()}, **names}
    for name in re.findall(r"%\(ENV_(\w+)\)", text):
        if name in environ:
            _once(
                imported.notes,
                f"%(ENV_{name})s is filled in with the {name} of this shell, for good; supervisord's own may be another",
            )
    try:
        return text % known
    except KeyError as error:
        name = str(error.args[0])
        imported.left.append(f"%({name})s: there is no such value here; it stands in the file as it is")
        return re.sub(r"%\(" + re.escape(name) + r"\)[-#0 +]*\d*[a-z]", lambda one: "%%" + one[0][1:], text) % known
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{imported.source}: {text!r}: {error}; write a percent sign as %%") from None


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*(kb|mb|gb)?", text.strip().lower())
    if found is None:
        raise ConfigurationError(f"{text!r} is no size; supervisord has 50MB, 100KB or a number")
    return int(found[1]) * _SIZE[found[2] or ""]


def _once(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
