"""Which nodes a format is to write down, and what it is told of the machine that they are for."""

from __future__ import annotations

import fnmatch
import glob
import os
import pwd
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from multi.cli.nodes import Request
from multi.controller import project
from multi.controller.managers.base import ManagerError
from multi.errors import ConfigurationError
from multi.nodes.description import Described, Description
from multi.nodes.description.problems import suggestion
from multi.nodes.engines.celery import LAUNCHER
from multi.nodes.names import this_host
from multi.nodes.spec import NodeSpec
from multi.units import programs
from multi.units.base import Target, UnitFormat


class Chosen(NamedTuple):
    """The nodes, which of them come after which, and the description that they are from, if any."""

    specs: list[NodeSpec]
    after: dict[str, list[str]]
    description: Description | None = None


def choose(request: Request, texts: Sequence[str], patterns: Sequence[str]) -> Chosen:
    """The nodes that are meant: those of the command line where it says what they run, else those of multi.toml, else those that
    are known here. Without names all of them."""
    anew = bool(request.options.get("app") or request.own.get("cmd"))
    if anew:
        if patterns:
            raise ConfigurationError(
                "--node chooses among the nodes of multi.toml; here the command line names them itself"
            )
        return Chosen([request.spec(node) for node in request.nodes(texts, to_start=True)], {})
    if project.find_file(request.cwd) is not None:
        description = project.description(request.cwd).check()
        if description.nodes:
            return _described(request, description, texts, patterns)
    return _known(request, texts, patterns)


def _described(request: Request, description: Description, texts: Sequence[str], patterns: Sequence[str]) -> Chosen:
    every = description.nodes
    wanted: set[str] = set()
    for text in (*texts, *patterns):
        members = [node.name for node in every if _is_meant(node, text)]
        if not members:
            known = [*description.sections(), *(node.name for node in every)]
            hint = suggestion(text, known) or f"; there are {', '.join(dict.fromkeys(known))}"
            raise ConfigurationError(
                f"{description.path} describes no node {text!r}{hint}. Or say what it runs: -A APP"
            )
        wanted |= set(members)
    chosen = [node for node in every if not wanted or node.name in wanted]
    names = [str(node.spec.name) for node in chosen]
    nodes = request.nodes(names, to_start=True)
    specs = []
    for described, node in zip(chosen, nodes, strict=True):
        given = request.spec(node)
        given.env = {}  # what is around this command is no part of a description
        specs.append(described.spec.changed(given))
    here = {node.name for node in chosen}
    after = {
        node.name: [need.target[0] for need in node.needs if need.kind == "node" and need.target[0] in here]
        for node in chosen
    }
    return Chosen(specs, {name: needs for name, needs in after.items() if needs}, description)


def _is_meant(node: Described, text: str) -> bool:
    return any(fnmatch.fnmatchcase(name, text) for name in (node.name, node.section, str(node.spec.name)))


def _known(request: Request, texts: Sequence[str], patterns: Sequence[str]) -> Chosen:
    """Nodes that were started by hand, as they are kept."""
    nodes = request.nodes(texts) if texts else request.fleet.all()
    if patterns:
        nodes = [node for node in nodes if any(fnmatch.fnmatchcase(node.name.short, one) for one in patterns)]
    if not nodes:
        raise ConfigurationError(
            "which nodes? There is no multi.toml here, and no node is known: say what they run (multi render systemd w1 -A proj)"
        )
    specs = []
    for node in nodes:
        spec = node.spec()
        if spec is None:
            raise ConfigurationError(f"{node}: nothing is kept of it; say what it runs: -A APP")
        specs.append(spec.changed(request.spec(node)))
    return Chosen(specs, {})


def checked(chosen: Chosen) -> Chosen:
    """Itself; an error for a node that no engine runs."""
    for spec in chosen.specs:
        programs.check(spec)
    return chosen


