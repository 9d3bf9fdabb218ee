"""The one table of the keys of a description: from it come validation, the JSON schema, the file of `multi init` and the
reference in docs/multi.toml.md.
"""

from __future__ import annotations

from typing import NamedTuple

from multi.nodes import options
from multi.nodes.description.kinds import (
    Choice,
    Duration,
    Entry,
    Env,
    Flag,
    Kind,
    Octal,
    Share,
    Signal,
    Size,
    Table,
    Text,
    Texts,
    Whole,
    Words,
)
from multi.nodes.description.special import Hooks, Limits, Needs

PROJECT, NODE, EVERYWHERE = "project", "node", "everywhere"

#: Where a value goes in the specification of a node: an argument of it, its policy, its options, or a use of its own.
FIELD, POLICY, OPTION, OWN = "field", "policy", "option", "own"


class Key(NamedTuple):
    """One key. `default` says what holds without it, `example` is TOML."""

    name: str
    kind: Kind
    meaning: str
    default: str = ""
    example: str = ""
    where: str = EVERYWHERE  # PROJECT: at the top; NODE: in [nodes.X] only; EVERYWHERE: there and in [defaults]
    group: str = ""
    to: str = OWN


def _project() -> list[Key]:
    return [
        Key(
            "name",
            Text("the project's name, with a letter or digit in it", r".*[^\W_].*"),
            "The project; its nodes are kept under this name, wherever its folder is.",
            "the folder",
            '"shop"',
            PROJECT,
            "Project",
        ),
        Key(
            "state_dir",
            Text("a directory"),
            "Where nodes are kept, run and log; `--state-dir` and the variable MULTI_STATE_DIR come before it.",
            "the user's usual place",
            '"state"',
            PROJECT,
            "Project",
        ),
        Key(
            "templates",
            Text("a directory"),
            "Templates of your own for what `multi render` makes, in place of ours of the same names (`multi render --eject`).",
            "multi's own",
            '"deploy/templates"',
            PROJECT,
            "Project",
        ),
    ]


