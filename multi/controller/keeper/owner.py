"""The user that a node's worker runs as, where its keeper is root.

The keeper stays root. What the worker writes lies in a directory of its own below the node's, and root follows no link
there and waits for nothing.
"""

from __future__ import annotations

import os
import pwd
import stat

from .spawn import Unstartable

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


def make_folder(rundir: str, owner: Owner) -> str:
    """The worker's own directory; the way to it is opened for passing through, and no further."""
    path = f"{rundir}/{FOLDER}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(20, "this is no directory", path) from None
    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    return path
