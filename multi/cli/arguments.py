"""The command line of a command for nodes: who reads which words, what its help shows, what the shell completes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from multi.errors import ConfigurationError, MultiError
from multi.nodes import commandline
from multi.nodes.commandline import Given, Line, Scope
from multi.nodes.options import BEATS, CELERYS, EVERY, LAUNCHING, NAMING, OPTIONS, SCREEN, by_spelling

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


#: The commands that take names of nodes which were never started.
_MAKING = ("start", "show", "names", "expand", "get")


class NodesCommand(click.Command):
    """A command that takes nodes' names and the options of `multi worker`.

    What stands on its line is taken apart by `multi.nodes.commandline`; click gets the command's own options and the names.
    With `passes_on` the options of the worker are meant for the nodes; without, they are accepted (as what `celery multi`
    wants to be told again and again) and change nothing; of those that are in no table only what the nodes were started
    with. With `leads` the first word is none of the names, whatever it is.
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
                    shell_complete=complete_modules if option.name == "app" else complete_words(option.choices),
                )
            )
        self.passes_on = passes_on
        self._leads = leads
        self._takes_signal = any(param.name == "signal_name" for param in self.params)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # a pattern may begin with a dash too
        first = args[:1] if self._leads and args and "%" in args[0] and args[0] != "--" else []
        try:
            line = commandline.parse(args[len(first) :], self.own_spellings(ctx), takes_signal=self._takes_signal)
        except ConfigurationError:
            if ctx.resilient_parsing:  # the shell completes a line that is not whole
                ctx.meta["last"] = args[-1] if args else ""
                return super().parse_args(ctx, args)
            raise
        if line.signal is not None:
            line.common.append(Given("--signal", line.signal, f"-{line.signal}", is_own=True))
        ctx.meta["line"] = line
        if not ctx.resilient_parsing:
            self._refuse_nothing(args, line)
        self._check_single(ctx, line)
        positional = [*first, *line.names]
        if unknown := commandline.unknown([line.everything]):
            if not self.passes_on and not positional:
                raise ConfigurationError(
                    f"{unknown[0].word}: {commandline.no_option(unknown[0].spelling, self.own_spellings(ctx))}"
                )
        return super().parse_args(ctx, [*commandline.own_words([line.common]), "--", *positional])

    def _refuse_nothing(self, args: list[str], line: Line) -> None:
        """An empty word (of a variable of the shell that is not set) is left out beside names; alone it would mean all."""
        takes_nodes = any(param.name == "nodes" for param in self.params)
        is_value = any(given.value == "" for given in line.everything)
        if takes_nodes and "" in args and not line.names and not is_value and not _says_all(line):
            raise ConfigurationError("'' names no node: is a variable empty? Name nodes, or leave the empty word out")

    def _check_single(self, ctx: click.Context, line: Line) -> None:
        """Some options of a command can't be given for one node."""
        whole = {
            spelling
            for param in self.get_params(ctx)
            if not self.passes_on or param.name in _WHOLE
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        spelling, colon, start = incomplete.partition(":")
        if not colon:
            return super().shell_complete(ctx, incomplete)
        before, comma, start = start.rpartition(",")
        nodes = next(param for param in self.params if param.name == "nodes")
        typed: list[str] = [*(ctx.params.get("nodes") or ())]
        known = complete_names(click.Context(self, parent=ctx.parent, info_name=ctx.info_name), nodes, start)
        found = dict.fromkeys([*(name for name in typed if name.startswith(start)), *known])
        return [CompletionItem(f"{spelling}:{before}{comma}{name}") for name in found]

    def own_spellings(self, ctx: click.Context) -> dict[str, bool]:
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
            "Options of a beat": {option.name for option in BEATS},
            "Options that only Celery's worker has": {option.name for option in CELERYS},
        }
        if not self.passes_on:
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
        if self.passes_on:
            with formatter.section("For single nodes"):
                formatter.write_dl(_SINGLE)


def _says_all(line: Line) -> bool:
    return any(given.spelling == "--all" for given in line.common)


def complete_words(
    choices: tuple[str, ...],
) -> Callable[[click.Context, click.Parameter, str], list[str]] | None:
    """Completion of a value that is one of these words."""
    if not choices:
        return None
    return lambda ctx, param, incomplete: [one for one in choices if one.lower().startswith(incomplete.lower())]


def complete_modules(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The modules and packages here, or in a package that is typed already."""
    package, dot, start = incomplete.rpartition(".")
    found = []
    try:
        with os.scandir(os.path.join(".", *package.split("."))) as entries:
            for entry in entries:
                name, ending = os.path.splitext(entry.name)
                is_package = not ending and entry.is_dir() and os.path.isfile(os.path.join(entry.path, "__init__.py"))
                if (
                    name.isidentifier()
                    and name.startswith(start)
                    and name != "__init__"
                    and (is_package or ending == ".py")
                ):
                    found.append(f"{package}{dot}{name}")
    except OSError:
        return []
    return sorted({*found})


def complete_queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The queues that are consumed here, or that were paused; of a list the last one."""
    from multi.cli.nodes import Request
    from multi.controller import pausing
    from multi.controller.guard import queues_of

    before, comma, start = incomplete.rpartition(",")
    try:
        seen = [(node, node.status()) for node in Request(ctx, dict(ctx.params)).fleet.all()]
        known = {queue for node, status in seen for queue in (*queues_of(node, status), *pausing.paused(status))}
    except MultiError:
        return []
    taken = {*before.split(","), pausing.EVERY}
    return [f"{before}{comma}{queue}" for queue in sorted(known - taken) if queue.startswith(start)]


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The known nodes, for completion in the shell."""
    from multi.cli.nodes import Request

    spelling, colon, _ = str(ctx.meta.get("last") or "").partition(":")
    if colon and (option := by_spelling(spelling)) is not None:  # the value of an option for single nodes
        return [one for one in option.choices if one.lower().startswith(incomplete.lower())]
    try:
        found = Request(ctx, dict(ctx.params)).fleet.all()
    except MultiError:
        return []
    taken = ctx.params.get(param.name or "") or ()
    names = [node.name.short for node in found]
    if ctx.info_name in _MAKING:
        names += _described(ctx)
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete) and name not in taken]


def _described(ctx: click.Context) -> list[str]:
    """The nodes of multi.toml, started or not."""
    from multi.cli.nodes import Request
    from multi.controller import project

    try:
        return [node.name for node in project.description(Request(ctx, dict(ctx.params)).cwd).nodes]
    except MultiError:
        return []


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
