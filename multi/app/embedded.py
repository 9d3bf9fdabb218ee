"""Where the embedded SQLite file lies: at the project, never at the working directory.

Every process that loads the same project must find the same file, wherever it was started. So the project is known by
the folder of its top package (or by the folder of `multi.toml` above it), and its file lies in the user's state
directory under a name made of that folder's name and a digest of its path. `MULTI_STATE_DIR` moves the directory.
"""

from __future__ import annotations

import os
import sys

from multi.errors import StateDirectoryError

DESCRIPTION = "multi.toml"


def state_dir() -> str:
    """The directory for state: `MULTI_STATE_DIR`, else /var/lib/multi for root and the XDG state directory for others."""
    given = os.environ.get("MULTI_STATE_DIR")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    if os.geteuid() == 0:
        return "/var/lib/multi"
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if not os.path.isabs(base):
        raise StateDirectoryError(
            f"there is no state directory: XDG_STATE_HOME or the home directory is {base!r}, which is no absolute path; "
            "set MULTI_STATE_DIR"
        )
    return os.path.join(base, "multi")


def project_folder(defined_in: str | None) -> str:
    """The folder of the project whose app is made in the file `defined_in`.

    That is the nearest folder upwards that holds a `multi.toml`, else the folder that holds the top package (or the
    module, if it is in none). For an app that is made at a prompt it is the directory of the interpreter's start.
    """
    if not defined_in or defined_in.startswith("<"):
        folder = os.path.abspath(sys.path[0] or os.getcwd()) if sys.path else os.getcwd()
        return _described(folder) or folder
    folder = os.path.dirname(os.path.realpath(defined_in))
    described = _described(folder)
    if described:
        return described
    while os.path.exists(os.path.join(folder, "__init__.py")) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def path(defined_in: str | None, main: str | None = None) -> str:
    """The embedded file of the project whose app is made in the file `defined_in`."""
    from hashlib import blake2b

    folder = project_folder(defined_in)
    name = os.path.basename(folder) or "root"
    digest = blake2b(os.fsencode(folder), digest_size=5).hexdigest()
    return os.path.join(state_dir(), "queues", f"{name}-{digest}.db")


def to_url(file: str) -> str:
    """`sqlite:///` and the absolute path (so four slashes), with what is special in a URL escaped."""
    return "sqlite:///" + file.replace("%", "%25").replace("?", "%3F").replace(";", "%3B").replace("@", "%40")


def _described(folder: str) -> str | None:
    while True:
        if os.path.exists(os.path.join(folder, DESCRIPTION)):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
