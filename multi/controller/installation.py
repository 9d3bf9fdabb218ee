"""What has to be done so that a unit manager of this host runs nodes: files to be written, nodes to be started or handed over.

Everything is looked at before anything is done; `multi/cli/install.py` shows it and carries it out.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from multi import units as formats
from multi.controller import boot, installed, installing
from multi.controller.fleet import Fleet
from multi.controller.installed import Installed
from multi.controller.installing import GONE, NEW, Change
from multi.controller.managers import config_file
from multi.controller.managers.base import Unit
from multi.controller.managers.supervisord import Supervisord, SupervisordUnit
from multi.controller.managers.systemd import Systemd, SystemdUnit
from multi.controller.node import Node
from multi.controller.places import Places
from multi.controller.project import Project
from multi.controller.units import SUPERVISORD, SYSTEMD, own_units
from multi.errors import ConfigurationError, NodeError
from multi.nodes.engines.celery import LAUNCHER
from multi.nodes.names import this_host
from multi.nodes.spec import NodeSpec
from multi.units.base import HARDENING, File, Target, UnitFormat

START, RESTART, MOVE, STOP, KEEP = "start", "restart", "move", "stop", "keep"


class Host(NamedTuple):
    """The manager that is to run the nodes: a supervisord by its configuration file, systemd by whose it is."""

    manager: str
    user: bool = False
    config: str | None = None

    def __str__(self) -> str:
        if self.manager == SYSTEMD:
            return "systemd --user" if self.user else "systemd"
        return f"supervisord ({self.config})"

    def unit(self, id: str, node: str) -> Unit:
        """A unit of this manager."""
        if self.manager == SYSTEMD:
            return SystemdUnit(Systemd(user=self.user), id, node)
        assert self.config is not None
        return SupervisordUnit(Supervisord.from_file(self.config), id, node)


class Step(NamedTuple):
    """What is done with one node. `unit` is the one that is to run it; a node that is stopped has the one that it had."""

    action: str
    node: Node
    unit: Unit
    why: str = ""


class Installation:
    """The nodes `specs` as units of `host`, all that this manager is to have of the project; those of `off` are not to be started
    with the machine."""

    def __init__(
        self, fleet: Fleet, host: Host, specs: Sequence[NodeSpec], target: Target, off: Collection[str] = ()
    ) -> None:
        home = fleet.current
        if home is None:
            raise ConfigurationError("there is no project here; go to the folder of its multi.toml")
        self.home = home
        self.fleet = fleet
        self.host = host
        self.specs = list(specs)
        self.target = target
        self.format: UnitFormat = formats.find(host.manager)
        self.noted = installed.read(fleet.places, home)
        before = self.noted.get(host.manager)
        self.before = before or Installed(host.manager, {}, [])
        if before is not None and (before.user, before.config) != (host.user, host.config):
            there = Host(before.manager, before.user, before.config)
            raise NodeError(
                f"nodes of {home.key} are units of {there} already; take them out first: multi disable --now"
            )
        self.units = self.format.units(self.specs, target) if self.specs else {}
        rendered = self.format.render(self.specs, target) if self.specs else []
        self.files: list[File] = boot.without(rendered, {node: self.units[node] for node in off})
        self.changes: list[Change] = installing.compare(self.files, self.before.files)
        if host.manager == SYSTEMD:
            self.changes += installing.hidden(self.files, [*self.units.values()], self.before.files)
        self.affected = installing.affected(
            self.format, rendered, self.before.files, [*self.before.units.values()], installed.aside(fleet.places, home)
        ) | {os.path.basename(change.path) for change in self.changes if change.action == GONE}
        #: what is started with the machine no more, and is to be again
        self.unwanted = self._unwanted()
        self.known = {node.name.short: node for node in fleet.all()}
        self.steps = [*self._wanted(), *self._gone()]

    # ---- what there is to do

    def _wanted(self) -> list[Step]:
        found = []
        for spec in self.specs:
            short = spec.name.short
            node = self.known.get(short)
            if node is None:
                (node,) = self.fleet.to_start([str(spec.name)])
            unit = self.host.unit(self.units[short], short)
            found.append(self._step(node, unit))
        return found

    def _step(self, node: Node, unit: Unit) -> Step:
        now = node.manager
        if now is not None and now.manager == unit.manager and now.id == unit.id:
            if not now.standing.runs:
                return Step(START, node, unit, now.standing.message or f"it is {now.standing.state}")
            if unit.id in self.affected:
                return Step(RESTART, node, unit, "its unit has changed")
            return Step(KEEP, node, unit)
        if now is not None and now.standing.runs:
            return Step(MOVE, node, unit, f"{now} runs it")
        if node.status().is_up:
            return Step(MOVE, node, unit, "it runs by itself")
        return Step(START, node, unit, "nobody runs it")

    def _gone(self) -> list[Step]:
        """Units of this manager that are not to be any more."""
        found = []
        for short, name in self.before.units.items():
            if short in self.units:
                continue
            node = self.known.get(short)
            if node is not None and node.unit is not None and node.unit.id == name:
                found.append(Step(STOP, node, node.unit, "it is not to be a unit any more"))
        return found

    def _unwanted(self) -> list[str]:
        new = {os.path.basename(change.path) for change in self.changes if change.action == NEW}
        targets = [name for name in self.at_boot if name not in new]
        if self.host.manager != SYSTEMD or not targets:
            return []
        said = Systemd(user=self.host.user).show(targets)
        return [name for name in targets if name not in said or not said[name].at_boot]

    @property
    def is_prepared(self) -> bool:
        """Whether all files are there, and count at boot."""
        return not self.changes and not self.unwanted

    @property
    def is_empty(self) -> bool:
        return self.is_prepared and all(step.action == KEEP for step in self.steps)

    def of(self, *actions: str) -> list[Step]:
        return [step for step in self.steps if step.action in actions]

    @property
    def foreign(self) -> list[str]:
        """Files of somebody else's that are in the way."""
        return [change.path for change in self.changes if change.is_foreign]

    @property
    def at_boot(self) -> list[str]:
        """What of systemd's is started at boot by itself: the target, which wants the nodes."""
        return [os.path.basename(file.path) for file in self.files if file.path.endswith(".target")]

    @property
    def others(self) -> dict[str, Installed]:
        """What other managers have of these nodes, by what was noted."""
        return {
            manager: one
            for manager, one in self.noted.items()
            if manager != self.host.manager and any(short in one.units for short in self.units)
        }

    # ---- doing it

    def write(self) -> None:
        """Bring the files to their places, and note what is there now. Nothing is started or stopped by that, and what is to go
        stays: a unit that is without its file is stopped as its manager likes."""
        self.note([*self.before.files, *(file.path for file in self.files)], {**self.before.units, **self.units})
        units = {*self.units.values()}
        # what hides a template goes at once
        installing.write(
            change for change in self.changes if change.action != GONE or os.path.basename(change.path) in units
        )
        boot.forget_aside(self.fleet.places, self.home, self.files)

    def clear(self) -> None:
        """Take away what is to go, once nothing runs with it."""
        installing.write(change for change in self.changes if change.action == GONE and os.path.exists(change.path))
        self.note([file.path for file in self.files], self.units)

    def seen(self) -> None:
        """Note that all is as it is to be: what was written to the description since is no drift."""
        path = installed.path(self.fleet.places, self.home)
        if os.path.exists(path):
            os.utime(path)

    def note(self, files: Sequence[str], units: dict[str, str]) -> None:
        """Note which files and units are ours."""
        told = {"hardening": self.target.hardening, "settings": dict(self.target.settings)}
        given = {name: value for name, value in told.items() if value and value != HARDENING[1]}
        one = Installed(self.host.manager, units, [*dict.fromkeys(files)], self.host.user, self.host.config, given)
        self.noted = {**installed.read(self.fleet.places, self.home), self.host.manager: one}
        installed.write(self.fleet.places, self.home, self.noted)