def target(request: Request, kind: UnitFormat, chosen: Chosen, given: dict[str, Any]) -> Target:
    """The machine that is meant: this one, but for what is given otherwise."""
    user = pwd.getpwuid(os.geteuid())
    homes = {user.pw_name: user.pw_dir}
    for spec in chosen.specs:
        if spec.user:
            homes |= _home(spec.user)
    owner = given["owner"]
    if owner:
        homes |= _home(owner)
    for text in given["homes"]:
        name, equals, path = text.partition("=")
        if not equals or not os.path.isabs(path):
            raise ConfigurationError(f"--home {text}: write USER=DIRECTORY, the directory as an absolute path")
        homes[name] = path
    is_user = bool(given["personal"])
    home = request.fleet.current
    state_dir = request.own.get("state_dir")
    if not state_dir and chosen.description is not None and chosen.description.state_dir:
        # said in so many words, since a node's directory may be elsewhere
        state_dir = os.path.join(chosen.description.folder, os.path.expanduser(chosen.description.state_dir))
    templates = given["templates"] or (chosen.description.templates if chosen.description else None)
    return Target(
        project=home.key if home is not None else project.of(None, request.cwd).key,
        host=this_host(),
        manager_version=given["manager_version"] or (None if kind.name != "systemd" else _version()),
        user=is_user,
        owner=user.pw_name if is_user else owner,
        group=None if is_user else given["owners_group"],
        homes=homes,
        hardening=given["hardening"],
        multi=None if given["agentless"] else _absolute(request, given["multi"]) or _multi(),
        launcher=_launcher(request, given),
        state_dir=_absolute(request, state_dir),
        log_dir=_absolute(request, given["log_dir"]),
        templates_dir=_absolute(request, templates),
        longest_task=given["longest_task"],
        after=chosen.after,
        needs=tuple(given["needs"]),
        credentials=_pairs("--credential", given["credentials"]),
        settings=settings(kind, given["settings"]),
    )


def settings(kind: UnitFormat, given: Sequence[str]) -> dict[str, str]:
    """What --set says; a name that the format doesn't know is an error."""
    found = _pairs("--set", given)
    for name in found:
        if name not in kind.settings:
            known = suggestion(name, kind.settings)
            there = known or (f"; there are {', '.join(kind.settings)}" if kind.settings else "; it has none")
            raise ConfigurationError(f"--set {name}: {kind.name} has no such setting{there}")
    return found


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"{option} {text}: write NAME=VALUE")
        found[name] = value
    return found


def _home(user: str) -> dict[str, str]:
    """Where this machine has the user's home directory, if it knows the user."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        return {}
    return {user: found.pw_dir}


def _absolute(request: Request, path: str | None) -> str | None:
    return None if not path else os.path.normpath(os.path.join(request.here, os.path.expanduser(path)))


def _launcher(request: Request, given: dict[str, Any]) -> str | None:
    """What runs Celery's workers on the machine that is meant, where that is known: it lies in multi's package."""
    if given["launcher"]:
        return _absolute(request, given["launcher"])
    if given["agentless"]:
        return None
    there = _absolute(request, given["multi"])
    if there is None or os.path.dirname(there) == os.path.dirname(sys.executable):
        return LAUNCHER
    inside = os.path.join(*LAUNCHER.split(os.sep)[-4:])  # multi/nodes/engines/…
    around = glob.escape(os.path.dirname(os.path.dirname(there)))
    found = glob.glob(os.path.join(around, "lib", "python3*", "*-packages", inside))
    return found[0] if len(found) == 1 else None


def _version() -> int | None:
    from multi.controller.managers.systemd import Systemd

    try:
        return Systemd().version()
    except ManagerError:
        return None


def _multi() -> str | None:
    """The program `multi` of this interpreter."""
    beside = os.path.join(os.path.dirname(sys.executable), "multi")
    return beside if os.access(beside, os.X_OK) else shutil.which("multi")
