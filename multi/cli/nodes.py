"""What the commands for nodes have in common: their options, their names, what they make of both."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
from collections.abc import Callable
from typing import Any

import click

from multi.cli.policy import policy_of, shape_of
from multi.cli.screen import Screen
from multi.controller.fleet import Fleet
from multi.controller.node import Node
from multi.errors import ConfigurationError, MultiError, UnsupportedOption
from multi.nodes import names
from multi.nodes.options import BY_NAME, BY_SPELLING, OPTIONS
from multi.nodes.spec import LOG_KEEP, LOG_SIZE, NodeSpec, kept_environment, logical_cwd

_PER_NODE = re.compile(r"(--?[A-Za-z][\w-]*):([^=\s]+)")
_SIGNAL = re.compile(r"-(\d+|(?:SIG)?(?:TERM|INT|QUIT|KILL))")
ENDS = ("TERM", "INT", "QUIT", "KILL")


class NodesCommand(click.Command):
    """A command that takes nodes' names and the options of `multi worker`.

    It keeps what follows `--` for the worker, understands `-QUIT` and `-9` where it takes a signal, and refuses options for
    single nodes instead of taking them for something else.
    """

    def __init__(self, *args: Any, passes_on: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = {spelling for param in self.params for spelling in param.opts}
        for option in OPTIONS:
            spellings = [spelling for spelling in option.spellings if spelling not in own]
            if not spellings:
                continue  # the command has an option of its own for it
            self.params.append(
                click.Option(
                    [option.name, *spellings],
                    is_flag=True if option.metavar is None else None,
                    metavar=option.metavar,
                    help=option.meaning,
                    hidden=not passes_on and not option.everywhere,
                    shell_complete=_complete(option.choices),
                )
            )
        self._passes_on = passes_on
        self._takes_signal = any(param.name == "signal_name" for param in self.params)
        self._worker_options = {option.name for option in OPTIONS}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta["rest"] = args[at + 1 :]
            args = args[:at]
        words = []
        for before, word in zip(["", *args], args, strict=False):
            found = _PER_NODE.fullmatch(word.partition("=")[0])
            if found is not None and found[1] in BY_SPELLING:
                single = found[2] if not re.match(r"\d", found[2]) and "," not in found[2] else "NAME"
                raise UnsupportedOption(
                    f"{word}: options for single nodes are not there yet; give the node that it means its own command, "
                    f"by its name: multi {self.name} {single} {found[1]} …"
                )
            option = BY_SPELLING.get(before)
            takes_it = option is not None and option.metavar is not None
            if self._takes_signal and not takes_it and (end := _SIGNAL.fullmatch(word)):
                words.append(f"--signal={end[1]}")
            else:
                words.append(word)
        return super().parse_args(ctx, words)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        passed_on: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                (passed_on if param.name in self._worker_options else own).append(record)
        with formatter.section("Options"):
            formatter.write_dl(own)
        if passed_on:
            what = "Options of the worker" if self._passes_on else "Also"
            with formatter.section(what):
                formatter.write_dl(passed_on)


def _complete(
    choices: tuple[str, ...],
) -> Callable[[click.Context, click.Parameter, str], list[str]] | None:
    if not choices:
        return None
    return lambda ctx, param, incomplete: [one for one in choices if one.lower().startswith(incomplete.lower())]


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The known nodes, for completion in the shell."""
    try:
        found = Request(ctx, dict(ctx.params)).fleet.all()
    except MultiError:
        return []
    taken = ctx.params.get(param.name or "") or ()
    return [name for node in found if (name := node.name.short).startswith(incomplete) and name not in taken]


def nodes_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The nodes' names."""
    return click.argument("nodes", nargs=-1, shell_complete=complete_names)(command)


