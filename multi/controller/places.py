"""The directories of nodes: what is kept, what runs, the logs. Per user and project, at places that don't move.

| | kept | runtime | logs |
|---|---|---|---|
| root | /var/lib/multi | /run/multi | /var/log/multi |
| others | ~/.local/state/multi/nodes | ~/.local/state/multi/run | ~/.local/state/multi/log |
| `--state-dir D` | D/nodes | D/run | D/log |

In each of them: PROJECT/NODE. Others than root have their runtime files in XDG_STATE_HOME and not in XDG_RUNTIME_DIR on
purpose: the latter is emptied when the last session ends, while nodes go on, and is not set under cron and sudo; a second
keeper would then find no lock of the first.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from multi.controller.project import Project, read_settings
from multi.errors import NodeError, StateDirectoryError

_RESCUE = "choose another with --state-dir or MULTI_STATE_DIR"


class NotYours(NodeError):
    """It belongs to another user."""


class Places:
    """The three base directories."""

    def __init__(self, kept: str, run: str, log: str, *, uid: int | None = None) -> None:
        self.kept = kept
        self.run = run
        self.log = log
        self.uid = os.geteuid() if uid is None else uid

    def node(self, project: Project, name: str) -> NodePlace:
        """Where the node of that name in `project` has its things."""
        return NodePlace(self, project, name)

    def projects(self) -> list[str]:
        """The keys of all projects that have nodes here."""
        return _list(self.kept)

    def nodes(self, key: str) -> list[str]:
        """The full names of a project's nodes."""
        kept, run = os.path.join(self.kept, key), os.path.join(self.run, key)
        return [
            name
            for name in _list(kept)
            if os.path.exists(os.path.join(kept, name, "spec.json"))
            or os.path.exists(os.path.join(run, name, "loading"))
        ]

    def location(self, key: str) -> str:
        """Where a project is, as it was when a node was started last."""
        try:
            with open(os.path.join(self.kept, key, "location"), encoding="utf-8", errors="surrogateescape") as file:
                return file.read().rstrip("\n")
        except OSError:
            return ""


class NodePlace:
    """The directories and files of one node."""

    def __init__(self, places: Places, project: Project, name: str) -> None:
        self.places = places
        self.project = project
        self.kept = os.path.join(places.kept, project.key, name)
        self.run = os.path.join(places.run, project.key, name)
        self.log_file = os.path.join(places.log, project.key, f"{name}.log")
        self.spec_file = os.path.join(self.kept, "spec.json")
        self.pidfile = os.path.join(self.run, "pid")

    def make(self) -> None:
        """Create what is missing; refuse what others could tamper with. In another user's places his keeper does it."""
        if self.places.uid != os.geteuid():
            return
        places, key = self.places, self.project.key
        for base, end in (
            (places.kept, self.kept),
            (places.run, self.run),
            (places.log, os.path.dirname(self.log_file)),
        ):
            folder = base
            secure(folder, parents=True)
            for part in os.path.relpath(end, base).split(os.sep):
                folder = os.path.join(folder, part)
                secure(folder)
        with translated(self.kept):
            location = os.path.join(places.kept, key, "location")
            if places.location(key) != self.project.location:
                temporary = f"{location}.{os.getpid()}"
                with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.write(self.project.location + "\n")
                os.replace(temporary, location)
            link = os.path.join(self.run, "spec.json")
            if not os.path.islink(link) or os.readlink(link) != self.spec_file:
                temporary = f"{link}.{os.getpid()}"
                os.symlink(self.spec_file, temporary)
                os.replace(temporary, link)


def resolve(state_dir: str | None, cwd: str) -> Places:
    """The base directories: `--state-dir`, MULTI_STATE_DIR, `state_dir` of multi.toml, else the user's usual ones."""
    return of_user(os.geteuid(), os.path.expanduser("~"), os.environ, state_dir, cwd)


def of_user(uid: int, home: str, variables: Mapping[str, str], state_dir: str | None, cwd: str) -> Places:
    """What `resolve` gives where that user runs `multi` with these variables in the directory `cwd`."""
    chosen = state_dir or variables.get("MULTI_STATE_DIR")
    if not chosen:
        settings, folder = read_settings(cwd)
        if "state_dir" in settings:
            chosen = os.path.join(folder, _expanded(settings["state_dir"], home))
    if chosen:
        base = os.path.join(cwd, _expanded(chosen, home))
    elif uid == 0:
        return Places("/var/lib/multi", "/run/multi", "/var/log/multi")
    else:
        kept = variables.get("XDG_STATE_HOME", "")
        base = os.path.join(kept if os.path.isabs(kept) else os.path.join(home, ".local/state"), "multi")
    base = os.path.normpath(base)
    check(base, uid)
    kept, run, log = (os.path.join(base, name) for name in ("nodes", "run", "log"))
    return Places(kept, run, log, uid=uid)


def _expanded(path: str, home: str) -> str:
    return home + path[1:] if path == "~" or path.startswith("~/") else os.path.expanduser(path)


def secure(folder: str, *, parents: bool = False) -> None:
    """Make `folder`, for this user alone, or check that the one that is there can be trusted."""
    with translated(folder):
        if parents:
            os.makedirs(os.path.dirname(folder), mode=0o755, exist_ok=True)
        try:
            os.mkdir(folder, 0o700)
            return
        except FileExistsError:
            pass  # looked at below
    check(folder)


def check(folder: str, uid: int | None = None) -> None:
    """Refuse an existing directory that belongs to somebody else than `uid` (default: this user), or that others can write to."""
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _translate(error, folder) from error
    if not stat.S_ISDIR(status.st_mode):
        raise StateDirectoryError(f"{folder} is needed as a directory, and is none; move it away or {_RESCUE}")
    if status.st_uid != (os.geteuid() if uid is None else uid):
        raise NotYours(f"{folder} belongs to {user(status.st_uid)}; run multi as that user, or {_RESCUE}")
    if status.st_mode & 0o022:
        raise StateDirectoryError(
            f"{folder} can be written by others (mode {status.st_mode & 0o7777:04o}), who could make you run anything; "
            f"use chmod go-w, or {_RESCUE}"
        )


class translated:  # noqa: N801 (reads as a word at its place of use)
    """Turns the system's refusals about a state directory into errors that say what to do."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise _translate(error, self.folder) from error


def _translate(error: OSError, folder: str) -> StateDirectoryError:
    place = error.filename or folder
    if isinstance(place, bytes):
        place = os.fsdecode(place)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StateDirectoryError(f"{place} can't be written: its file system is full; make room there, or {_RESCUE}")
    if error.errno == errno.EROFS:
        return StateDirectoryError(f"{place} can't be written: its file system is read-only; {_RESCUE}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StateDirectoryError(f"{place} can't be used: no permission; {_RESCUE}")
    return StateDirectoryError(f"{place} can't be used: {error.strerror}; {_RESCUE}")


def user(uid: int) -> str:
    """A user's name, or the number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _list(folder: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _translate(error, folder) from error
