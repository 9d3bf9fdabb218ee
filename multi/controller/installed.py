"""What `multi install` has written on this host for a project, so that every later command knows which nodes units run.

It is kept beside the project's nodes, as `units.json`. Units that somebody else has brought here (a deploy, one's own tools)
are found by their names: see `multi/controller/units.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from multi.controller.places import Places, secure, translated
from multi.controller.project import Project
from multi.errors import NodeError

VERSION = 1


class Installed(NamedTuple):
    """What was written for one manager. `units` are the nodes' short names → the manager's names for them; `config` is the
    configuration file of a supervisord; `user` tells a user's own systemd from the machine's."""

    manager: str
    units: dict[str, str]
    files: list[str]
    user: bool = False
    config: str | None = None
    #: what formats were told beside the nodes: `hardening`, and `settings` by name
    given: Mapping[str, Any] = MappingProxyType({})

    def as_json(self) -> dict[str, Any]:
        found = {"units": self.units, "files": self.files, "user": self.user, "config": self.config}
        return {**found, "given": dict(self.given)} if self.given else found


def path(places: Places, project: Project) -> str:
    """Where it is kept."""
    return os.path.join(places.kept, project.key, "units.json")


def aside(places: Places, project: Project) -> str:
    """The folder of the files that a supervisord is not to read any more when it starts, and may have to again."""
    return os.path.join(places.kept, project.key, "disabled")


def read(places: Places, project: Project) -> dict[str, Installed]:
    """What was installed, by manager."""
    where = path(places, project)
    try:
        with open(where, encoding="utf-8") as file:
            value = json.load(file)
        if value["version"] > VERSION:
            raise NodeError(f"{where} was written by a newer multi; upgrade this one")
        return {
            manager: Installed(
                manager,
                dict(one["units"]),
                list(one["files"]),
                bool(one["user"]),
                one["config"],
                dict(one.get("given") or {}),
            )
            for manager, one in value["managers"].items()
        }
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}  # none, or another user's, whose nodes are none of ours either
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NodeError(f"{where} can't be read ({error!r}); remove it and run multi install again") from error


def write(places: Places, project: Project, found: dict[str, Installed]) -> None:
    """Keep it."""
    where = path(places, project)
    secure(places.kept, parents=True)
    secure(os.path.dirname(where))
    with translated(where):
        if not any(one.files or one.units for one in found.values()):
            if os.path.exists(where):
                os.unlink(where)
            return
        temporary = f"{where}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            managers = {name: one.as_json() for name, one in found.items() if one.files or one.units}
            json.dump({"version": VERSION, "managers": managers}, file, indent=1)
            file.write("\n")
        os.replace(temporary, where)
        location = os.path.join(os.path.dirname(where), "location")
        if not os.path.exists(location):
            with open(location, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(project.location + "\n")