def state_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--state-dir`, which may stand after the subcommand too."""
    return click.option("--state-dir", metavar="DIR", help="Where nodes are kept, run and log (also MULTI_STATE_DIR).")(
        command
    )


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="The same as JSON.")(command)


class Request:
    """A parsed command line for nodes."""

    def __init__(self, ctx: click.Context, given: dict[str, Any]) -> None:
        before: dict[str, Any] = ctx.obj if isinstance(ctx.obj, dict) else {}
        values = {**before, **{name: value for name, value in given.items() if value not in (None, False)}}
        self.options: dict[str, str | bool] = {name: values[name] for name in BY_NAME if name in values}
        self.own = {name: value for name, value in given.items() if name not in BY_NAME}
        self.rest: list[str] = ctx.meta.get("rest", [])
        quiet, plain = self.options.pop("quiet", False), self.options.pop("no_color", False)
        self.screen = Screen(quiet=bool(quiet), color=not plain)
        self.here = logical_cwd()
        workdir = self.options.get("workdir")
        self.cwd = os.path.normpath(os.path.join(self.here, os.path.expanduser(str(workdir)))) if workdir else self.here
        if workdir and not os.path.isdir(self.cwd):
            raise ConfigurationError(f"--workdir {workdir}: there is no directory {self.cwd}")
        app = self.options.get("app")
        state_dir = values.get("state_dir")
        if state_dir:
            state_dir = os.path.join(self.here, state_dir)
        self.fleet = Fleet(self.cwd, str(app) if app else None, state_dir)
        self.host = self._host()

    def _host(self) -> str | None:
        host = self.options.pop("hostname", None)
        if host is None:
            return None
        if "@" in str(host):
            raise ConfigurationError(f"-n {host}: here nodes are named by themselves, as in: multi start {host} -A …")
        return names.expand(str(host), names.NodeName("", names.this_host()), host_only=True)

    def nodes(self, texts: tuple[str, ...], *, to_start: bool = False) -> list[Node]:
        """The nodes that are meant; without names all, where `--all` says so."""
        prefix = self.own.get("range_prefix") or names.RANGE_PREFIX
        wanted = names.expand_count(list(texts), prefix)
        if self.own.get("every"):
            if wanted:
                raise ConfigurationError("either nodes' names or --all, not both")
            return self.fleet.all()
        if not wanted:
            hint = "w1 w2, or a number" if to_start else "w1 w2, or --all"
            raise ConfigurationError(f"which nodes? Name them: {hint}")
        return self.fleet.to_start(wanted, self.host) if to_start else self.fleet.known(wanted, self.host)

    def everywhere(self, texts: tuple[str, ...]) -> list[Node]:
        """The nodes of every project; with names, those of these names."""
        if not texts:
            return self.fleet.all(everywhere=True)
        wanted = names.expand_count(list(texts), self.own.get("range_prefix") or names.RANGE_PREFIX)
        return self.fleet.known(wanted, self.host, everywhere=True)

    def spec(self, node: Node) -> NodeSpec:
        """The specification that this command line alone makes."""
        umask = os.umask(0o022)
        os.umask(umask)
        if "umask" in self.options:
            umask = _octal(str(self.options["umask"]))
        return NodeSpec(
            node.name,
            executable=self._executable(),
            cwd=self.cwd,
            options=self.options,
            rest=self.rest,
            env=kept_environment(dict(os.environ), list(self.own.get("env") or ())),
            umask=umask,
            policy=self.policy(),
            **shape_of(self.own, self.cwd),
        )

    def policy(self) -> dict[str, Any]:
        """What the keeper is to go by, as far as it was given."""
        return policy_of(self.own)

    def _executable(self) -> str:
        given = self.options.get("executable")
        if given is None:
            return sys.executable
        if os.sep in str(given):
            return os.path.join(self.here, os.path.expanduser(str(given)))
        import shutil

        found = shutil.which(str(given))
        if found is None:
            raise ConfigurationError(f"--executable {given}: there is no such program on the PATH")
        return found


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


def parse_signal(text: str) -> int:
    """A signal that ends a node, by name or number."""
    name = text.upper().removeprefix("SIG")
    if name.isdecimal():
        try:
            name = signal.Signals(int(name)).name.removeprefix("SIG")
        except ValueError:
            pass  # no signal at all; refused below
    if name not in ENDS:
        raise ConfigurationError(f"--signal {text}: nodes are stopped with {', '.join(ENDS)} (or 15, 2, 3, 9)")
    return int(signal.Signals[f"SIG{name}"])


def _octal(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise ConfigurationError(f"--umask {text} is no octal number from 000 to 777")
    return value