def _node() -> list[Key]:
    what, run, whose = "What a node is", "How it is run", "Whose it is and what it may use"
    watch, stop, log, order = "Watching", "Stopping", "Its log", "Order"
    return [
        Key(
            "count",
            Whole(1, 1000),
            "So many nodes, with numbers at their names: `[nodes.w]` with 3 is w1, w2, w3. Without it one, named as its table.",
            example="3",
            where=NODE,
            group=what,
        ),
        Key(
            "inherits",
            Text("the name of another table of nodes"),
            "What is not given here is taken from that table (but for `count`), and only then from `[defaults]`.",
            example='"w"',
            where=NODE,
            group=what,
        ),
        Key(
            "engine",
            Text("an engine's name"),
            "What runs: multi, celery, command or a third party's.",
            "multi",
            '"celery"',
            group=what,
            to=FIELD,
        ),
        Key(
            "kind",
            Choice("worker", "beat", "command"),
            "A worker, a beat, or any program.",
            "worker; beat for `[nodes.beat]`, unless `engine` or `command` is given",
            '"beat"',
            NODE,
            what,
            FIELD,
        ),
        Key(
            "singleton",
            Flag(),
            "One in the project: stopped before another one starts.",
            "true for a beat of Celery's",
            "true",
            NODE,
            what,
            FIELD,
        ),
        Key(
            "command",
            Words(),
            "The program of the engine command. With another engine: what stands in place of `-m celery worker`.",
            example='"celery flower"',
            where=NODE,
            group=what,
            to=FIELD,
        ),
        Key(
            "hostname",
            Text("a host's name", r"[\w%][\w.%-]*"),
            "The part of the node's name behind the @; %h is this machine.",
            "this machine",
            '"shop1"',
            group=what,
        ),
        Key(
            "roles",
            Texts("a list of roles", commas=True),
            "In a deploy it runs on the hosts with one of these roles.",
            "every host",
            '["web"]',
            group=what,
        ),
        Key(
            "hosts",
            Texts("a list of hosts, tags or patterns", commas=True),
            "In a deploy it runs on these hosts.",
            "every host",
            '["app*"]',
            group=what,
        ),
        Key(
            "python",
            Text("an interpreter"),
            "The interpreter: of the project's virtual environment, a path or a name on the PATH.",
            "multi's own",
            '"/srv/shop/venv/bin/python"',
            group=run,
        ),
        Key(
            "directory",
            Text("a directory"),
            "Where it works, seen from this file's folder. Links in it are followed at each start anew.",
            '"."',
            '"/srv/shop/current"',
            group=run,
        ),
        Key("env", Env(), "Variables.", example='{ TZ = "UTC" }', group=run),
        Key(
            "env_files",
            Texts("a list of files", dash=True),
            "Files of variables, read at each start, later ones over earlier ones; a dash before a name: it may be missing.",
            example='["shop.env", "-local.env"]',
            group=run,
        ),
        Key(
            "args",
            Texts("a list of words"),
            "Further words for the end of the command line.",
            example='["--my-option"]',
            group=run,
        ),
        Key(
            "pidfile",
            Text("a file"),
            "Where the keeper's process id is written; %n, %h and the like are filled in.",
            "in the runtime directory",
            '"run/%n.pid"',
            group=run,
        ),
        Key("user", Text("a user"), "Whom it runs as (root only).", "who starts it", '"shop"', group=whose, to=FIELD),
        Key(
            "group",
            Text("a group"),
            "The group that it runs as (root only).",
            "the user's",
            '"shop"',
            group=whose,
            to=FIELD,
        ),
        Key("umask", Octal(), "The file mode creation mask.", '"022"', '"027"', group=whose),
        Key(
            "limits",
            Limits(),
            'Limits of its processes: a number, "unlimited", or [soft, hard].',
            example="{ nofile = 65536 }",
            group=whose,
            to=FIELD,
        ),
        Key("nice", Whole(-20, 19), "Its processes' niceness.", "0", "5", group=whose, to=FIELD),
        Key(
            "restart",
            Choice("on-failure", "always", "never"),
            "When a process that has ended is started again.",
            "on-failure",
            '"always"',
            group=watch,
            to=POLICY,
        ),
        Key(
            "restart_delay",
            Duration(),
            "The pause before the first restart; it doubles each time.",
            "1s",
            '"1s"',
            group=watch,
            to=POLICY,
        ),
        Key("longest_delay", Duration(), "The longest pause.", "60s", '"60s"', group=watch, to=POLICY),
        Key("max_crashes", Whole(1), "Give up after so many crashes in a row.", "5", "5", group=watch, to=POLICY),
        Key(
            "healthy_after",
            Duration(),
            "After this time of running crashes are counted anew.",
            "60s",
            '"60s"',
            group=watch,
            to=POLICY,
        ),
        Key(
            "ready_after",
            Duration(),
            "A program of the engine command is ready when it has lived so long.",
            "1s",
            '"2s"',
            group=watch,
            to=POLICY,
        ),
        Key(
            "watchdog",
            Duration(),
            "Replace a process that says nothing for so long; 0: never.",
            "60s with the engine multi",
            '"60s"',
            group=watch,
            to=POLICY,
        ),
        Key(
            "max_memory",
            Size(),
            "Replace a node, gracefully, that has grown to this: all its processes together.",
            "never",
            '"1GB"',
            group=watch,
            to=POLICY,
        ),
        Key(
            "max_age",
            Duration(zero=False),
            "Replace a node, gracefully, that is so old.",
            "never",
            '"12h"',
            group=watch,
            to=POLICY,
        ),
        Key(
            "max_age_jitter",
            Share(),
            "How much of the age is left to chance, so that not all go at once.",
            "0.1",
            "0.1",
            group=watch,
            to=POLICY,
        ),
        Key(
            "hooks",
            Hooks(),
            "What is run, or called, when something has happened: started, ready, crashed, gave_up, stopped, reloaded.",
            example='{ crashed = "https://example.com/alert", ready = ["notify", "x"] }',
            group=watch,
            to=FIELD,
        ),
        Key(
            "stop",
            Table(
                '{ quit_after = "5m", kill_after = "6m" }',
                signal=Entry(Signal(), "The signal that asks it to finish (TERM)."),
                quit_after=Entry(Duration(), "QUIT after this time: it interrupts its tasks and hands them back."),
                kill_after=Entry(Duration(), "KILL after this time."),
            ),
            "How it is stopped: the signal, and what follows when that doesn't help.",
            "TERM, and all the time that its tasks need",
            '{ quit_after = "5m", kill_after = "6m" }',
            group=stop,
        ),
        Key(
            "longest_task",
            Duration(zero=False),
            "How long its tasks may take: so long unit managers (systemd, supervisord, Kubernetes) wait for it to stop.",
            "time_limit, else 10m",
            '"30m"',
            group=stop,
            to=POLICY,
        ),
        Key(
            "log",
            Table(
                '{ size = "10MB", keep = 5 }',
                file=Entry(Text("a file"), "The file; %n, %h and the like are filled in."),
                size=Entry(Size(), "Begin a new one at this size (10MB; 0: never)."),
                every=Entry(Duration(zero=False), "Begin a new one each time so long has passed."),
                keep=Entry(Whole(1), "Keep so many old ones (5)."),
                compress=Entry(Flag(), "Compress old ones."),
                format=Entry(Choice("text", "json"), "Its lines as text, or as JSON."),
            ),
            "Its log, which holds all that its processes print.",
            "10 MB, 5 old ones",
            '{ file = "log/%n.log", size = "10MB", every = "1d", keep = 5, compress = true }',
            group=log,
        ),
        Key(
            "depends_on",
            Needs(),
            "What has to be ready before it is started: another node or table of nodes, a TCP port, a command that succeeds.",
            example='["beat", "tcp://127.0.0.1:6379", { command = ["pg_isready"], timeout = "30s" }]',
            where=NODE,
            group=order,
        ),
    ]


