"""The files that a node writes, as its options name them: its log, its pid file. No two nodes share one."""

from __future__ import annotations

import os
import stat
from typing import Any

from multi.controller.fleet import Fleet
from multi.controller.keeper import envfile
from multi.controller.node import Node
from multi.errors import ConfigurationError
from multi.nodes import names
from multi.nodes.spec import LOG_KEEP, LOG_SIZE, NodeSpec


def record_of(node: Node, spec: NodeSpec, *, make: bool = True) -> dict[str, Any]:
    """The file to keep for `node`, with its log and pid files as absolute paths; `make` makes their directories."""
    place = node.place
    log_file, pidfile = spec.options.get("logfile"), spec.options.get("pidfile")
    log, log_pattern, pid = place.log_file, None, place.pidfile
    # only what was given is a pattern: a percent sign in the way to it is one
    if log_file:
        pattern = os.path.expanduser(str(log_file))
        log = os.path.join(spec.cwd, names.expand(pattern, node.name))
        kept = names.expand(pattern, node.name, keep_index=True)
        if "%i" in pattern or "%I" in pattern:
            log_pattern = os.path.join(spec.cwd.replace("%", "%%"), kept)
    if pidfile:
        pid = os.path.join(spec.cwd, names.expand(os.path.expanduser(str(pidfile)), node.name))
    for given, path in ((log_file, log), (pidfile, pid)):
        if not given or not make:
            continue
        if path == log and _is_pipe(path):
            raise ConfigurationError(f"--logfile: {path} is a pipe; nodes would stand still whenever nobody reads it")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the directory for {path} can't be made: {error.strerror}") from error
    record = spec.record(log, pid, log_pattern)
    record.setdefault("log_size", LOG_SIZE)
    record.setdefault("log_keep", LOG_KEEP)
    return record


def refuse_shared_files(records: list[tuple[Node, dict[str, Any]]]) -> None:
    """Two nodes must not write one log or pid file: they would rotate and remove it under each other."""
    for key, option in (("log_file", "--logfile"), ("pidfile", "--pidfile")):
        seen: dict[str, Node] = {}
        for node, record in records:
            path = record.get(key)
            if path and not _is_device(path) and path in seen:
                raise ConfigurationError(f"{option}: {seen[path]} and {node} would both use {path}; put %n into it")
            if path:
                seen[path] = node


def refuse_files_of_others(records: list[tuple[Node, dict[str, Any]]], fleet: Fleet) -> None:
    """The same for nodes that run already, of any project; those that are down may be on their way to a new name."""
    mine = {str(node.place.kept) for node, _ in records}
    options = (("log_file", "--logfile", "logfile"), ("pidfile", "--pidfile", "pidfile"))
    given = [
        (key, option, node, record[key])
        for node, record in records
        for key, option, name in options
        if record["kept"]["options"].get(name) and not _is_device(record[key])
    ]
    if not given:
        return  # the usual places are a node's own
    for other in fleet.all(everywhere=True):
        if other.place.kept in mine or not other.status().is_up:
            continue
        theirs = other.record() or {}
        for key, option, node, path in given:
            if theirs.get(key) == path:
                raise ConfigurationError(
                    f"{option}: {path} is in use by {other}, which runs; give {node} another, or put %n into it"
                )


def refuse_broken_environment(records: list[tuple[Node, dict[str, Any]]]) -> None:
    """Before a node that runs is stopped for a start that can't be: its files of variables are read as its keeper will."""
    for node, record in records:
        for path in record.get("env_files") or ():
            try:
                envfile.read(path)
            except envfile.EnvFileError as error:
                raise ConfigurationError(f"{node}: {error}; nothing was stopped or started") from None


def _is_pipe(path: str) -> bool:
    """Whether it is a named pipe."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _is_device(path: str) -> bool:
    """Whether it is one of those that any number of nodes may write to, as /dev/null."""
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False
