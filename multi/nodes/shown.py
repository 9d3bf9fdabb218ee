"""A node's command line as one reads it: with the options that its keeper acts on in the worker's place."""

from __future__ import annotations

import os

from multi.nodes import options as table
from multi.nodes.names import expand_once
from multi.nodes.spec import NodeSpec

#: Celery's worker and multi's have these as well, so that the line means the same when it is typed.
_FILES = ("logfile", "pidfile")


def shown(spec: NodeSpec, argv: list[str]) -> list[str]:
    """`argv`, as the node is run, and behind it what was given of its files, directory, umask, user and group.

    A program that is neither Celery's nor multi's worker has options of its own, and is shown as it is.
    """
    if spec.engine not in ("multi", "celery"):
        return argv
    given: dict[str, str] = {}
    for name in _FILES:
        if (value := spec.options.get(name)) and not (name == "logfile" and "-f" in argv):
            given[name] = expand_once(str(value), spec.name)
    if value := spec.options.get("workdir"):
        given["workdir"] = expand_once(str(value), spec.name) if os.path.isabs(str(value)) else spec.cwd
    if value := spec.options.get("umask"):
        given["umask"] = str(value)
    if spec.user:
        given["uid"] = spec.user
    if spec.group:
        given["gid"] = spec.group
    words = [f"{_spelling(name)}={value}" for name, value in given.items()]
    # what follows two dashes are no options any more
    at = len(argv) - len(spec.rest) if spec.rest and argv[-len(spec.rest) :] == spec.rest else len(argv)
    return [*argv[:at], *words, *argv[at:]]


def _spelling(name: str) -> str:
    return table.BY_NAME[name].spellings[-1]
