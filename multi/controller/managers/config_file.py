"""The configuration file of a supervisord: where it is, at which address it is spoken to, and which files it reads beside it."""

from __future__ import annotations

import glob
import os

from multi.controller.managers.base import ManagerError
from multi.errors import ConfigurationError

#: Where supervisord's own tools look for its file, and where distributions put it.
USUAL = ("/etc/supervisord.conf", "/etc/supervisor/supervisord.conf", "/etc/supervisord/supervisord.conf")


def find() -> str | None:
    """The configuration file of the supervisord of this machine; None where there is none."""
    given = os.environ.get("SUPERVISORD_CONF")
    if given:
        return given
    return next((path for path in USUAL if os.path.isfile(path)), None)


def read(path: str) -> dict[str, dict[str, str]]:
    """The sections of a configuration file, with what supervisord fills in, as far as an address needs it."""
    import configparser

    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", " #"), strict=False)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_string(file.read(), path)
    except OSError as error:
        raise ManagerError(f"supervisord's file {path} can't be read: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(f"supervisord's file {path} can't be read: {' '.join(str(error).split())}") from None
    here = os.path.dirname(os.path.abspath(path))
    values = {"here": here, "host_node_name": os.uname().nodename}
    values |= {f"ENV_{name}": value for name, value in os.environ.items()}
    return {
        section: {key: _filled(text, values) for key, text in parser.items(section)} for section in parser.sections()
    }


def included(path: str) -> str:
    """The directory whose files this supervisord reads too; the first one that it names."""
    patterns = read(path).get("include", {}).get("files", "").split()
    for pattern in patterns:
        full = os.path.join(os.path.dirname(os.path.abspath(path)), pattern)
        if os.path.basename(full).startswith("*"):
            return os.path.dirname(full)
    raise ManagerError(
        f"{path} reads no other files, so there is no place for those of multi; add to it: [include] files = conf.d/*.conf"
    )


def files(path: str) -> list[str]:
    """The files that a supervisord with this configuration reads beside it."""
    patterns = read(path).get("include", {}).get("files", "").split()
    folder = os.path.dirname(os.path.abspath(path))
    return sorted({name for pattern in patterns for name in glob.glob(os.path.join(folder, pattern))})


def variables(values: dict[str, str]) -> dict[str, str]:
    """What the key `environment` of a program's section gives it; nothing where it can't be read."""
    from supervisor.datatypes import dict_of_key_value_pairs

    try:
        return dict(dict_of_key_value_pairs(values.get("environment", "")))
    except ValueError:
        return {}


def url(section: str, address: str) -> str:
    if section == "unix_http_server":
        return f"unix://{address}"
    if section == "inet_http_server":
        host, _, port = address.rpartition(":")
        return f"http://{'127.0.0.1' if host in ('', '*') else host}:{port}"
    return address


def _filled(text: str, values: dict[str, str]) -> str:
    """%(here)s and the like; what is not known stays as it is, since only addresses are read of it."""
    for name, value in values.items():
        text = text.replace(f"%({name})s", value)
    return text.replace("%%", "%")
