"""Whether the units of this host are as its description has them."""

from __future__ import annotations

from typing import Any

from multi.controller import boot, installed
from multi.controller.fleet import Fleet
from multi.controller.installation import Host, Installation, target_here
from multi.controller.managers import config_file
from multi.controller.managers.supervisord import SupervisordUnit
from multi.controller.managers.systemd import SystemdUnit
from multi.controller.units import SUPERVISORD, SYSTEMD
from multi.nodes.description import Description


def compare(fleet: Fleet, description: Description) -> list[Installation]:
    """What `multi install` would do for those nodes that are units already, for each manager of theirs. Raises a `MultiError`
    where that can't be told."""
    home = fleet.current
    if home is None:
        return []
    noted = installed.read(fleet.places, home)
    described = {node.name: node for node in description.nodes}
    names: dict[Host, list[str]] = {}
    for node in fleet.all():
        if node.unit is None or node.name.short not in described or node.manager is None:
            continue
        if (host := _host(node.unit)) is not None:
            names.setdefault(host, []).append(node.name.short)
    after = {name: [need.target[0] for need in node.needs if need.kind == "node"] for name, node in described.items()}
    found = []
    for host, mine in names.items():
        one = noted.get(host.manager)
        more: dict[str, Any] = {"after": after, "templates_dir": description.templates, **(one.given if one else {})}
        specs = [node.spec for name, node in described.items() if name in mine]
        target = target_here(host, home, fleet.places, specs, **more)
        off = {*one.units} - boot.starting(one) if one is not None else set()
        found.append(Installation(fleet, host, specs, target, off & {*mine}))
    return found


def _host(unit: object) -> Host | None:
    if isinstance(unit, SystemdUnit):
        return Host(SYSTEMD, unit.systemd.user)
    if isinstance(unit, SupervisordUnit):
        config = unit.supervisord.config or config_file.find()
        return Host(SUPERVISORD, False, config) if config else None
    return None
