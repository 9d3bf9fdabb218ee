"""Makes a release of what a project's [deploy] table names: its source, and what a plan has to know of it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import subprocess
import time
import zipfile
from collections.abc import Iterator

from multi.deploy.hosts.inventory import Inventory
from multi.deploy.releases.source import Commit, Folder, Source, Wheel
from multi.deploy.releases.wanted import Release
from multi.errors import ConfigurationError

#: Looked for in the source, in this order, where [deploy] names no file of requirements.
REQUIREMENTS = ("requirements.lock", "requirements.txt")
_MULTI = re.compile(r"\s*multi[-_.]workers\b", re.IGNORECASE)
_INCLUDE = re.compile(r"\s*(?:-r|--requirement|-c|--constraint)[\s=]*(\S+)")


def make(inventory: Inventory, given: str | None = None, *, now: float | None = None) -> tuple[Source, Release]:
    """The source, and the release that is made of it. `given` stands in place of `source` in the description."""
    if given is not None and not given.strip():
        raise ConfigurationError("--source is empty; name git, git:REF, a folder or a wheel, or leave it out")
    settings = inventory.settings
    folder = inventory.description.folder
    wanted = settings.source if given is None else given
    source = find(wanted, folder, settings.exclude, os.path.basename(inventory.description.path))
    requirements = _requirements(source, settings.requirements)
    wheel = source.name if isinstance(source, Wheel) else None
    listed = dict(_followed(source, requirements)) if requirements else {}
    digest = hashlib.sha256(b"\0".join(listed.values())).hexdigest() if listed else None
    has_multi = any(
        _MULTI.match(line) for text in listed.values() for line in text.decode(errors="replace").splitlines()
    )
    if isinstance(source, Wheel) and requirements is None:
        has_multi = _names_multi(source)
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    version = re.sub(r"[^A-Za-z0-9.+_-]", "_", source.version)
    return source, Release(
        name=f"{moment}-{version}",
        version=source.version,
        digest=source.digest,
        requirements=requirements,
        requirements_digest=digest,
        wheel=wheel,
        wheel_digest=source.entries[wheel].digest if wheel else None,
        has_multi=has_multi,
        size=source.size,
    )


def find(given: str | None, folder: str, exclude: tuple[str, ...], description: str) -> Source:
    """The source that "git", "git:REF", a folder or a wheel mean, seen from the project's folder."""
    if given is None:
        given = "git" if is_repository(folder) else "."
    if given == "git" or given.startswith("git:"):
        return Commit(folder, given.partition(":")[2] or "HEAD")
    place = os.path.normpath(os.path.join(folder, os.path.expanduser(given)))
    if os.path.isdir(place):
        return Folder(place, exclude)
    if place.endswith(".whl"):
        beside = (description, *REQUIREMENTS)
        return Wheel(place, {name: path for name in beside if os.path.isfile(path := os.path.join(folder, name))})
    raise ConfigurationError(
        f'source = "{given}": there is no folder and no wheel {place}; else write "git" or "git:REF"'
    )


def is_repository(folder: str) -> bool:
    """Whether git has a commit of it."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", "HEAD"], cwd=folder, capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def _requirements(source: Source, given: str | None) -> str | None:
    if given is not None:
        path = posixpath.normpath(given)
        if path not in source.entries:
            raise ConfigurationError(
                f'requirements = "{given}" is not in the release ({source.version}); commit it, or name another file'
            )
        return path
    return next((name for name in REQUIREMENTS if name in source.entries), None)


def _followed(source: Source, path: str, seen: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """A file of requirements and those that it includes."""
    content = source.read(path)
    yield path, content
    for line in content.decode(errors="replace").splitlines():
        found = _INCLUDE.match(line)
        if found is None:
            continue
        other = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[1]))
        if other in source.entries and other not in (*seen, path):
            yield from _followed(source, other, (*seen, path))


def _names_multi(wheel: Wheel) -> bool:
    """Whether the wheel asks for multi."""
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            text = archive.read(name).decode(errors="replace")
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise ConfigurationError(f"{wheel.path} is no wheel that can be read ({error or 'without METADATA'})") from None
    return any(
        _MULTI.match(line.partition(":")[2])
        for line in text.splitlines()
        if line.startswith(("Requires-Dist:", "Name:"))
    )
