"""Where the embedded SQLite file lies: at the project, never at the working directory.

Every process that loads the same project must find the same file, wherever it was started. So the project is known by
its name in `multi.toml`, or else by the folder of the app's top package; and its file lies in the state directory under
that name (of a folder: its last part and a digest of its path). A project whose releases lie in folders of their own
needs the name, or every release would have a queue of its own. An app that is made at a prompt belongs to no project; it
is known by its main name.
"""

from __future__ import annotations

import os
import re
from typing import Any

from multi.errors import ConfigurationError, StateDirectoryError

DESCRIPTION = "multi.toml"


def path(defined_in: str | None, main: str | None = None) -> str:
    """The embedded file of the project whose app is made in the file `defined_in`."""
    folder = project_folder(defined_in)
    settings, _ = _description(folder)
    if folder is None:
        key = _slug(main or "") or "default"
    elif settings.get("name"):
        key = _slug(settings["name"], r"[^\w.-]+") or "default"
    else:
        from hashlib import blake2b

        digest = blake2b(os.fsencode(folder), digest_size=5).hexdigest()
        key = f"{_slug(os.path.basename(folder)) or 'root'}-{digest}"
    return os.path.join(state_dir(folder), "queues", f"{key}.db")


def state_dir(folder: str | None) -> str:
    """The directory for state: MULTI_STATE_DIR, else `state_dir` of the project's multi.toml, else the user's usual one."""
    given = os.environ.get("MULTI_STATE_DIR")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    settings, place = _description(folder)
    if settings.get("state_dir"):
        return os.path.normpath(os.path.join(place, os.path.expanduser(settings["state_dir"])))
    if os.geteuid() == 0:
        return "/var/lib/multi"
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.local/state")
    if not os.path.isabs(base):
        raise StateDirectoryError(
            "this user has no home directory, so there is no place for state: set MULTI_STATE_DIR"
        )
    return os.path.join(base, "multi")


def project_folder(defined_in: str | None) -> str | None:
    """The folder that holds the top package, or the module, in which the app is made; None for an app without a file.

    Installed packages are each a project of its own, though many lie in one folder. A name that ends in a slash is the
    folder itself: a command's, whose app belongs to no project.
    """
    if not defined_in or defined_in.startswith("<"):
        return None
    if defined_in.endswith(os.sep):
        return os.path.realpath(defined_in)
    top = os.path.realpath(defined_in)
    folder = os.path.dirname(top)
    while os.path.exists(os.path.join(folder, "__init__.py")) and os.path.dirname(folder) != folder:
        top, folder = folder, os.path.dirname(folder)
    installed = os.path.basename(folder) in ("site-packages", "dist-packages")
    return top if installed else folder


def to_url(file: str) -> str:
    """`sqlite:///` and the absolute path (so four slashes), with what is special in a URL escaped."""
    return "sqlite:///" + file.replace("%", "%25").replace("?", "%3F").replace(";", "%3B").replace("@", "%40")


def _description(folder: str | None) -> tuple[dict[str, Any], str]:
    """The nearest multi.toml in `folder` or above, and where it is."""
    while folder:
        file = os.path.join(folder, DESCRIPTION)
        if os.path.isfile(file):
            return _read(file), folder
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    return {}, ""


def _read(file: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(file, "rb") as stream:
            settings = tomllib.load(stream)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read: {error}") from error
    for key in ("name", "state_dir"):
        if key in settings and (not isinstance(settings[key], str) or not settings[key]):
            raise ConfigurationError(f"{file}: {key} should be a text, not {settings[key]!r}")
    return settings


def _slug(text: str, unfit: str = r"[^A-Za-z0-9._-]+") -> str:
    return re.sub(unfit, "-", text).strip("-.")[:60]
