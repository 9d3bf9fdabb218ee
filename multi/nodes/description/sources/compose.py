"""A compose file: the services that run a Celery worker or a beat."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from multi.errors import ConfigurationError, MissingExtra
from multi.nodes.description.sources import celery
from multi.nodes.description.sources.base import Found, Imported
from multi.nodes.policy import parse_span

_RESTART = {"no": "never", "always": "always", "unless-stopped": "always", "on-failure": "on-failure"}
#: What is about the container, and has no meaning for a process of this host.
_OF_CONTAINERS = ("image", "build", "init", "container_name", "tty", "stdin_open", "pull_policy", "platform")
_TAKEN = (
    *(
        "command",
        "entrypoint",
        "environment",
        "env_file",
        "working_dir",
        "stop_grace_period",
        "stop_signal",
        "user",
        "restart",
    ),
    *("depends_on", "deploy", "scale", "mem_limit"),
)


def read(text: str, path: str, environ: Mapping[str, str]) -> Imported:
    """The services of such a file that run Celery; variables are filled in from `environ`."""
    try:
        import yaml
    except ImportError:
        raise MissingExtra("yaml", "multi-workers[compose]", "a compose file") from None
    imported = Imported(path)
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    services = data.get("services") if isinstance(data, dict) else None
    if not isinstance(services, dict):
        raise ConfigurationError(f"{path} is no compose file: it has no services")
    missing: list[str] = []
    services = _filled(services, environ, missing)
    for name in dict.fromkeys(missing):
        imported.left.append(f"${{{name}}}: it has no value here, and stands in the file as it is")
    counts: dict[str, int] = {}
    for name, service in services.items():
        if isinstance(service, dict):
            counts[str(name)] = _service(imported, str(name), service)
    taken = [name for name, count in counts.items() if count]
    for name, service in services.items():
        if name in taken:
            _depend(imported, str(name), service, taken, counts)
    others = [name for name in counts if name not in taken]
    if others:
        imported.left.append(f"services that run no Celery: {', '.join(others)}")
    return imported


def _service(imported: Imported, name: str, service: Mapping[str, Any]) -> int:
    words = [*_words(service.get("entrypoint")), *_words(service.get("command"))]
    program = celery.Program(list(words))
    if program.celery() is None:
        return 0
    deploy = service.get("deploy") or {}
    count = int(deploy.get("replicas", service.get("scale", 1)))
    for number in range(1, count + 1):
        found = Found(re.sub(r"[^A-Za-z0-9_.-]", "-", name) + (str(number) if count > 1 else ""))
        celery.take(found, words)
        if count > 1 or found.values.get("hostname"):
            # in a container each has a host of its own; here they need names of their own
            found.values.pop("hostname", None)
        if count > 1:
            found.name = re.sub(r"[^A-Za-z0-9_.-]", "-", name) + str(number)
        _settings(found, name, service, deploy, os.path.dirname(os.path.abspath(imported.source)))
        imported.add(found)
    return count


def _settings(found: Found, name: str, service: Mapping[str, Any], deploy: Mapping[str, Any], folder: str) -> None:
    env = service.get("environment") or {}
    if isinstance(env, list):
        env = {one.partition("=")[0]: one.partition("=")[2] if "=" in one else None for one in map(str, env)}
    if passed := [str(key) for key, value in env.items() if value is None]:
        found.left.append(
            f"{name}: environment {', '.join(passed)}: passed on from whoever runs compose; set it in env, or in an env file"
        )
    env = {str(key): _plain(value) for key, value in env.items() if value is not None}
    if env:
        found.values["env"] = {**env, **found.values.get("env", {})}
        found.became.append("environment -> env")
    files = service.get("env_file") or []
    named = []
    for file in files if isinstance(files, list) else [files]:
        is_whole = isinstance(file, dict)
        optional = "-" if is_whole and not file.get("required", True) else ""
        # compose reads it from the folder of its own file, wherever multi.toml lies
        named.append(optional + os.path.normpath(os.path.join(folder, str(file.get("path") if is_whole else file))))
    if named:
        found.set("env_files", named, "env_file")
    if service.get("working_dir"):
        found.left.append(
            f"{name}: working_dir {service['working_dir']} is a folder of the container; say in directory where it is here"
        )
    if "stop_grace_period" in service:
        found.set("stop.kill_after", _span(str(service["stop_grace_period"])), "stop_grace_period")
    if str(service.get("stop_signal", "SIGTERM")) not in ("SIGTERM", "15"):
        found.set("stop.signal", str(service["stop_signal"]).removeprefix("SIG"), "stop_signal")
    if service.get("user"):
        found.left.append(f"{name}: user {service['user']} is one of the container; say in user whom it runs as here")
    restart, colon, times = str(service.get("restart", "")).partition(":")
    if restart in _RESTART:
        found.set("restart", _RESTART[restart], "restart")
    if colon:
        found.set("max_crashes", max(1, int(times)) if times.isdecimal() else 1, "restart")
    memory = (deploy.get("resources") or {}).get("limits", {}).get("memory") or service.get("mem_limit")
    if memory:
        found.set("max_memory", str(memory).upper(), "the limit of memory")
    for key, value in deploy.items():
        parts = dict(value or {}) if key == "resources" else {}
        limits = parts.pop("limits", None) or {}
        left = [*parts, *(f"limits.{one}" for one in limits if one != "memory")]
        if key not in ("replicas", "resources"):
            left = [key]
        found.left += [f"{name}: deploy.{one}" for one in left]
    for key, value in service.items():
        if key not in _TAKEN and key not in _OF_CONTAINERS:
            found.left.append(f"{name}: {key} {value if isinstance(value, str | int | float) else '…'}")


def _depend(
    imported: Imported, name: str, service: Mapping[str, Any], taken: list[str], counts: Mapping[str, int]
) -> None:
    wanted = [str(one) for one in service.get("depends_on") or ()]
    base = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    mine = [one for one in imported.nodes if one.name == base or re.fullmatch(re.escape(base) + r"\d+", one.name)]
    for one in mine:
        names = [
            re.sub(r"[^A-Za-z0-9_.-]", "-", other) + (str(number) if counts[other] > 1 else "")
            for other in wanted
            if other in taken
            for number in range(1, counts[other] + 1)
        ]
        if names:
            one.set("depends_on", names, "depends_on")
    rest = [other for other in wanted if other not in taken]
    if rest and mine:
        mine[0].left.append(
            f'{name}: depends_on {", ".join(rest)}: say where they listen, as in depends_on = ["tcp://127.0.0.1:6379"]'
        )


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else shlex.split(str(value))


def _plain(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _filled(value: Any, environ: Mapping[str, str], missing: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, environ, missing) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, environ, missing) for one in value]
    return celery.expand(value, environ, missing) if isinstance(value, str) else value


def _span(text: str) -> int | float:
    found = parse_span(text.replace("us", "ms")) if not text.endswith("us") else 0.0
    return int(found) if found == int(found) else found
