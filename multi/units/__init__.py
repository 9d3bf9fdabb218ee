"""What a description's nodes are called and how they are written for other managers: units of systemd, programs of
supervisord, and whatever else goes with them.

A format is found by its name among the entry points `multi.units`; `multi.units.base` says what it has to do. Everything
here is pure: specifications of nodes and facts about the machine that they are meant for become files, as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.units.base import UnitFormat

GROUP = "multi.units"


def find(name: str) -> UnitFormat:
    """The format of that name. Raises `ConfigurationError` when there is none, and says which there are."""
    from multi import plugins

    found: UnitFormat = plugins.find(GROUP, name)()
    return found


def names() -> list[str]:
    """All that there are."""
    from multi import plugins

    return plugins.names(GROUP)
