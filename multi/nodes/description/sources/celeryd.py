"""/etc/default/celeryd: the shell variables that the init script of Celery, and its systemd unit, go by."""

from __future__ import annotations

import re
import shlex

from multi.errors import ConfigurationError
from multi.nodes.description.sources import many
from multi.nodes.description.sources.base import Imported
from multi.nodes.description.sources.celery import expand

#: What the variables mean that become no key, or are needed for other ones.
_KNOWN = (
    *(
        "CELERYD_NODES",
        "CELERY_BIN",
        "CELERY_APP",
        "CELERYD_MULTI",
        "CELERYD_CHDIR",
        "CELERYD_OPTS",
        "CELERYD_LOG_FILE",
    ),
    *(
        "CELERYD_PID_FILE",
        "CELERYD_LOG_LEVEL",
        "CELERYD_USER",
        "CELERYD_GROUP",
        "CELERY_CREATE_DIRS",
        "CELERY_CREATE_RUNDIR",
    ),
    *("CELERY_CREATE_LOGDIR", "CELERYD_LOG_DIR", "CELERYD_PID_DIR", "ENABLED", "VIRTUAL_ENV", "CELERYD_RUN_DIR"),
)
_LINE = re.compile(r"\s*(export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def read(text: str, path: str) -> Imported:
    """The nodes of such a file."""
    imported = Imported(path)
    variables, exported, odd = assignments(text)
    imported.left += odd
    take(imported, variables, exported)
    for name in variables:
        if (
            name not in _KNOWN
            and name not in exported
            and not name.startswith("CELERYBEAT")
            and name not in _used(text)
        ):
            imported.left.append(f"{name}: a variable that the workers did not see (it is not exported)")
    if any(name.startswith("CELERYBEAT") for name in variables):
        imported.left.append(
            'CELERYBEAT_…: a beat is a node of its own: [nodes.beat] with kind = "beat", engine = "celery"'
        )
    return imported


def take(imported: Imported, variables: dict[str, str], exported: set[str]) -> None:
    """Add the nodes that these variables describe."""
    words = shlex.split(variables.get("CELERYD_NODES") or "celery")
    if variables.get("CELERY_APP"):
        words += ["-A", variables["CELERY_APP"]]
    words.append(f"--loglevel={variables.get('CELERYD_LOG_LEVEL') or 'INFO'}")
    for option, name in (("--pidfile", "CELERYD_PID_FILE"), ("--logfile", "CELERYD_LOG_FILE")):
        if variables.get(name):
            words.append(f"{option}={variables[name]}")
    common: dict[str, object] = {}
    for key, name in (("directory", "CELERYD_CHDIR"), ("user", "CELERYD_USER"), ("group", "CELERYD_GROUP")):
        if variables.get(name):
            common[key] = variables[name]
    env = {name: variables[name] for name in variables if name in exported and name not in _KNOWN}
    if env:
        common["env"] = env
    celery = variables.get("CELERY_BIN") or "celery"
    python = many.python_of(celery)
    if not python and celery.startswith("python"):
        python = celery.split()[0]
    try:
        words += shlex.split(variables.get("CELERYD_OPTS", ""))
        many.take(imported, words, python, common)
    except (ConfigurationError, ValueError) as error:
        raise ConfigurationError(
            f"{imported.source}: what celery multi would be given can't be read: {error}"
        ) from None
    if not python:
        imported.notes.append("CELERY_BIN has no path: say in python whose Celery it is, if that isn't multi's own")


def assignments(text: str) -> tuple[dict[str, str], set[str], list[str]]:
    """The variables of a shell file, the names of those that are exported, and the lines that are something else."""
    variables: dict[str, str] = {}
    exported: set[str] = set()
    odd = []
    for line in _lines(text):
        found = _LINE.fullmatch(line)
        if found is None:
            if line.strip().startswith("export "):
                exported.update(line.split()[1:])
            elif line.strip():
                odd.append(f"this line of the shell: {line.strip()}")
            continue
        missing: list[str] = []
        variables[found[2]] = _value(found[3], variables, missing)
        odd += [f"{found[2]}: ${name} has no value in this file" for name in missing]
        if found[1]:
            exported.add(found[2])
    return variables, exported, odd


def _lines(text: str) -> list[str]:
    """The logical lines: quotes and a backslash at the end go over several."""
    lines, current, quote = [], "", ""
    at = 0
    while at < len(text):
        sign = text[at]
        if quote:
            if sign == "\\" and quote == '"' and at + 1 < len(text):
                current += text[at : at + 2]
                at += 2
                continue
            if sign == quote:
                quote = ""
        elif sign == "\\" and at + 1 < len(text):
            current += "" if text[at + 1] == "\n" else text[at : at + 2]
            at += 2
            continue
        elif sign in "\"'":
            quote = sign
        elif sign == "#" and (not current or current[-1].isspace()):
            while at < len(text) and text[at] != "\n":
                at += 1
            continue
        elif sign == "\n" or sign == ";":
            lines.append(current)
            current = ""
            at += 1
            continue
        current += sign
        at += 1
    return [*lines, current]


def _value(raw: str, variables: dict[str, str], missing: list[str]) -> str:
    """The value of an assignment: pieces in quotes and without, up to the first blank outside of them."""
    value, at = "", 0
    while at < len(raw) and not raw[at].isspace():
        sign = raw[at]
        end = at + 1
        if sign == "'":
            end = raw.find("'", end)
            end = len(raw) if end < 0 else end
            value += raw[at + 1 : end]
            at = end + 1
        elif sign == '"':
            while end < len(raw) and raw[end] != '"':
                end += 2 if raw[end] == "\\" else 1
            inner = re.sub(r'\\([\\"`])', r"\1", raw[at + 1 : end].replace("\\\n", ""))
            value += expand(inner.replace("\\$", "$$"), variables, missing)
            at = end + 1
        elif sign == "\\":
            value += raw[at + 1 : at + 2]
            at += 2
        else:
            while end < len(raw) and not raw[end].isspace() and raw[end] not in "'\"\\":
                end += 1
            value += expand(raw[at:end], variables, missing)
            at = end
    return value


def _used(text: str) -> set[str]:
    return {found[1] for found in re.finditer(r"\$\{?([A-Za-z_]\w*)", text)}
