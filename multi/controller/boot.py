"""Which units are started with the machine: taking nodes from the boot, and bringing them back, with nothing else changed.

Of systemd's the project's target says it: whether it is enabled, and which units it wants. supervisord starts what has a file;
so the file of a node that it is not to start is put aside.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence

from multi.controller import installed
from multi.controller.installed import Installed
from multi.controller.managers.systemd import Systemd
from multi.controller.places import Places, secure
from multi.controller.project import Project
from multi.controller.units import SUPERVISORD
from multi.errors import NodeError
from multi.units.base import File

_WANTS = re.compile(r"^Wants=(\S+)\s*$")


def without(files: Sequence[File], units: Mapping[str, str]) -> list[File]:
    """Rendered files, but for what would start these nodes (by their short names, with their units) with the machine."""
    found = []
    for file in files:
        if file.path.endswith(".target"):
            kept = _wanting(file.text, [unit for unit in _wants(file.text) if unit not in units.values()])
            file = file._replace(text=kept)
        elif file.path.endswith(".conf") and len(file.nodes) == 1 and file.nodes[0] in units:
            continue
        found.append(file)
    return found


def starting(one: Installed) -> set[str]:
    """The nodes of an installation that are started with the machine."""
    if one.manager == SUPERVISORD:
        return {node for node in one.units if any(map(os.path.exists, _files_of(one, node)))}
    targets = _targets(one)
    said = Systemd(user=one.user).show([os.path.basename(path) for path in targets])
    wanted: set[str] = set()
    for path in targets:
        if (found := said.get(os.path.basename(path))) is not None and found.at_boot:
            wanted |= {*_wants(_read(path))}
    return {node for node, unit in one.units.items() if unit in wanted}


def leave(places: Places, project: Project, one: Installed, nodes: Collection[str]) -> None:
    """These nodes are not to be started by this manager any more when the machine is; they run on."""
    rest = starting(one) - {*nodes}
    if one.manager == SUPERVISORD:
        # with none left, what is for all of them goes, too
        paths = [path for node in nodes for path in _files_of(one, node)] if rest else one.files
        folder = installed.aside(places, project)
        secure(folder)
        for path in paths:
            if os.path.exists(path):
                _move(path, os.path.join(folder, os.path.basename(path)))
        return
    if rest:
        _set(one, rest)
    else:
        Systemd(user=one.user).disable([os.path.basename(path) for path in _targets(one)])


def can_join(places: Places, project: Project, one: Installed, node: str) -> bool:
    """Whether all is there that would start a node with the machine."""
    if one.manager == SUPERVISORD:
        folder = installed.aside(places, project)
        paths = _files_of(one, node)
        kept = [os.path.join(folder, os.path.basename(path)) for path in paths]
        return (bool(paths) and all(map(os.path.exists, paths))) or (bool(kept) and all(map(os.path.exists, kept)))
    return bool(_targets(one))


def join(places: Places, project: Project, one: Installed, nodes: Collection[str]) -> None:
    """These nodes are to be started with the machine, beside those that are."""
    if one.manager == SUPERVISORD:
        folder = installed.aside(places, project)
        of_nodes = {path for node in one.units for path in _files_of(one, node)}
        wanted = {path for node in nodes for path in _files_of(one, node)}
        for path in one.files:
            kept = os.path.join(folder, os.path.basename(path))
            if (path in wanted or path not in of_nodes) and os.path.exists(kept) and not os.path.exists(path):
                _move(kept, path)
        _remove_if_empty(folder)
        return
    _set(one, starting(one) | {*nodes})
    Systemd(user=one.user).enable([os.path.basename(path) for path in _targets(one)])


def forget_aside(places: Places, project: Project, files: Iterable[File]) -> None:
    """What was put aside of these files counts no more: they are in their places."""
    folder = installed.aside(places, project)
    for file in files:
        try:
            os.unlink(os.path.join(folder, os.path.basename(file.path)))
        except (FileNotFoundError, NotADirectoryError):
            pass
    _remove_if_empty(folder)


# ---- systemd


def _targets(one: Installed) -> list[str]:
    """What is started at boot by itself: the target, which wants the others."""
    return [path for path in one.files if path.endswith(".target") and os.path.exists(path)]


def _set(one: Installed, nodes: Collection[str]) -> None:
    """Have the target want the units of these nodes."""
    changed = False
    for path in _targets(one):
        before = _read(path)
        ours = {*one.units.values()}
        kept = [unit for unit in _wants(before) if unit not in ours]
        text = _wanting(before, [*kept, *(unit for node, unit in one.units.items() if node in nodes)])
        if text == before:
            continue
        changed = True
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise NodeError(f"{path} can't be changed: {error.strerror}") from error
    if changed:
        Systemd(user=one.user).reload()


def _wants(text: str) -> list[str]:
    return [found[1] for line in text.splitlines() if (found := _WANTS.match(line))]


def _wanting(text: str, units: Sequence[str]) -> str:
    """The text of a target that wants these units, and no others."""
    if sorted(_wants(text)) == sorted(units):
        return text
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not _WANTS.match(line)]
    first = next((number for number, line in enumerate(lines) if _WANTS.match(line)), None)
    if first is None:
        first = kept.index("[Unit]\n") + 1 if "[Unit]\n" in kept else 0
        while first < len(kept) and kept[first].strip() and not kept[first].startswith("["):
            first += 1
    kept[first:first] = [f"Wants={unit}\n" for unit in units]
    return "".join(kept)


# ---- supervisord


def _files_of(one: Installed, node: str) -> list[str]:
    """The files that are for one node alone, by their names."""
    found = [path for path in one.files if path.endswith(f".{node}.conf")]
    longer = [other for other in one.units if other.endswith(f".{node}")]
    return [path for path in found if not any(path.endswith(f".{other}.conf") for other in longer)]


def _move(path: str, to: str) -> None:
    """Bring a file to another place, which may be in another file system, whole and with its mode."""
    temporary = f"{to}.{os.getpid()}~"
    try:
        shutil.copy2(path, temporary)
        shutil.chown(temporary, *_owner(path))
        os.replace(temporary, to)
        os.unlink(path)
    except OSError as error:
        raise NodeError(f"{path} can't be moved to {to}: {error.strerror}") from error


def _owner(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_uid, found.st_gid


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise NodeError(f"{path} can't be read: {error.strerror}") from error


def _remove_if_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # there is none, or more in it
