"""Who a worker runs as."""

from __future__ import annotations

import os
from typing import Any

from multi.errors import ConfigurationError


def drop(user: str | None, group: str | None) -> None:
    """Become `user` and `group` (names or numbers) for good; without a group, the user's own ones.

    Raises `ConfigurationError` for names that don't exist, or when this process may not change.
    """
    uid, name, gid = _user(user) if user else (None, "", None)
    if group:
        gid = _group(group)
    if uid in (None, os.getuid()) and gid in (None, os.getgid()):
        return
    if os.geteuid() != 0:
        raise ConfigurationError(
            f"only root may become another user or group ({' '.join(part for part in (user, group) if part)}): "
            "start as root, or without --uid and --gid"
        )
    if gid is not None:
        if name:
            os.initgroups(name, gid)
        else:
            os.setgroups([])
        os.setgid(gid)
    if uid is not None:
        os.setuid(uid)


def parse_umask(text: str) -> int:
    """The mask from its octal digits, as in `022`."""
    try:
        mask = int(text, 8)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise ConfigurationError(f"--umask takes octal digits from 0 to 777, as in 022, not {text!r}")
    return mask


def check_root(conf: Any) -> None:
    """Refuse to be root while pickled messages are accepted: whoever can send one then owns the machine."""
    if os.getuid() != 0 or os.environ.get("C_FORCE_ROOT"):
        return
    accepted = {str(item).lower() for item in conf.accept_content or ()}
    if accepted & {"pickle", "application/x-python-serialize"}:
        raise ConfigurationError(
            "this worker would run as root and accept pickled messages, which can hold any code: start it with "
            "--uid USER, or take 'pickle' out of accept_content (C_FORCE_ROOT=1 starts it all the same)"
        )


def _user(text: str) -> tuple[int, str, int | None]:
    import pwd

    try:
        entry = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except KeyError:
        if text.isdecimal():
            return int(text), "", None
        raise ConfigurationError(f"--uid: no user is called {text!r} on this machine") from None
    return entry.pw_uid, entry.pw_name, entry.pw_gid


def _group(text: str) -> int:
    import grp

    if text.isdecimal():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigurationError(f"--gid: no group is called {text!r} on this machine") from None