def target_here(host: Host, project: Project, places: Places, specs: Iterable[NodeSpec] = (), **given: Any) -> Target:
    """What formats are to know of this host. It is the same whoever asks, as far as he may."""
    user = pwd.getpwuid(os.geteuid())
    values: dict[str, Any] = {
        "project": project.key,
        "host": this_host(),
        "user": host.user,
        "multi": _multi(),
        "launcher": LAUNCHER,
        "homes": {**_homes(specs), user.pw_name: os.environ.get("HOME") or user.pw_dir},
    }
    if host.user:
        values |= {"owner": user.pw_name, "unit_dir": own_units()}
    base, last = os.path.split(places.kept)
    usual = "/var/lib/multi" if os.geteuid() == 0 else os.path.join(user.pw_dir, ".local/state/multi/nodes")
    if places.kept != usual and last == "nodes":
        values["state_dir"] = base
    if host.manager == SYSTEMD:
        values["manager_version"] = Systemd(user=host.user).version()
    else:
        assert host.config is not None
        values["unit_dir"] = config_file.included(host.config)
        log = config_file.read(host.config).get("supervisord", {}).get("logfile", "")
        if os.path.isabs(log) and os.path.isdir(os.path.dirname(log)):
            values["log_dir"] = os.path.dirname(log)
    return Target(**{**values, **given})


def _homes(specs: Iterable[NodeSpec]) -> dict[str, str]:
    """The home directories of the users that nodes run as."""
    found = {}
    for name in {spec.user for spec in specs if spec.user}:
        try:
            found[name] = pwd.getpwnam(name).pw_dir
        except KeyError:
            pass  # a check of the nodes says so
    return found


def find_host(manager: str | None, *, user: bool | None, config: str | None) -> Host:
    """The manager of this host that is meant; without a name the one that runs, systemd first."""
    chosen = manager or (SUPERVISORD if config else None)
    if chosen is None:
        chosen = SYSTEMD if os.path.isdir("/run/systemd/system") else SUPERVISORD
    if chosen == SYSTEMD:
        if config:
            raise ConfigurationError("--supervisord names the configuration file of a supervisord; systemd has none")
        return Host(SYSTEMD, os.geteuid() != 0 if user is None else user)
    if user:
        raise ConfigurationError(
            "--user is for systemd; a supervisord is named by its configuration file: --supervisord FILE"
        )
    config = config or config_file.find()
    if config is None:
        raise ConfigurationError(
            f"there is no configuration file of a supervisord here ({', '.join(config_file.USUAL)}); name it: --supervisord FILE"
        )
    return Host(SUPERVISORD, False, os.path.abspath(config))


def _multi() -> str | None:
    """The program `multi` of this interpreter."""
    beside = os.path.join(os.path.dirname(sys.executable), "multi")
    return beside if os.access(beside, os.X_OK) else shutil.which("multi")
