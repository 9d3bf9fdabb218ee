"""The user that a node's worker runs as, where its keeper is root.

The keeper stays root. What the worker writes lies in a directory of its own below the node's, and root follows no link
there and waits for nothing.
"""

from __future__ import annotations

import os
import pwd
import stat

from .logfile import Log
from .spawn import Unstartable, become_user
from .standing import Unusable

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

#: The worker's own directory below the node's runtime directory.
FOLDER = "worker"


class Owner:
    """A user with a group and further groups."""

    def __init__(self, uid: int, gid: int, groups: list[int], variables: dict[str, str]) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.variables = variables

    @property
    def ids(self) -> tuple[int, int, list[int]] | None:
        """What a fork of the keeper has to become; None when it is that already."""
        return (self.uid, self.gid, self.groups) if os.geteuid() == 0 else None


def of(spec: dict[str, Any]) -> Owner:
    """The user and group that a specification names, by name or number."""
    user, group = spec.get("user"), spec.get("group")
    entry = _user(str(user)) if user else None
    uid = entry.pw_uid if entry else int(user) if user else os.getuid()
    gid = _group(str(group)) if group else entry.pw_gid if entry else os.getgid()
    if os.geteuid() != 0 and (uid, gid) != (os.getuid(), os.getgid()):
        who = " ".join(str(one) for one in (user, group) if one)
        raise Unstartable(
            f"only root may run a node as another user or group ({who}); start it as root, or as that user"
        )
    if user and entry is None and not group:
        raise Unstartable(f"the user {user} has no entry on this machine, so its group has to be named too (--gid)")
    if entry is None:
        return Owner(uid, gid, [gid], {})
    variables = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}
    return Owner(uid, gid, os.getgrouplist(entry.pw_name, gid), variables)


def _user(text: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except KeyError:
        if text.isdecimal():
            return None
        raise Unstartable(f"no user is called {text!r} on this machine") from None


def _group(text: str) -> int:
    if text.isdecimal():
        return int(text)
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise Unstartable(f"no group is called {text!r} on this machine") from None


def keeping(spec: dict[str, Any], rundir: str) -> Owner | None:
    """The user whose worker this keeper, root, is about to keep, with everything made ready; None: its own user."""
    try:
        owner = of(spec)
    except Unstartable as error:
        raise Unusable(str(error)) from None
    if owner.ids is None or owner.uid == 0:
        return None
    make_folder(rundir, owner)
    return owner


def make_folder(rundir: str, owner: Owner) -> str:
    """The worker's own directory; the way to it is opened for passing through, and no further."""
    path = f"{rundir}/{FOLDER}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(20, "this is no directory", path) from None
    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    folder = rundir
    for _ in range(3):  # the node's, its project's, and the one of all projects
        _open_way(folder)
        folder = os.path.dirname(folder)
    return path


def remove_folder(rundir: str) -> None:
    """Remove it. Whatever its user has put there, nothing beyond it is touched."""
    path = f"{rundir}/{FOLDER}"
    try:
        for name in os.listdir(path):
            try:
                os.unlink(f"{path}/{name}")
            except OSError:
                pass  # a directory is none of ours
        os.rmdir(path)
    except OSError:
        pass  # there is none, or something of that user's keeps it


def _open_way(folder: str) -> None:
    status = os.lstat(folder)
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
        os.chmod(folder, stat.S_IMODE(status.st_mode) | 0o011)


def check_reach(owner: Owner, rundir: str, log: str | None) -> None:
    """Refuse when the worker could reach neither its directory nor its log; looked at as that user."""
    for path, remedy in ((f"{rundir}/{FOLDER}", "--state-dir"), (log, "--logfile")):
        if path is not None and not _can_write(owner, path):
            raise Unusable(
                f"{path} can't be written by the node's user (uid {owner.uid}): a directory on the way there is closed "
                f"to it; open it (chmod o+x), or choose another place with {remedy}"
            )


def _can_write(owner: Owner, path: str) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            become_user(owner.ids)
            os._exit(0 if os.access(path, os.W_OK) else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def trusted(folder: str) -> bool:
    """Whether nobody but root can change what is found in `folder`, or which directory that is."""
    for whole in {folder, os.path.realpath(folder)}:
        at = ""
        for part in whole.split("/"):
            at = f"{at}/{part}" if part else at
            try:
                status = os.lstat(at or "/")
            except OSError:
                break  # root makes it
            mode = status.st_mode
            # in a directory like /tmp others can't replace what is root's
            is_open = mode & 0o022 and not stat.S_ISLNK(mode) and not (mode & stat.S_ISVTX and at != whole)
            if status.st_uid != 0 or is_open:
                return False
    return True


class Acting:
    """Within it, files are made and renamed by the node's own user, unless all of the way to `path` is root's: in a directory
    that is the user's, root would follow wherever that leads."""

    def __init__(self, owner: Owner | None, path: str | None) -> None:
        self._owner = owner
        self._path = path
        self._before: list[int] | None = None

    def __enter__(self) -> None:
        owner = self._owner
        if owner is None or self._path is None or os.geteuid() != 0 or trusted(os.path.dirname(self._path)):
            return
        self._before = os.getgroups()
        os.setgroups(owner.groups)
        os.setegid(owner.gid)
        os.seteuid(owner.uid)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(self._before)


class OwnedLog(Log):
    """The log of a node whose worker is another user: that user's file, wherever it is."""

    owner: Owner | None = None  # a keeper has one node, and so one log

    def __init__(self, path: str | None, *rest: Any, **more: Any) -> None:
        if path is not None and os.geteuid() == 0:
            for folder in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
                # of those that multi has made
                if os.path.isdir(folder) and stat.S_IMODE(os.lstat(folder).st_mode) == 0o700 and trusted(folder):
                    _open_way(folder)
        with Acting(self.owner, path):
            super().__init__(path, *rest, **more)

    def look(self) -> bool:
        with Acting(self.owner, self.path):
            return super().look()

    def rotate(self) -> bool:
        with Acting(self.owner, self.path):
            return super().rotate()

    def reopen(self) -> None:
        with Acting(self.owner, self.path):
            super().reopen()

    def refresh(self) -> None:
        with Acting(self.owner, self.path):
            super().refresh()

    def _open(self) -> None:
        super()._open()
        if self.owner is not None and os.geteuid() == 0 and stat.S_ISREG(os.fstat(self.fd).st_mode):
            os.fchown(self.fd, self.owner.uid, self.owner.gid)
