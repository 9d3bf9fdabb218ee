"""The worker of an app that turns out to be Celery's: this process goes on as Celery's own worker."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, NoReturn

from multi.errors import ConfigurationError
from multi.nodes.engines.celery import SECRETS, CeleryEngine
from multi.nodes.names import NodeName
from multi.nodes.options import BY_NAME
from multi.nodes.spec import NodeSpec


def become(values: dict[str, Any], name: str, logfile: str | None, pidfile: str | None) -> NoReturn:
    """Replace this process by Celery's worker, in the same interpreter, with the same options as far as it has them.

    `values` are those of `multi worker`; what they say of the process itself (its directory, user, mask) is done already.
    Raises `ConfigurationError` for what Celery's worker doesn't have.
    """
    short, _, host = name.partition("@")
    options = {
        option: text
        for option, value in values.items()
        if option in BY_NAME and option not in ("uid", "gid") and (text := _text(option, value)) is not None
    }
    words = [word for option, word in (("no_color", "-C"), ("quiet", "-q")) if values.get(option)]
    spec = NodeSpec(NodeName(short, host), executable=sys.executable, cwd=os.getcwd(), options=options, engine="celery")
    engine = CeleryEngine()
    engine.check(spec)
    argv = engine.argv(spec, logfile)
    has_keeper = "MULTI_RUN_DIR" in os.environ
    if not has_keeper and logfile and "-f" not in argv:
        argv += ["-f", logfile.replace("%%", "%")]  # with a keeper, its output is the log already
    if pidfile:
        argv.append(f"--pidfile={pidfile}")
    argv[2:2] = words
    for option, variable in SECRETS.items():
        url = os.environ.pop(f"MULTI_{variable.removeprefix('CELERY_')}", None)
        if url is not None and option not in options:
            os.environ[variable] = url
    os.environ.update(spec.secrets(SECRETS))
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        raise ConfigurationError(f"{argv[0]} can't be run: {error.strerror}") from None


def _text(option: str, value: Any) -> str | bool | None:
    """An option's value as the word that it was."""
    if value is None or value is False or value is True:
        return value or None
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if option == "loglevel":
        return logging.getLevelName(value) if isinstance(value, int) else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
