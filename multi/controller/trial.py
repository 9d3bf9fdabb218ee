"""Tries in a fork what a node's worker will have to do: as its user, with its resource limits. Nothing of it stays."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from multi.controller.keeper import spawn
from multi.controller.keeper.owner import Owner, of, trusted
from multi.nodes.spec import NodeSpec


def owner_of(spec: NodeSpec) -> Owner | None:
    """The user that the worker is to become; None where it stays the one that we are, or where there is no such user."""
    if os.geteuid() != 0 or not (spec.user or spec.group):
        return None
    try:
        owner = of({"user": spec.user, "group": spec.group})
    except spawn.Unstartable:
        return None  # told where it stands
    return owner if owner.uid != 0 else None


def why_not(owner: Owner | None, action: Callable[[], str]) -> str:
    """What `action` says, done as this user in a process of its own; it says nothing where all is well."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            spawn.become_user(owner.ids if owner is not None else None)
            os.write(writer, action().encode("utf-8", "surrogateescape")[:4000])
        except OSError as error:
            os.write(writer, str(error.strerror).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said.decode("utf-8", "surrogateescape")


def limits(spec: NodeSpec) -> str:
    """Why the resource limits of a node can't be had; a worker takes them on before it becomes its user."""
    return why_not(None, lambda: spawn.limit(dict(spec.limits))) if spec.limits else ""


def niceness(spec: NodeSpec) -> str:
    """Why its niceness can't be had."""

    def take() -> str:
        os.setpriority(os.PRIO_PROCESS, 0, int(spec.nice or 0))
        return ""

    said = why_not(None, take) if spec.nice else ""
    return f"the niceness {spec.nice} can't be had: {said}" if said else ""


def directory(owner: Owner, folder: str) -> str:
    """Why the user can't work in a directory."""
    return why_not(owner, lambda: "" if os.access(folder, os.X_OK) else "no permission")


def file(owner: Owner, path: str, unwritable: Callable[[str], str]) -> str:
    """Why a file can't be the log of the user's worker: its keeper, root, makes it where nobody else could have changed the
    way there, and the user everywhere else; the worker itself must be able to reach it."""
    folder = os.path.dirname(path)
    if os.path.exists(path):
        if trusted(folder):  # then its owner is changed
            return why_not(owner, lambda: _way(folder))
        return why_not(owner, lambda: "" if os.access(path, os.W_OK) else "no permission")
    return why_not(owner, lambda: _way(folder) if trusted(folder) else unwritable(folder))


def is_pipe(path: str) -> bool:
    """Whether it is a named pipe."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _way(folder: str) -> str:
    """Which directory on the way to a file is closed to us."""
    at = "/"
    for part in os.path.realpath(folder).split("/"):
        at = os.path.join(at, part)
        if os.path.isdir(at) and not os.access(at, os.X_OK):
            return f"no permission in {at}"
    return ""
