"""Brings rendered files to their places on this host: what differs from what is there, and writing it."""

from __future__ import annotations

import difflib
import grp
import os
import pwd
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from multi.errors import ConfigurationError, NodeError
from multi.units.base import File, UnitFormat

NEW, CHANGED, GONE = "new", "changed", "gone"
#: Stands in whatever multi renders; a file without it is somebody else's work.
MARK = "multi"


class Change(NamedTuple):
    """One file that is not as it is to be; `file` is None for one that is to go."""

    path: str
    action: str
    before: str | None
    file: File | None
    is_foreign: bool = False  # there is one already that multi has not written

    @property
    def is_secret(self) -> bool:
        return self.file is not None and self.file.secret

    def diff(self) -> Iterator[str]:
        """The difference, a line each; of a secret file only that there is one."""
        if self.is_secret:
            yield "(its text is secret, and not shown)"
            return
        before = (self.before or "").splitlines()
        after = self.file.text.splitlines() if self.file is not None else []
        yield from difflib.unified_diff(
            before,
            after,
            self.path if self.before is not None else os.devnull,
            self.path if self.file is not None else os.devnull,
            lineterm="",
        )


def compare(files: Sequence[File], noted: Iterable[str]) -> list[Change]:
    """What is to be done so that the files are there, and those of `noted` (written before) that are none of them are not."""
    found = []
    before_by_path = {file.path: _text(file.path) for file in files}
    known = set(noted)
    for file in files:
        before = before_by_path[file.path]
        if before is None:
            found.append(Change(file.path, NEW, None, file))
        elif before != file.text or _mode(file.path) != file.mode:
            is_foreign = file.path not in known and MARK not in before[:4096]
            found.append(Change(file.path, CHANGED, before, file, is_foreign))
    for path in sorted(known - {*before_by_path}):
        before = _text(path)
        if before is not None:
            found.append(Change(path, GONE, before, None))
    return found


def hidden(files: Sequence[File], units: Collection[str], noted: Collection[str]) -> list[Change]:
    """Files under the very names of units that are to be instances of a template: systemd would take these in its place."""
    paths = {file.path for file in files}
    found = []
    for folder in dict.fromkeys(os.path.dirname(path) for path in paths if path.endswith("@.service")):
        for unit in units:
            path = os.path.join(folder, unit)
            if path not in paths and path not in noted and (text := _text(path)) is not None:
                found.append(Change(path, GONE, text, None, MARK not in text[:4096]))
    return found


def affected(
    format: UnitFormat, files: Sequence[File], noted: Iterable[str], units: Collection[str] = (), aside: str = ""
) -> set[str]:
    """The manager's names of what would run otherwise with these files than with those that are there. `units` are those that
    were installed before, started at boot or not; files in the folder `aside` are there, too."""
    there = []
    for path in dict.fromkeys([*noted, *(file.path for file in files)]):
        text = _text(path)
        if text is None and aside:
            text = _text(os.path.join(aside, os.path.basename(path)))
        if text is not None:
            there.append(File(path, text))
    before, after = format.effective(there, units), format.effective(files)
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def write(changes: Iterable[Change]) -> None:
    """Make it so, file by file; each is whole at any moment."""
    for change in changes:
        try:
            if change.file is None:
                os.unlink(change.path)
                _remove_empty(os.path.dirname(change.path))
            else:
                _write(change.file)
        except PermissionError as error:
            raise NodeError(f"{change.path} can't be written: no permission; run it as root, or with --user") from error
        except OSError as error:
            raise NodeError(f"{change.path} can't be written: {error.strerror}") from error


def _write(file: File) -> None:
    folder = os.path.dirname(file.path)
    owner = _owner(file)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    temporary = os.path.join(folder, f".{os.path.basename(file.path)}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as stream:
            stream.write(file.text)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), file.mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file.path)
    except BaseException:
        os.unlink(temporary)
        raise


def _owner(file: File) -> tuple[int, int] | None:
    """Who the file is to belong to; only root can give files away, and for others there is nobody else to give them to."""
    if file.owner is None or os.geteuid() != 0:
        return None
    user, _, group = file.owner.partition(":")
    try:
        found = pwd.getpwnam(user)
        return found.pw_uid, grp.getgrnam(group).gr_gid if group else found.pw_gid
    except KeyError:
        raise ConfigurationError(
            f"{file.path} is to belong to {file.owner}: there is no such user or group here"
        ) from None


def _remove_empty(folder: str) -> None:
    """A directory of drop-ins goes with the last of them."""
    if folder.endswith(".d") and "@" in os.path.basename(folder):
        try:
            os.rmdir(folder)
        except OSError:
            pass  # there is more in it


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NodeError(f"{path} can't be read: {error.strerror}; run it as root, or with --user") from error


def _mode(path: str) -> int:
    return os.stat(path).st_mode & 0o7777
