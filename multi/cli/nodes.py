"""What the commands for nodes have in common: their options, their names, what they make of both."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from multi.cli.policy import policy_of, shape_of
from multi.cli.screen import Screen
from multi.controller.fleet import Fleet
from multi.controller.node import Node
from multi.errors import ConfigurationError, MultiError
from multi.nodes import commandline, names
from multi.nodes.commandline import Given, Line, Scope
from multi.nodes.names import Label, Naming, NodeName
from multi.nodes.options import BY_NAME, CELERYS, EVERY, LAUNCHING, NAMING, OPTIONS, SCREEN, Value, by_name, by_spelling
from multi.nodes.policy import signal_number
from multi.nodes.spec import LOG_KEEP, LOG_SIZE, NodeSpec, kept_environment, logical_cwd

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
#: How an option is given for some of the nodes only.
_SINGLE = [
    ("-c:w1 10", "for the node w1; also by its full name, -c:w1@host 10"),
    ("-c:1 10, -c:2-4 10", "by number in the order of the names, counted from 1"),
    ("-c:w1,w2 10, -c:1,3-5 10", "for several"),
    ("--loglevel:2=DEBUG, -E:w1", "the same with long options, and with flags"),
]
#: What a command as a whole goes by, so that it can't be given for a single node.
_WHOLE = frozenset(
    {
        *("help", "timeout", "foreground", "every", "everywhere", "as_json", "state_dir", "signal_name", "watch"),
        *("when_idle", "deadline", "rolling", "batch", "max_failures", "force", "dry_run"),
        *(option.name for option in (*NAMING, *SCREEN)),
    }
)


class NodesCommand(click.Command):
    """A command that takes nodes' names and the options of `multi worker`.

    What stands on its line is taken apart by `multi.nodes.commandline`; click gets the command's own options and the names.
    With `passes_on` the options of the worker are meant for the nodes; without, they are accepted (as what `celery multi`
    wants to be told again and again) and change nothing. With `leads` the first word is none of the names, whatever it is.
    """

    def __init__(self, *args: Any, passes_on: bool = False, leads: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {spelling for param in self.params for spelling in (*param.opts, *param.secondary_opts)}
        self._worker_options = {option.name for option in EVERY}
        self._naming = {option.name for option in (*NAMING, *LAUNCHING)}
        has_nodes = any(param.name == "nodes" for param in self.params)
        for option in (*EVERY, *NAMING, *LAUNCHING, *SCREEN):
            spellings = [one for one in (*option.spellings, *option.also) if one not in taken]
            if not spellings:
                continue  # the command has an option of its own for it
            shown = passes_on or option.everywhere or (has_nodes and (option in NAMING or option.name == "hostname"))
            self.params.append(
                click.Option(
                    [option.name, *spellings],
                    is_flag=True if option.metavar is None else None,
                    metavar=option.metavar,
                    help=option.meaning,
                    hidden=not shown,
                    shell_complete=_complete(option.choices),
                )
            )
        self._passes_on = passes_on
        self._leads = leads
        self._takes_signal = any(param.name == "signal_name" for param in self.params)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # a pattern may begin with a dash too
        first = args[:1] if self._leads and args and "%" in args[0] and args[0] != "--" else []
        try:
            line = commandline.parse(args[len(first) :], self._own(ctx), takes_signal=self._takes_signal)
        except ConfigurationError:
            if ctx.resilient_parsing:  # the shell completes a line that is not whole
                return super().parse_args(ctx, args)
            raise
        if line.signal is not None:
            line.common.append(Given("--signal", line.signal, f"-{line.signal}", is_own=True))
        ctx.meta["line"] = line
        self._check_single(ctx, line)
        positional = [*first, *line.names]
        if unknown := commandline.unknown([line.everything]):
            if not self._passes_on and not positional:
                raise ConfigurationError(
                    f"{unknown[0].word}: {commandline.no_option(unknown[0].spelling, self._own(ctx))}"
                )
        return super().parse_args(ctx, [*commandline.own_words([line.common]), "--", *positional])

    def _check_single(self, ctx: click.Context, line: Line) -> None:
        """Some options of a command can't be given for one node."""
        whole = {
            spelling
            for param in self.get_params(ctx)
            if not self._passes_on or param.name in _WHOLE
            for spelling in (*param.opts, *param.secondary_opts)
        }
        for given in (given for scope in line.single.values() for given in scope):
            if given.is_own and given.spelling in whole:
                raise ConfigurationError(
                    f"{given.word}: {given.spelling} is for the whole command, not for single nodes; write it without a colon"
                )

    def own_of(self, ctx: click.Context, scopes: Sequence[Scope]) -> dict[str, Any]:
        """The values of the command's own options, with those for a node in `scopes`."""
        line: Line = ctx.meta["line"]
        words = commandline.own_words([line.common, *scopes])
        single = click.Context(self, parent=ctx.parent, info_name=ctx.info_name)
        super().parse_args(single, [*words, "--", *line.names])
        return single.params

    def _own(self, ctx: click.Context) -> dict[str, bool]:
        """The spellings of the options that are click's to read, and whether they take a value."""
        return {
            spelling: not (param.is_flag or param.count or param.is_bool_flag)
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and param.name not in self._worker_options
            for spelling in (*param.opts, *param.secondary_opts)
        }

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = {
            "Options": set[str](),
            "Names": {option.name for option in NAMING} | {"hostname"},
            "Options of the worker": {option.name for option in OPTIONS} - {"hostname", *(one.name for one in SCREEN)},
            "Options that only Celery's worker and beat have": {option.name for option in CELERYS},
        }
        if not self._passes_on:
            groups["Also"] = groups.pop("Options of the worker")
        records: dict[str, list[tuple[str, str]]] = {title: [] for title in groups}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                title = next((title for title, members in groups.items() if param.name in members), "Options")
                records[title].append(record)
        for title, listed in records.items():
            if listed:
                with formatter.section(title):
                    formatter.write_dl(listed)
        if self._passes_on:
            with formatter.section("For single nodes"):
                formatter.write_dl(_SINGLE)


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
    """A parsed command line for nodes.

    `options`, `own` and `rest` are what it says for all of them; `options_of`, `own_of` and `cwd_of` what it says for one.
    """

    def __init__(self, ctx: click.Context, given: dict[str, Any]) -> None:
        before: dict[str, Any] = ctx.obj if isinstance(ctx.obj, dict) else {}
        self._ctx = ctx
        self._line: Line = ctx.meta.get("line") or Line([], [], {}, None, None)
        self._before: dict[str, Value] = {name: value for name, value in before.items() if name in BY_NAME}
        self._scopes: dict[str, list[Scope]] = {}  # by full name
        self._own: dict[str, dict[str, Any]] = {}
        self.own = {name: value for name, value in given.items() if by_name(name) is None}
        self.options = self._values([], str(self.own.get("kind") or "worker"))
        self.rest: list[str] = self._line.rest or []
        screen = {**before, **{name: value for name, value in given.items() if value}, **self.options}
        quiet, plain = screen.get("quiet"), screen.get("no_color")
        for name in ("quiet", "no_color"):
            self.options.pop(name, None)
        self.screen = Screen(quiet=bool(quiet), color=not plain)
        self.screen.verbose = bool(screen.get("verbose"))
        self.screen.splash = not screen.get("nosplash")
        self.here = logical_cwd()
        self.cwd = self._directory(self.options)
        app = self.options.get("app")
        state_dir = given.get("state_dir") or before.get("state_dir")
        if state_dir:
            state_dir = os.path.join(self.here, state_dir)
        self.fleet = Fleet(self.cwd, str(app) if app else None, state_dir)
        self.naming = self._naming()

    def _naming(self) -> Naming:
        host = str(self.options.pop("hostname", None) or "")
        if "@" in host:
            raise ConfigurationError(f"-n {host}: here nodes are named by themselves, as in: multi start {host} -A …")
        own = self.own
        return Naming(own.get("range_prefix") or "", own.get("prefix") or "", own.get("suffix") or "", host)

    def _values(self, scopes: list[Scope], kind: str) -> dict[str, Value]:
        return {**self._before, **commandline.values([self._line.common, *scopes], kind)}

    def _directory(self, options: Mapping[str, Value], node: NodeName | None = None) -> str:
        if not options.get("workdir"):
            return self.here
        given = str(options["workdir"])
        found = os.path.normpath(os.path.join(self.here, os.path.expanduser(given)))
        if "%" in given and not os.path.isdir(found):
            if node is None:
                return self.here  # each node has another
            found = names.expand(found, node)
        if not os.path.isdir(found):
            raise ConfigurationError(f"--workdir {given}: there is no directory {found}")
        return found

    # ---- nodes

    def nodes(self, texts: Sequence[str], *, to_start: bool = False) -> list[Node]:
        """The nodes that are meant; without names all, where `--all` says so."""
        if self.own.get("every"):
            if texts:
                raise ConfigurationError("either nodes' names or --all, not both")
            return self._meant(self.fleet.all())
        if not texts:
            hint = "w1 w2, or a number" if to_start else "w1 w2, or --all"
            raise ConfigurationError(f"which nodes? Name them: {hint}")
        labels = self.labels(texts)
        wanted = [label.text for label in labels]
        return self._meant(self.fleet.to_start(wanted) if to_start else self.fleet.known(wanted), labels)

    def names(self, texts: Sequence[str]) -> list[NodeName]:
        """The full names that these words stand for, whether or not there are such nodes."""
        if self.own.get("every") or not texts:
            return [node.name for node in self.nodes(texts)]
        labels = self.labels(texts)
        found = [names.parse(label.text) for label in labels]
        self._line.scopes(labels, found)  # complains of what is for none of them
        return found

    def all(self, *, everywhere: bool = False) -> list[Node]:
        """All nodes of the project, or of every project."""
        return self._meant(self.fleet.all(everywhere=everywhere))

    def everywhere(self, texts: Sequence[str]) -> list[Node]:
        """The nodes of every project; with names, those of these names."""
        if not texts:
            return self.all(everywhere=True)
        return self._meant(self.fleet.known([label.text for label in self.labels(texts)], everywhere=True))

    def labels(self, texts: Sequence[str]) -> list[Label]:
        """What these words stand for, each node once."""
        return [*{label.text: label for label in names.label(list(texts), self.naming)}.values()]

    def _meant(self, nodes: list[Node], labels: list[Label] | None = None) -> list[Node]:
        """Give out the options for single nodes; what is for none of these is an error."""
        full = [node.name for node in nodes]
        labels = labels or [Label(name.short, str(name)) for name in full]
        for name, scopes in zip(full, self._line.scopes(labels, full), strict=True):
            self._scopes[str(name)] = scopes
        if foreign := [given for given in self._line.everything if is_foreign(given)]:
            self._refuse_unknown(nodes, foreign)
        return nodes

    def _refuse_unknown(self, nodes: list[Node], foreign: Scope) -> None:
        """multi's own worker has the options of the table; what other engines take is theirs to judge."""
        for node in nodes:
            scopes = [self._line.common, *self._scopes_of(node)]
            mine = [given for given in foreign if any(given in scope for scope in scopes)]
            if mine and self.engine_of(node) == "multi":
                if not mine[0].is_known:
                    text = commandline.no_option(mine[0].spelling, {})
                    hint = "; what is an option of your Celery project's own goes through with --engine celery"
                    raise ConfigurationError(f"{mine[0].word}: {text}{'' if 'did you mean' in text else hint}")
                raise ConfigurationError(f"{mine[0].word}: only Celery has this option; give it with --engine celery")

    def _scopes_of(self, node: Node | NodeName) -> list[Scope]:
        return self._scopes.get(str(node), [])

    # ---- what is said of one node

    def own_of(self, node: Node | NodeName) -> dict[str, Any]:
        """The values of the command's own options, for this node."""
        scopes = self._scopes_of(node)
        if not any(given.is_own for scope in scopes for given in scope):
            return self.own
        if str(node) not in self._own:
            command = self._ctx.command
            assert isinstance(command, NodesCommand)
            self._own[str(node)] = command.own_of(self._ctx, scopes)
        return {name: value for name, value in self._own[str(node)].items() if by_name(name) is None}

    def options_of(self, node: Node | NodeName) -> dict[str, Value]:
        """The options of its worker: those of all nodes and its own, with the marks in names and paths filled in."""
        name = node if isinstance(node, NodeName) else node.name
        values = self._values(self._scopes_of(node), str(self.own_of(node).get("kind") or "worker"))
        for other in ("quiet", "no_color", "hostname"):
            values.pop(other, None)
        if any(given.spelling in ("-n", "--hostname") for scope in self._scopes_of(node) for given in scope):
            raise ConfigurationError(f"{node}: its host is part of its name: write {name.short}@HOST")
        return commandline.expanded(values, name)

    def cwd_of(self, node: Node) -> str:
        """The directory that it is to work in."""
        return self._directory(self.options_of(node), node.name)

    def engine_of(self, node: Node) -> str:
        """The engine that it has, or is to have by this command line."""
        own = self.own_of(node)
        shape = {name: own.get(name) for name in ("engine", "kind", "cmd")}
        if not any(shape.values()) and (kept := node.spec()) is not None:
            return kept.engine
        command = str(shape["cmd"] or "").split()
        return str(
            shape["engine"]
            or ("command" if shape["kind"] == "command" or (command and not command[0].startswith("-")) else "multi")
        )

    def rest_of(self, node: Node) -> list[str]:
        """The words at the end of its command line."""
        rest = list(self.rest)
        if self._line.rest is not None and self.engine_of(node) == "celery":
            rest.insert(0, "--")  # to Celery's worker these are settings, and it tells them by that
        append = self.own_of(node).get("append")
        if append:
            try:
                rest += [names.expand_once(word, node.name) for word in shlex.split(str(append))]
            except ValueError as error:
                raise ConfigurationError(f"--append {append}: {error}") from None
        return rest

    def spec(self, node: Node) -> NodeSpec:
        """The specification that this command line alone makes."""
        own, options = self.own_of(node), self.options_of(node)
        cwd = self._directory(options, node.name)
        umask = os.umask(0o022)
        os.umask(umask)
        if "umask" in options:
            umask = _octal(str(options["umask"]))
        shape = {**own}
        if own.get("cmd"):
            shape["cmd"] = names.expand_once(str(own["cmd"]), node.name)
        if own.get("env_file"):
            shape["env_file"] = [names.expand_once(path, node.name) for path in own["env_file"]]
        return NodeSpec(
            node.name,
            executable=self._executable(options),
            cwd=cwd,
            options=options,
            rest=self.rest_of(node),
            env=kept_environment(dict(os.environ), list(own.get("env") or ())),
            umask=umask,
            policy=self.policy(node),
            **shape_of(shape, cwd),
        )

    def policy(self, node: Node | None = None) -> dict[str, Any]:
        """What the keeper is to go by, as far as it was given."""
        return policy_of(self.own if node is None else self.own_of(node))

    def _executable(self, options: Mapping[str, Value]) -> str:
        given = options.get("executable")
        if given is None:
            return sys.executable
        if os.sep in str(given):
            return os.path.join(self.here, os.path.expanduser(str(given)))
        import shutil

        found = shutil.which(str(given))
        if found is None:
            raise ConfigurationError(f"--executable {given}: there is no such program on the PATH")
        return found


def is_foreign(given: Given) -> bool:
    """Whether multi's own worker has no such option."""
    if given.is_own:
        return False
    option = by_spelling(given.spelling)
    return option is None or option.name not in BY_NAME


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
    number = signal_number(text)
    if number not in ENDS:
        name = signal.Signals(number).name.removeprefix("SIG")
        raise ConfigurationError(
            f"--signal {text}: nodes are stopped with TERM, INT, QUIT or KILL; to pass {name} on to a worker: multi stop NODE "
            f"-{name}"
        )
    return number


def _octal(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise ConfigurationError(f"--umask {text} is no octal number from 000 to 777")
    return value
