"""What the commands for nodes have in common: what their command line says, of all nodes and of each."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from multi.cli.arguments import NodesCommand, complete_names, json_option, nodes_argument, state_dir_option
from multi.cli.files import record_of, refuse_broken_environment, refuse_files_of_others, refuse_shared_files
from multi.cli.policy import policy_of, shape_of
from multi.cli.screen import Screen
from multi.controller import project
from multi.controller.fleet import Fleet
from multi.controller.node import Node
from multi.errors import ConfigurationError, NodeNotFound
from multi.nodes import commandline, names
from multi.nodes.commandline import Given, Line, Scope
from multi.nodes.engines.multi import is_beats_only, is_workers_only
from multi.nodes.names import Label, Naming, NodeName
from multi.nodes.options import BY_NAME, Value, by_name, by_spelling
from multi.nodes.policy import signal_number
from multi.nodes.spec import BEAT, NodeSpec, kept_environment, logical_cwd

__all__ = [
    "ENDS",
    "NodesCommand",
    "Request",
    "complete_names",
    "json_option",
    "nodes_argument",
    "parse_signal",
    "record_of",
    "refuse_broken_environment",
    "refuse_files_of_others",
    "refuse_shared_files",
    "state_dir_option",
]

#: What names the program of a node.
_PROGRAM = frozenset({"--cmd", "-A", "--app"})
#: What can't be empty, of the worker's options and of our own; of the others an empty one may mean none, as --pidfile= .
_NEVER_EMPTY = frozenset(
    {
        *("app", "broker", "result_backend", "loader", "config", "workdir", "executable", "loglevel", "concurrency"),
        *("pool", "queues", "exclude_queues", "include", "hostname"),
        *("cmd", "engine", "user", "uid", "group", "gid", "env-file", "env"),
    }
)
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)


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
        self._refuse_empty()
        self.own = {name: value for name, value in given.items() if by_name(name) is None}
        self.options = self._values([], str(self.own.get("kind") or "worker"))
        if self._line.names == [BEAT] and self._means_beat(self.own):
            self.own["kind"] = "beat"
            self.options = self._values([], "beat")
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

    def _refuse_empty(self) -> None:
        """An empty value is no way to leave an option out, but mostly a variable of the shell that has none."""
        empty = [given.word for given in self._line.everything if given.value == "" and _name(given) in _NEVER_EMPTY]
        empty += [
            by.spellings[-1] for name, by in BY_NAME.items() if name in _NEVER_EMPTY and self._before.get(name) == ""
        ]
        if empty:
            raise ConfigurationError(
                f"{empty[0].rstrip('=')}: its value is empty (a variable that is not set?); leave the option out, or give it one"
            )

    def _naming(self) -> Naming:
        host = str(self.options.pop("hostname", None) or "")
        if "@" in host:
            typed = next((one.word for one in self._line.common if _name(one) == "hostname"), "-n")
            typed = typed if host in typed else f"{typed} {host}"
            raise ConfigurationError(f"{typed}: here nodes are named by themselves, as in: multi start {host} -A …")
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
            hint = "w1 w2" + (", or a number" if to_start else "") + (", or --all" if "every" in self.own else "")
            raise ConfigurationError(f"which nodes? Name them: {hint}")
        labels = self.labels(self._of_tables(texts, to_start=to_start))
        wanted = [label.text for label in labels]
        if not to_start:
            return self._meant(self.fleet.known(wanted), labels)
        return self._meant(self.fleet.to_start(wanted, own=self._said_anew(labels)), labels)

    def _said_anew(self, labels: list[Label]) -> set[str]:
        """Those of the nodes of which this command line says what they run."""
        scopes = self._line.scopes(labels, [names.parse(label.text) for label in labels])
        return {
            label.text
            for label, own in zip(labels, scopes, strict=True)
            if any(given.spelling in _PROGRAM for scope in (self._line.common, *own) for given in scope)
        }

    def _of_tables(self, texts: Sequence[str], *, to_start: bool) -> list[str]:
        """The words with the name of a table of multi.toml replaced by those of its nodes: of w with a count of 3, w1 w2 w3."""
        found: list[str] = []
        for text in texts:
            members = project.members(self.cwd, text)
            if members and not to_start:
                known = {node.name.short for node in self.fleet.all()}
                members = [] if text in known else [name for name in members if name in known]
            found += members or [text]
        return found

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

    def known(self, texts: Sequence[str], *, everywhere: bool = False) -> tuple[list[Node], list[NodeNotFound]]:
        """The nodes of these names that there are, and an error for each name of which there is none."""
        look = self.everywhere if everywhere else self.nodes
        try:
            return look(texts), []
        except NodeNotFound as error:
            if len(texts) == 1:
                return [], [error]
        found: dict[str, Node] = {}
        missing: list[NodeNotFound] = []
        for text in texts:
            try:
                found.update((node.place.kept, node) for node in look([text]))
            except NodeNotFound as error:
                missing.append(error)
        return [*found.values()], missing

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
        behind = [word for word in self.rest if word.startswith("-")]  # options that somebody has put behind `--`
        for node in nodes if behind and not self._passes_on else ():
            if strange := [word for word in behind if (kept := node.spec()) is None or word not in kept.rest]:
                raise ConfigurationError(f"-- {strange[0]}: {node} was started with no such word; nothing was done")
        return nodes

    def _refuse_unknown(self, nodes: list[Node], foreign: Scope) -> None:
        """multi's own worker has the options of the table; what other engines take is theirs to judge."""
        for node in nodes:
            scopes = [self._line.common, *self._scopes_of(node)]
            mine = [given for given in foreign if any(given in scope for scope in scopes)]
            if self._kind_of(node) == "beat":
                mine = [given for given in mine if not is_beats_only(_name(given))]
            if not self._passes_on and (strange := self._never_told(node, mine)):
                command = self._ctx.command
                own = command.own_spellings(self._ctx) if isinstance(command, NodesCommand) else {}
                text = commandline.no_option(strange.spelling, own)
                raise ConfigurationError(
                    f"{strange.word}: {text}, and {node} was started with none either; nothing was done"
                )
            if mine and self.engine_of(node) == "multi":
                if not mine[0].is_known:
                    text = commandline.no_option(mine[0].spelling, {})
                    if "did you mean" not in text and mine[0].spelling != "--json":
                        text += "; what is an option of your Celery project's own goes through with --engine celery"
                    raise ConfigurationError(f"{mine[0].word}: {text}")
                if is_beats_only(_name(mine[0])):
                    several = len(self._line.names) > 1
                    remedy = (
                        f"say it of that alone, as in {mine[0].spelling}:beat" if several else "or give --kind beat"
                    )
                    text = f"only a beat has this option; leave it out, {'or ' if several else ''}{remedy}"
                    raise ConfigurationError(f"{mine[0].word}: {text}")
                raise ConfigurationError(f"{mine[0].word}: only Celery has this option; give it with --engine celery")

    @property
    def _passes_on(self) -> bool:
        command = self._ctx.command
        return not isinstance(command, NodesCommand) or command.passes_on

    @staticmethod
    def _never_told(node: Node, given: Scope) -> Given | None:
        """The first of these options that neither we nor this node know; at a stop `celery multi` wants to be told those of the
        start again."""
        unknown = [one for one in given if not one.is_known]
        if not unknown:
            return None
        kept = node.spec()
        had = {*kept.options, *(word.partition("=")[0] for word in kept.rest)} if kept is not None else set()
        return next((one for one in unknown if one.spelling not in had), None)

    def _scopes_of(self, node: Node | NodeName) -> list[Scope]:
        return self._scopes.get(str(node), [])

    # ---- what is said of one node

    def own_of(self, node: Node | NodeName) -> dict[str, Any]:
        """The values of the command's own options, for this node."""
        scopes = self._scopes_of(node)
        own = self.own
        if any(given.is_own for scope in scopes for given in scope):
            if str(node) not in self._own:
                command = self._ctx.command
                assert isinstance(command, NodesCommand)
                self._own[str(node)] = command.own_of(self._ctx, scopes)
            own = {name: value for name, value in self._own[str(node)].items() if by_name(name) is None}
        return {**own, "kind": "beat"} if self._is_beat_among_others(node, own) else own

    def _is_beat_among_others(self, node: Node | NodeName, own: Mapping[str, Any]) -> bool:
        name = node if isinstance(node, NodeName) else node.name
        return name.short == BEAT and len(self._line.names) > 1 and self._means_beat(own)

    def _means_beat(self, own: Mapping[str, Any]) -> bool:
        """Whether a node that is called beat is a scheduler: nothing that is said makes it something else."""
        return "app" in self.options and not any(own.get(name) for name in ("kind", "engine", "cmd"))

    def options_of(self, node: Node | NodeName) -> dict[str, Value]:
        """The options of its worker: those of all nodes and its own, with the marks in names and paths filled in."""
        name = node if isinstance(node, NodeName) else node.name
        own = self.own_of(node)
        values = self._values(self._scopes_of(node), str(own.get("kind") or "worker"))
        for other in ("quiet", "no_color", "hostname"):
            values.pop(other, None)
        if self._is_beat_among_others(node, {**own, "kind": None}):
            # what is said of all of them is meant for the workers where only these have it
            mine = commandline.values(self._scopes_of(node), "beat")
            values = {
                option: value for option, value in values.items() if option in mine or not is_workers_only(option)
            }
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
            # what its worker has turned out to be, as long as it is of the same app
            found = "" if "app" in self.options_of(node) else str(node.status().record.get("engine") or "")
            return found if kept.engine == "multi" and found else kept.engine
        command = str(shape["cmd"] or "").split()
        return str(
            shape["engine"]
            or ("command" if shape["kind"] == "command" or (command and not command[0].startswith("-")) else "multi")
        )

    def _kind_of(self, node: Node) -> str:
        """The kind that it has, or is to have by this command line."""
        kept = None if "app" in self.options_of(node) else node.spec()
        return str(self.own_of(node).get("kind") or (kept.kind if kept is not None else "worker"))

    def _is_for_another(self, node: Node) -> bool:
        """Whether words are given that only the engine understands which its worker has turned out to be of."""
        if "app" in self.options_of(node):
            return False  # it is defined anew, whatever was kept of it
        kept = node.spec()
        if kept is None or kept.engine != "multi" or self.engine_of(node) == "multi" or self.own_of(node).get("cmd"):
            return False
        scopes = [self._line.common, *self._scopes_of(node)]
        return self._line.rest is not None or any(is_foreign(given) for scope in scopes for given in scope)

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
        if not own.get("engine") and self._is_for_another(node):
            shape["engine"] = self.engine_of(node)
        for who in ("user", "group"):
            if own.get(who):
                shape[who] = names.expand_once(str(own[who]), node.name)
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


def _name(given: Given) -> str:
    option = by_spelling(given.spelling)
    return option.name if option is not None and not given.is_own else given.spelling.lstrip("-")


def is_foreign(given: Given) -> bool:
    """Whether multi's own worker has no such option."""
    if given.is_own:
        return False
    option = by_spelling(given.spelling)
    return option is None or option.name not in BY_NAME


def parse_signal(text: str) -> int:
    """A signal that ends a node, by name or number."""
    number = signal_number(text)
    if number not in ENDS:
        name = signal.Signals(number).name.removeprefix("SIG")
        way = f"to pass {name} on to a worker: multi stop NODE -{name}"
        raise ConfigurationError(f"--signal {text}: nodes are stopped with TERM, INT, QUIT or KILL; {way}")
    return number


def _octal(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise ConfigurationError(f"--umask {text} is no octal number from 000 to 777")
    return value
