"""The one table of the options of `multi worker`: what `multi start` may pass on, and what the worker understands.

The controller must know which options take a value, or it would take a value for a node's name; it never imports the
worker. The worker's own command is checked against this table by a test.
"""

from __future__ import annotations

from typing import NamedTuple


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
    Option(("--skip-checks",), None, "Accepted for Celery's sake.", everywhere=True),
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
    Option(("-c", "--concurrency"), "N", "Child processes, threads or simultaneous async tasks."),
    Option(
        ("-P", "--pool"),
        "POOL",
        "prefork, threads, asyncio or solo.",
        choices=("prefork", "threads", "asyncio", "solo"),
    ),
    Option(("-E", "--task-events"), None, "Send events about tasks."),
    Option(("--time-limit",), "SECONDS", "End a task that runs longer."),
    Option(("--soft-time-limit",), "SECONDS", "Raise SoftTimeLimitExceeded in a task that runs longer."),
    Option(("--max-tasks-per-child",), "N", "Replace a child after N tasks."),
    Option(("--max-memory-per-child",), "KIB", "Replace a child whose memory has grown to this."),
    Option(("--drain-timeout",), "SECONDS", "After TERM: hand running tasks back to the broker after this time."),
    Option(("--discard", "--purge"), None, "Delete all waiting messages before the start."),
    Option(("-Q", "--queues"), "LIST", "The queues to consume from, separated by commas."),
    Option(("-X", "--exclude-queues"), "LIST", "Configured queues not to consume from."),
    Option(("-I", "--include"), "LIST", "Further modules to import."),
    Option(("--without-gossip",), None, "Accepted for Celery's sake."),
    Option(("--without-mingle",), None, "Accepted for Celery's sake."),
    Option(("--without-heartbeat",), None, "Accepted for Celery's sake."),
    Option(("--heartbeat-interval",), "SECONDS", "The time between heartbeats."),
    Option(("--autoscale",), "MAX,MIN", "Let the number of children follow the load."),
    Option(("-B", "--beat"), None, "Run the scheduler inside this worker."),
    Option(("-s", "--schedule-filename"), "FILE", "The file of the embedded scheduler."),
    Option(("--scheduler",), "CLASS", "The scheduler of the embedded beat."),
    Option(("-f", "--logfile"), "FILE", "The log file; %n, %h and the like are filled in.", "node"),
    Option(("--pidfile",), "FILE", "Where to write the process id; %n, %h and the like are filled in.", "node"),
    Option(("--uid",), "USER", "The user to run as (root only)."),
    Option(("--gid",), "GROUP", "The group to run as (root only)."),
    Option(("--umask",), "OCTAL", "The file mode creation mask.", "node"),
    Option(("--executable",), "PYTHON", "The interpreter to run the worker with.", "node"),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}
BY_SPELLING: dict[str, Option] = {spelling: option for option in OPTIONS for spelling in option.spellings}


def words(values: dict[str, str | bool], whose: str = "worker") -> list[str]:
    """The given values as command-line words, in the table's order."""
    found: list[str] = []
    for option in OPTIONS:
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
    return found
