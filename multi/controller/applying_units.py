"""Carries out what an installation needs beside starting and stopping nodes: files, the managers' notice of them, the boot.

The order matters. What other managers have of the nodes is taken from their boot first, and from their files last; so at no
moment two of them would start a node, and no unit loses its file while it runs (its manager would then end it in whatever
way it likes).
"""

from __future__ import annotations

import os
from collections.abc import Collection

from multi.controller import boot, installed
from multi.controller.installation import Host, Installation
from multi.controller.installed import Installed
from multi.controller.managers.base import ManagerError
from multi.controller.managers.supervisord import Supervisord, SupervisordUnit
from multi.controller.managers.systemd import Systemd
from multi.controller.places import Places
from multi.controller.project import Project
from multi.controller.units import SUPERVISORD, SYSTEMD
from multi.errors import NodeError


class Applied:
    """An installation on its way."""

    def __init__(self, wanted: Installation) -> None:
        self.wanted = wanted
        self.host = wanted.host

    def prepare(self) -> None:
        """Everything that is to be there before nodes are started."""
        wanted = self.wanted
        for one in wanted.others.values():
            if one.manager == SYSTEMD:  # what supervisord starts is what has a file, which goes last
                boot.leave(wanted.fleet.places, wanted.home, one, wanted.units)
        wanted.write()
        if self.host.manager == SYSTEMD:
            systemd = Systemd(user=self.host.user)
            systemd.reload()
            systemd.enable(wanted.at_boot)

    def load(self) -> None:
        """Have supervisord read its files; a program that is new or has changed is put in when its node is started."""
        if self.host.manager == SYSTEMD:
            return
        assert self.host.config is not None
        added, changed, _ = Supervisord.from_file(self.host.config).reread()
        for step in self.wanted.steps:
            if isinstance(step.unit, SupervisordUnit):
                step.unit.is_new = step.unit.group in {*added, *changed}

    def finish(self) -> None:
        """Take away what nothing runs with any more."""
        wanted = self.wanted
        gone = [unit for node, unit in wanted.before.units.items() if node not in wanted.units]
        if self.host.manager == SYSTEMD:
            systemd = Systemd(user=self.host.user)
            wanted.clear()
            systemd.reload()
            systemd.reset(gone)
        else:
            wanted.clear()
            _take_out(self.host, gone)
        for one in wanted.others.values():
            release(wanted.fleet.places, wanted.home, one, wanted.units)


def release(places: Places, home: Project, one: Installed, nodes: Collection[str]) -> None:
    """Remove what a manager has of these nodes, which it doesn't run any more."""
    leaving = [node for node in one.units if node in nodes]
    rest = {node: unit for node, unit in one.units.items() if node not in leaving}
    going = [path for path in one.files if not rest or _is_of(path, leaving, one)]
    aside = installed.aside(places, home)
    for path in [*going, *(os.path.join(aside, os.path.basename(path)) for path in going)]:
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            pass  # somebody was quicker
        except OSError as error:
            raise NodeError(f"{path} can't be removed: {error.strerror}") from error
    boot.forget_aside(places, home, ())
    kept = one._replace(units=rest, files=[path for path in one.files if path not in going])
    installed.write(places, home, {**installed.read(places, home), one.manager: kept})
    if one.manager == SUPERVISORD:
        _take_out(Host(one.manager, one.user, one.config), [one.units[node] for node in leaving])
    else:
        Systemd(user=one.user).reload()


def _take_out(host: Host, units: list[str]) -> None:
    """Let a supervisord forget programs whose files are gone."""
    if not units or host.config is None:
        return
    try:
        daemon = Supervisord.from_file(host.config)
        _, _, removed = daemon.reread()
        for unit in units:
            group = unit.partition(":")[0]
            if group in removed:
                daemon.remove(group)
    except ManagerError:
        pass  # it doesn't run, and its files are gone


def _is_of(path: str, nodes: list[str], one: Installed) -> bool:
    """Whether a file is for one of these nodes alone, by its name."""
    name = os.path.basename(path)
    return any(
        name in (one.units[node], f"{node}.env") or (one.manager == SUPERVISORD and name.endswith(f".{node}.conf"))
        for node in nodes
    )
