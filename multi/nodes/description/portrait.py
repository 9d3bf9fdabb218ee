"""What a description would have to say so that a node is as its specification is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from multi.nodes import options as table
from multi.nodes.description.description import LOG_KEYS, STOP_KEYS
from multi.nodes.description.keys import NODE_KEYS, OPTION, POLICY
from multi.nodes.description.kinds import Duration, Flag, Size, Texts, Whole
from multi.nodes.description.special import Hooks
from multi.nodes.options import Value
from multi.nodes.policy import UNLIMITED
from multi.nodes.spec import NodeSpec

#: Variables that are about the command and not about the node.
_NOT_ITS_OWN = ("MULTI_STATE_DIR",)
_FIELDS = ("engine", "kind", "singleton", "user", "group", "nice")


def portrait(spec: NodeSpec, folder: str, python: str, host: str) -> dict[str, Any]:
    """The values, by key. Paths are seen from `folder`; `python` and `host` are what needs no word."""
    values = of_options(spec.options)
    for option in ("logfile", "pidfile"):
        if option in spec.options:
            pattern = os.path.expanduser(str(spec.options[option]))
            path = seen_from(folder, os.path.join(spec.cwd.replace("%", "%%"), pattern), percent=True)
            if option == "logfile":
                values["log"] = {"file": path}
            else:
                values["pidfile"] = path
    given = {"engine": spec.given_engine, "kind": spec.given_kind, "singleton": spec.given_singleton}
    for field in _FIELDS:
        value = given.get(field, getattr(spec, field))
        if value is not None:
            values[field] = value
    if spec.engine == "command":
        values |= {"kind": "command"}
        values.pop("engine", None)
    if spec.command:
        values["command"] = spec.command
    if spec.name.host != host:
        values["hostname"] = spec.name.host
    if spec.executable != python and spec.engine != "command":
        values["python"] = spec.executable
    if spec.cwd != folder:
        values["directory"] = seen_from(folder, spec.cwd)
    if spec.umask != 0o022:
        values["umask"] = f"{spec.umask:03o}"
    own = {name: value for name, value in spec.options.items() if name.startswith("-")}
    if own or spec.rest:
        values["args"] = [*table.words(own), *spec.rest]
    env = {name: value for name, value in spec.env.items() if name not in _NOT_ITS_OWN}
    if env:
        values["env"] = env
    if spec.env_files:
        values["env_files"] = [
            ("-" if path.startswith("-") else "") + seen_from(folder, path.removeprefix("-")) for path in spec.env_files
        ]
    if spec.limits:
        values["limits"] = {name: _limit(value) for name, value in spec.limits.items()}
    if spec.hooks:
        values["hooks"] = {event: Hooks.written(hooks) for event, hooks in spec.hooks.items()}
    return values | of_policy(spec.policy, values)


def of_options(options: Mapping[str, Value]) -> dict[str, Any]:
    """The keys for these options of a worker."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        key = NODE_KEYS.get(name)
        if key is None or key.to != OPTION or value is False:
            continue
        if isinstance(key.kind, Flag):
            values[name] = True
        elif isinstance(key.kind, Texts):
            values[name] = [part.strip() for part in str(value).split(",") if part.strip()]
        elif isinstance(key.kind, Whole | Duration | Size):
            values[name] = _number(str(value))
        else:
            values[name] = str(value)
    return values


def of_policy(policy: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys for what the keeper goes by; a log that `values` has already is added to."""
    found: dict[str, Any] = {}
    stop = {key: policy[name] for key, name in STOP_KEYS.items() if policy.get(name) is not None}
    log = dict(values.get("log", {}))
    log |= {key: policy[name] for key, name in LOG_KEYS.items() if policy.get(name) is not None}
    if stop:
        found["stop"] = {key: _plain(value) for key, value in stop.items()}
    if log:
        found["log"] = {key: _plain(value) for key, value in log.items()}
    for name, value in policy.items():
        if name in NODE_KEYS and NODE_KEYS[name].to == POLICY and value is not None:
            found[name] = _plain(value)
    return found


def seen_from(folder: str, path: str, *, percent: bool = False) -> str:
    """A path as one writes it in a file that lies in `folder`."""
    base = folder.replace("%", "%%") if percent else folder
    path = os.path.normpath(path)
    if path == base:
        return "."
    return path[len(base) + 1 :] if path.startswith(base.rstrip("/") + "/") and base != "/" else path


def _number(text: str) -> int | float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number == int(number) else number


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value


def _limit(value: Any) -> Any:
    if isinstance(value, list):
        return [_limit(one) for one in value]
    return "unlimited" if value == UNLIMITED else value
