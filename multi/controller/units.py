"""Finds the nodes of a project that unit managers of this host run, and gives each of its nodes its unit.

Known are those that `multi install` has noted (`multi/controller/installed.py`), and those whose units have the names that
`multi render` gives them, whoever has put them there. Where there is nothing of the kind this costs a few looks at the
file system; no manager is asked.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

from multi.controller import installed
from multi.controller.managers import config_file
from multi.controller.managers.base import GONE, ManagerError, Unit, silent
from multi.controller.node import Node
from multi.controller.places import Places
from multi.controller.project import Project
from multi.errors import ConfigurationError
from multi.nodes.names import NodeName, this_host
from multi.units.unit_names import stem, unescaped

SYSTEMD, SUPERVISORD = "systemd", "supervisord"
_SYSTEM = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system")


def attach(places: Places, project: Project, nodes: list[Node]) -> list[Node]:
    """The nodes, those that units run with them, and the nodes of units that are not among them."""
    units = of(places, project)
    if not units:
        return nodes
    host = this_host()
    by_name = {node.name: node for node in nodes}
    for unit in units:
        name = NodeName(unit.node, host)
        node = by_name.get(name)
        if node is None:
            node = by_name[name] = Node(name, places.node(project, str(name)))
        # of two managers that know a node the one counts that runs it
        if node.unit is None or (unit.standing.runs and not node.unit.standing.runs):
            node.have(unit)
    return [*by_name.values()]


def projects() -> list[str]:
    """The keys of projects that have units here by the names that `multi render` gives them."""
    found = []
    for folder in (*_folders(user=False), *_folders(user=True)):
        paths = glob.glob(os.path.join(glob.escape(folder), "multi-*.target"))
        found += [unescaped(os.path.basename(path)[len("multi-") : -len(".target")]) for path in paths]
    config = config_file.find()
    if config is not None:
        try:
            names = map(os.path.basename, config_file.files(config))
            found += [named[1] for name in names if (named := re.fullmatch(r"multi-([^.]+)\..+\.conf", name))]
        except (ManagerError, ConfigurationError):
            pass  # not ours to read
    return sorted({*found})


def of(places: Places, project: Project) -> list[Unit]:
    """The units of a project, with what their managers say of them."""
    noted = installed.read(places, project)
    found: list[Unit] = []
    for user in (False, True):
        found += _of_systemd(project, noted.get(SYSTEMD), user=user)
    found += _of_supervisord(project, noted.get(SUPERVISORD), installed.aside(places, project))
    return found


def _of_systemd(project: Project, noted: installed.Installed | None, *, user: bool) -> list[Unit]:
    names = {}
    if noted is not None and noted.user == user:
        names = {unit: node for node, unit in noted.units.items()}
    names |= {unit: node for unit, node in _in_folders(project, _folders(user=user)) if unit not in names}
    if not names:
        return []
    from multi.controller.managers.systemd import Systemd, SystemdUnit  # not for the many hosts without

    systemd = Systemd(user=user)
    units: list[Unit] = [SystemdUnit(systemd, unit, node) for unit, node in names.items()]
    target = f"{stem(project.key)}.target"
    try:
        said = systemd.show([*names, target])
    except ManagerError as error:
        for one in units:
            one.told(silent(error))
        return units
    for one in units:
        one.told(said.get(one.id, GONE))
    if said.get(target, GONE).at_boot:
        wanted = {unit for unit, _ in _in_folders(project, _folders(user=user), only_wanted=True)}
        for one in units:
            one.is_wanted = one.id in wanted
    known = [one for one in units if one.standing.is_known]
    for one in known:
        one.roster = known
    return known


def _folders(*, user: bool) -> Sequence[str]:
    if not user:
        return _SYSTEM
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return (own_units(), os.path.join(runtime, "systemd/user"))


def own_units() -> str:
    """Where a user's own systemd has its units."""
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "systemd/user")


def _in_folders(project: Project, folders: Sequence[str], *, only_wanted: bool = False) -> list[tuple[str, str]]:
    """Units by the names that `multi render systemd` gives them, multi-PROJECT@NODE.service: those that the project's target
    wants, and (but for `only_wanted`) those with a file of their own."""
    found = []
    start = f"{stem(project.key)}@"
    for folder in folders:
        paths = [] if only_wanted else glob.glob(os.path.join(folder, f"{glob.escape(start)}*.service"))
        units = [os.path.basename(path) for path in paths]
        try:
            with open(os.path.join(folder, f"{stem(project.key)}.target"), encoding="utf-8") as file:
                units += re.findall(rf"^Wants=({re.escape(start)}\S+\.service)$", file.read(), re.MULTILINE)
        except OSError:
            pass  # there is none here
        found += [(unit, unescaped(node)) for unit in units if (node := unit[len(start) : -len(".service")])]
    return found


def _of_supervisord(project: Project, noted: installed.Installed | None, aside: str) -> list[Unit]:
    config = noted.config if noted is not None and noted.config else config_file.find()
    if config is None:
        return []
    names = {unit: node for node, unit in noted.units.items()} if noted is not None else {}
    names |= _in_files(project, config)
    if not names:
        return []
    from multi.controller.managers.supervisord import Supervisord, SupervisordUnit, name_of

    daemon = Supervisord("", config=config)
    try:
        daemon = Supervisord.from_file(config)
        values = {name_of(value): value for value in daemon.processes()}
    except (ManagerError, ConfigurationError) as error:
        lost: list[Unit] = [SupervisordUnit(daemon, unit, node, aside) for unit, node in names.items()]
        for one in lost:
            one.told(silent(error))
        return lost
    found: list[Unit] = []
    for program, node in names.items():
        if program in values:
            unit = SupervisordUnit(daemon, program, node, aside)
            unit.noted(values[program])
            unit.roster = found
            found.append(unit)
    return found


def _in_files(project: Project, config: str) -> dict[str, str]:
    """Programs → nodes, by the files that `multi render supervisord` makes, multi-PROJECT.NODE.conf, and multi-PROJECT.conf
    where there is a group."""
    found = {}
    try:
        paths = config_file.files(config)
    except (ManagerError, ConfigurationError):
        return {}  # not ours to read: nor are its nodes
    group = ""
    for path in paths:
        name = os.path.basename(path)
        if name == f"multi-{project.key}.conf":
            group = next((one[6:] for one in config_file.read(path) if one.startswith("group:")), "")
        elif named := re.fullmatch(rf"multi-{re.escape(project.key)}\.(.+)\.conf", name):
            found[named[1]] = named[1]
    return {f"{group}:{node}" if group else f"{project.key}-{node}": node for node in found}
