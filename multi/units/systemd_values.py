"""Values that people give for units of systemd, which ignores what it doesn't understand, with a word in its journal alone."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from multi.errors import ConfigurationError
from multi.nodes.policy import parse_span

if TYPE_CHECKING:
    from multi.units.base import Target

_KINDS = ["service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"]
_UNIT = re.compile(rf"[A-Za-z0-9:_.\\@%-]{{1,240}}\.(?:{'|'.join(_KINDS)})")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")


def checked(target: Target) -> None:
    """Raise `ConfigurationError` for what no unit can have."""
    for name in target.needs:
        _unit(name, f"--needs {name}")
    if name := target.settings.get("on_failure", ""):
        _unit(name, f"on_failure={name}")
    for folder in target.settings.get("writable", "").split():
        if not os.path.isabs(folder):
            raise ConfigurationError(
                f"writable={folder}: a directory that nodes may write to is named by its whole path, as /srv/media"
            )
    for name, path in target.credentials.items():
        if not _NAME.fullmatch(name) or name in (".", ".."):
            raise ConfigurationError(
                f"--credential {name}={path}: {name!r} can't be the name of a file in $CREDENTIALS_DIRECTORY; write letters, "
                "digits, _ . and - only"
            )
        if not os.path.isabs(path):
            raise ConfigurationError(
                f"--credential {name}={path}: name the file by its whole path, as /etc/shop/{name}"
            )


def seconds(given: object) -> str:
    """The time for a start."""
    if given == "infinity":
        return "infinity"
    try:
        found = parse_span(str(given))
    except ConfigurationError as error:
        raise ConfigurationError(f"start_timeout={given}: {error}") from None
    if not found:
        raise ConfigurationError(
            f"start_timeout={given}: to systemd that is no end at all; if it is meant, write infinity"
        )
    return f"{found:g}"


def _unit(name: str, given: str) -> None:
    if _UNIT.fullmatch(name):
        return
    stem, dot, kind = name.rpartition(".")
    plain = re.fullmatch(r"[A-Za-z0-9:_@%-]+", name) or (
        dot and kind not in _KINDS and _UNIT.fullmatch(f"{stem}.service")
    )
    hint = (
        f"; is it {name if not dot else stem}.service?" if plain else f"; a unit's name ends in .{', .'.join(_KINDS)}"
    )
    raise ConfigurationError(f"{given}: this is no name of a unit{hint}")