#: Types of worker options that their placeholder doesn't tell.
_OPTION_KINDS: dict[str, Kind] = {
    "app": Text("an app: module, module:attribute or package"),
    "broker": Text("a URL", secret=True),
    "result_backend": Text("a URL", secret=True),
    "loglevel": Choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL", upper=True),
    "concurrency": Whole(0, words=("auto",)),
    "prefetch_multiplier": Whole(0),
    "max_tasks_per_child": Whole(1),
    "max_memory_per_child": Size(1024),
    "autoscale": Text("MAX,MIN as in 10,2", r"\d+(,\d+)?"),
}
_OPTION_EXAMPLES = {
    "app": '"shop.tasks:app"',
    "broker": '"redis://localhost/0"',
    "loglevel": '"INFO"',
    "concurrency": "4",
    "queues": '["default", "images"]',
    "pool": '"threads"',
    "max_tasks_per_child": "1000",
    "max_memory_per_child": '"200MB"',
    "time_limit": '"10m"',
}
#: Options that other keys stand for.
_REPLACED = {"uid": "user", "gid": "group", "detach": ""}


def _options() -> list[Key]:
    found = []
    for option in options.EVERY:
        if option.whose != "worker" or option.name in _REPLACED:
            continue
        kind = _OPTION_KINDS.get(option.name)
        if kind is None and option.metavar is None:
            kind = Flag()
        elif kind is None and option.metavar == "SECONDS":
            kind = Duration()
        elif kind is None and option.metavar == "LIST":
            kind = Texts("a list of names", commas=True)
        elif kind is None and option.metavar == "N":
            kind = Whole(0)
        found.append(
            Key(
                option.name,
                kind or Text(),
                option.meaning.replace(", separated by commas", ""),  # a list here
                example=_OPTION_EXAMPLES.get(option.name, ""),
                group="Options of the worker",
                to=OPTION,
            )
        )
    return found


PROJECT_KEYS: dict[str, Key] = {key.name: key for key in _project()}
NODE_KEYS: dict[str, Key] = {key.name: key for key in (*_options(), *_node())}

#: Names that people bring along, and what the key is called here.
OTHER_NAMES = {
    "uid": "user",
    "gid": "group",
    "executable": "python",
    "interpreter": "python",
    "workdir": "directory",
    "working_dir": "directory",
    "chdir": "directory",
    "cwd": "directory",
    "logfile": "log.file",
    "log_file": "log.file",
    "log_size": "log.size",
    "log_keep": "log.keep",
    "log_every": "log.every",
    "log_compress": "log.compress",
    "stop_signal": "stop.signal",
    "quit_after": "stop.quit_after",
    "kill_after": "stop.kill_after",
    "environment": "env",
    "env_file": "env_files",
    "cmd": "command",
    "numprocs": "count",
    "replicas": "count",
    "autorestart": "restart",
    "level": "loglevel",
    "log_level": "loglevel",
    "log_format": "log.format",
    "discard": "purge",
    "c": "concurrency",
    "Q": "queues",
    "A": "app",
    "l": "loglevel",
}
