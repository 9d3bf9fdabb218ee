"""Files of keys: which of them knows a host, and whether one holds a private key."""

from __future__ import annotations

import contextlib
import os
import shlex


def known_in(known: str, paths: list[str]) -> list[str]:
    """The files that have a key of this host; all of them where none has."""
    import paramiko

    found = []
    for path in paths:
        with contextlib.suppress(OSError, paramiko.SSHException):
            if paramiko.HostKeys(path).lookup(known) is not None:
                found.append(path)
    return found or paths


def removal(known: str, paths: list[str]) -> str:
    """What takes the keys of a host out of the files that have them."""
    usual = os.path.expanduser("~/.ssh/known_hosts")
    named = known_in(known, paths)
    commands = (
        f"ssh-keygen -R {shlex.quote(known)}" + (f" -f {shlex.quote(one)}" if one != usual else "") for one in named
    )
    return "; ".join(commands)


def is_private_key(path: str) -> bool:
    """Whether a file holds a private key, which may be locked with a passphrase."""
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.RSAKey, paramiko.ECDSAKey):
        try:
            kind.from_private_key_file(path)
        except paramiko.PasswordRequiredException:
            return True
        except (paramiko.SSHException, ValueError, OSError, IndexError):
            continue
        return True
    return False
