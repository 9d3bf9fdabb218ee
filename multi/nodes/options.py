"""The one table of the options of `multi worker`: what `multi start` may pass on, and what the worker understands.

The controller must know which options take a value, or it would take a value for a node's name; it never imports the
worker. The worker's own command is checked against this table by a test, and so are Celery's `worker` and `beat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: What is given for an option: its value, True for a flag; a list where an option that isn't in the table came repeatedly.
Value = str | bool | list[str]


class Option(NamedTuple):
    """One option: its spellings (the long name last), its placeholder (None for a flag), its meaning.

    `whose` tells who acts on it when it is given to `multi start`: "worker" (it becomes part of the worker's command
    line), "node" (the controller, for this node: names, files, directory), "screen" (this command's own output).
    """

    spellings: tuple[str, ...]
    metavar: str | None
    meaning: str
    whose: str = "worker"
    everywhere: bool = False  # may also stand before the subcommand
    choices: tuple[str, ...] = ()  # that the shell offers; what else is understood tells the worker
    also: tuple[str, ...] = ()  # further spellings that Celery has
    is_list: bool = False  # given repeatedly, it means all the values
    kinds: tuple[str, ...] = ("worker",)  # of node that have it

    @property
    def name(self) -> str:
        """The name under which its value is kept: the long spelling, without dashes, underscores between words."""
        return self.spellings[-1].lstrip("-").replace("-", "_")


OPTIONS: tuple[Option, ...] = (
    Option(("-A", "--app"), "APP", "The app: module, module:attribute or package.", everywhere=True),
    Option(("-b", "--broker"), "URL", "The broker, in place of the configured one.", everywhere=True),
    Option(("--result-backend",), "URL", "The result backend, in place of the configured one.", everywhere=True),
    Option(("--loader",), "CLASS", "Accepted for Celery's sake.", everywhere=True),
    Option(("--config",), "MODULE", "The module that holds the configuration.", everywhere=True),
    Option(("--workdir",), "DIR", "The directory to work in.", "node", everywhere=True),
    Option(("-C", "--no-color"), None, "No colours.", "screen", everywhere=True),
    Option(("-q", "--quiet"), None, "Say less.", "screen", everywhere=True),
    Option(("--skip-checks",), None, "Skip Django's system checks.", everywhere=True),
    Option(("-n", "--hostname"), "NAME", "The node's name; %h, %n and %d are filled in.", "node"),
    Option(("-D", "--detach"), None, "Run in the background (nodes always do).", "node"),
    Option(("-S", "--statedb"), "FILE", "Where to keep revoked ids."),
    Option(
        ("-l", "--loglevel"),
        "LEVEL",
        "DEBUG, INFO, WARNING, ERROR or CRITICAL.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    ),
    Option(("-O", "--optimization"), "NAME", "default or fair; this worker is always fair."),
    Option(("--prefetch-multiplier",), "N", "Tasks held per child."),
    Option(("--disable-prefetch",), None, "Hold no task that isn't running."),
    Option(("-c", "--concurrency"), "N", "Child processes, threads or simultaneous async tasks (0: as if not given)."),
    Option(
        ("-P", "--pool"),
        "POOL",
        "prefork, threads, asyncio or solo.",
        choices=("prefork", "threads", "asyncio", "solo"),
    ),
    Option(("-E", "--task-events"), None, "Send events about tasks.", also=("--events",)),
    Option(("--time-limit",), "SECONDS", "End a task that runs longer."),
    Option(("--soft-time-limit",), "SECONDS", "Raise SoftTimeLimitExceeded in a task that runs longer."),
    Option(("--max-tasks-per-child",), "N", "Replace a child after N tasks."),
    Option(("--max-memory-per-child",), "KIB", "Replace a child whose memory has grown to this."),
    Option(("--drain-timeout",), "SECONDS", "After TERM: hand running tasks back to the broker after this time."),
    Option(("--discard", "--purge"), None, "Delete all waiting messages before the start."),
    Option(("-Q", "--queues"), "LIST", "The queues to consume from, separated by commas.", is_list=True),
    Option(("-X", "--exclude-queues"), "LIST", "Configured queues not to consume from.", is_list=True),
    Option(("-I", "--include"), "LIST", "Further modules to import.", is_list=True),
    Option(("--without-gossip",), None, "Accepted for Celery's sake."),
    Option(("--without-mingle",), None, "Accepted for Celery's sake."),
    Option(("--without-heartbeat",), None, "Send no events about this worker."),
    Option(("--heartbeat-interval",), "SECONDS", "The time between its heartbeats, which are events (2)."),
    Option(("--autoscale",), "MAX,MIN", "Let the number that runs at once follow the load, between these."),
    Option(("-B", "--beat"), None, "Run the scheduler inside this worker."),
    Option(
        ("-s", "--schedule-filename"),
        "FILE",
        "The file of Celery's beat; multi's reads in it when entries ran last.",
        also=("--schedule",),
    ),
    Option(("--scheduler",), "CLASS", "The class of the scheduler."),
    Option(("-f", "--logfile"), "FILE", "The log file; %n, %h and the like are filled in.", "node"),
    Option(("--pidfile",), "FILE", "Where to write the process id; %n, %h and the like are filled in.", "node"),
    Option(("--uid",), "USER", "The user to run as (root only)."),
    Option(("--gid",), "GROUP", "The group to run as (root only)."),
    Option(("--umask",), "OCTAL", "The file mode creation mask.", "node"),
    Option(("--executable",), "PYTHON", "The interpreter to run the worker with.", "node"),
)

#: What a beat has, Celery's or multi's, and no worker.
BEATS: tuple[Option, ...] = (
    Option(("--max-interval",), "SECONDS", "A beat looks at the clock at least so often.", kinds=("beat",)),
    Option(("--enable-remote-control",), None, "Celery's beat answers pings.", kinds=("beat",)),
    Option(("--no-enable-remote-control",), None, "Celery's beat answers no pings.", kinds=("beat",)),
)

#: What only Celery's own worker has.
CELERYS: tuple[Option, ...] = (
    Option(("--pool-start-method",), "METHOD", "How Celery's prefork makes children.", choices=("fork", "spawn")),
)

#: How the names are made that a command line stands for; none of them reaches a worker.
NAMING: tuple[Option, ...] = (
    Option(("--range-prefix",), "TEXT", "Of the names that a number stands for (celery).", "names"),
    Option(("--prefix",), "TEXT", "Put before each name that has no host.", "names"),
    Option(("--suffix",), "HOST", "The host of each name that has none, as -n; '\"\"' for this machine.", "names"),
)

#: What `celery multi` takes about how a node is started.
LAUNCHING: tuple[Option, ...] = (
    Option(("--cmd",), "COMMAND", "What is run in place of `-m celery worker`.", "node"),
    Option(("--append",), "WORDS", "Put at the end of the command line; %n and the like are filled in.", "node"),
)

#: About what a command prints, beside -q and -C.
SCREEN: tuple[Option, ...] = (
    Option(("--nosplash",), None, "No first line with the version.", "screen", everywhere=True),
    Option(("--verbose",), None, "Say more: the command lines that are run.", "screen", everywhere=True),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}
BY_SPELLING: dict[str, Option] = {spelling: option for option in OPTIONS for spelling in option.spellings}

#: With a beat's and Celery's; what a command line for nodes may hold.
EVERY: tuple[Option, ...] = (*OPTIONS, *BEATS, *CELERYS)
_NAMED: dict[str, Option] = {option.name: option for option in EVERY}
_SPELLED: dict[str, Option] = {spelling: option for option in EVERY for spelling in (*option.spellings, *option.also)}
_OF_BEAT = {"-S": _NAMED["scheduler"]}  # to a worker it is the file of its state


def by_spelling(spelling: str, kind: str = "worker") -> Option | None:
    """The option that this means to a node of this kind."""
    return (_OF_BEAT.get(spelling) if kind == "beat" else None) or _SPELLED.get(spelling)


def by_name(name: str) -> Option | None:
    """The option whose value is kept under this name; None for one that isn't in the table (its name is its spelling)."""
    return _NAMED.get(name)


def is_workers(name: str) -> bool:
    """Whether what is kept under this name becomes part of a worker's command line."""
    option = _NAMED.get(name)
    return option is None or option.whose == "worker"


def spellings() -> list[str]:
    """All that there are."""
    return list(_SPELLED)


def words(values: Mapping[str, Value], whose: str = "worker") -> list[str]:
    """The given values as command-line words, in the table's order; behind them the options that aren't in it."""
    found: list[str] = []
    for option in EVERY:
        value = values.get(option.name)
        if option.whose != whose or value is None or value is False:
            continue
        spelling = option.spellings[0]
        if option.metavar is None:
            found.append(spelling)
        elif spelling.startswith("--"):
            found.append(f"{spelling}={value}")
        else:
            found += [spelling, str(value)]
    if whose == "worker":
        for name, value in values.items():
            if name.startswith("-") and value is not False:
                found += [_joined(name, one) for one in (value if isinstance(value, list) else [value])]
    return found


def _joined(spelling: str, value: str | bool) -> str:
    if value is True:
        return spelling
    return f"{spelling}={value}" if spelling.startswith("--") else f"{spelling}{value}"
