"""The group of all commands: finds one, loads it alone, and turns errors into a message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from multi.cli.lazy import LazyGroup
from multi.cli.screen import complain
from multi.errors import AppImportFailed, ConfigurationError, MultiError, NodeNotFound
from multi.nodes.options import OPTIONS, SCREEN

DONE, FAILED, USAGE, UNKNOWN, FORCED = 0, 1, 2, 4, 5
UNAVAILABLE = 69  # as Celery's commands have it, when no worker answers
INTERRUPTED = 130  # as shells have it for Ctrl-C

#: Name, where it is, what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "start": ("multi.cli.start:start", "Start nodes; OK means that they consume."),
    "stop": ("multi.cli.stop:stop", "Tell nodes to stop when what they run is done."),
    "stopwait": ("multi.cli.stop:stopwait", "Stop nodes and wait until all their processes are gone."),
    "restart": ("multi.cli.restart:restart", "Stop nodes and start them as they were, or with changes."),
    "reload": ("multi.cli.reload:reload", "Load new code without a gap."),
    "kill": ("multi.cli.stop:kill", "End all processes of nodes at once."),
    "status": ("multi.cli.status:status", "What nodes are doing."),
    "probe": ("multi.cli.probe:probe", "Whether nodes are well, in a moment; for probes of containers."),
    "logs": ("multi.cli.logs:logs", "The last lines of nodes' logs."),
    "show": ("multi.cli.show:show", "The command lines of nodes, without starting them."),
    "names": ("multi.cli.show:names", "The full names of nodes."),
    "expand": ("multi.cli.show:expand", "A pattern, filled in for each node."),
    "get": ("multi.cli.show:get", "The command line of one node."),
    "ls": ("multi.cli.ls:ls", "The nodes that are known."),
    "forget": ("multi.cli.ls:forget", "Keep nothing more of nodes that are down."),
    "up": ("multi.cli.up:up", "Make what runs match multi.toml."),
    "down": ("multi.cli.down:down", "Stop what multi.toml describes."),
    "install": ("multi.cli.install:install", "Have systemd or supervisord run the nodes of multi.toml."),
    "enable": ("multi.cli.enable:enable", "Let the nodes that run now come back after a reboot."),
    "disable": ("multi.cli.enable:disable", "No longer start nodes with the machine."),
    "check": ("multi.cli.check:check", "Validate multi.toml; starts nothing."),
    "upgrade": ("multi.cli.upgrade:upgrade", "Give settings in a file their new names."),
    "report": ("multi.cli.report:report", "Versions, the system and an app's settings, for a bug report."),
    "schema": ("multi.cli.check:schema", "The JSON schema of multi.toml, for editors."),
    "init": ("multi.cli.init:init", "Write a multi.toml: commented, from what runs, or from another tool's file."),
    "lint": ("multi.cli.lint:lint", "What in units of systemd, supervisord, compose and Kubernetes will lose tasks."),
    "adopt": ("multi.cli.adopt:adopt", "Take over Celery workers that run already."),
    "pause": ("multi.cli.pause:pause", "Stop consuming, with the processes kept."),
    "resume": ("multi.cli.pause:resume", "Take up consuming again."),
    "scale": ("multi.cli.scale:scale", "Change how many nodes there are of a kind."),
    "top": ("multi.cli.top:top", "A live view of nodes, with keys to steer them."),
    "ps": ("multi.cli.ps:ps", "The processes of nodes, as a tree."),
    "describe": ("multi.cli.describe:describe", "Everything that is known about a node."),
    "why": ("multi.cli.why:why", "What has happened to a node, and who asked for it."),
    "stack": ("multi.cli.stack:stack", "Where every process and thread of a node is."),
    "render": ("multi.cli.render:render", "Write nodes down for systemd, supervisord and others."),
    "deploy": ("multi.cli.deploy:deploy", "Bring releases to the hosts of multi.toml, over SSH."),
    "fleet": ("multi.cli.fleet:fleet", "Steer the nodes on all hosts of multi.toml, without releases."),
    "doctor": ("multi.cli.doctor:doctor_", "What will bite later, of brokers, hosts and nodes."),
    "dlq": ("multi.cli.dlq:dlq", "Dead letters: look at them, send them again, drop them."),
    "queues": ("multi.cli.queues:queues", "What lies in the queues; the way back to Celery's workers."),
    "inspect": ("multi.cli.inspect:inspect", "Ask workers on any host: what they run, hold, know and consume from."),
    "graph": ("multi.cli.graph:graph", "Draw the workers that answer, and what they are connected to."),
    "control": ("multi.cli.control:control", "Steer workers on any host: limits, queues, pools, revoking, shutdown."),
    "call": ("multi.cli.call:call", "Send a task, and wait for its end if wanted."),
    "result": ("multi.cli.result:result", "What has become of a task."),
    "revoke": ("multi.cli.revoke:revoke", "Have tasks not run any more."),
    "tasks": ("multi.cli.tasks:tasks", "Which tasks there are, and how they are called."),
    "shell": ("multi.cli.shell:shell", "Python with the app and its tasks at hand."),
    "peek": ("multi.cli.peek:peek", "Show what lies in a queue; nothing is taken."),
    "move": ("multi.cli.move:move", "Bring what waits in a queue to another one."),
    "purge": ("multi.cli.purge:purge", "Drop what waits in queues."),
    "migrate": ("multi.cli.migrate:migrate", "Bring what waits in one broker to another one."),
    "list": ("multi.cli.listing:list_", "How queues are bound to exchanges."),
    "events": ("multi.cli.events.command:events", "What workers tell of themselves and their tasks, live."),
    "schedule": ("multi.cli.schedule:schedule", "The periodic tasks: when they run, pausing, adding, changing them."),
    "metrics": ("multi.cli.metrics:metrics", "Metrics of tasks, for Prometheus."),
    "help": ("multi.cli.help:help_", "Help about a command."),
    "worker": ("multi.cli.worker:worker", "Run a worker in the foreground."),
    "beat": ("multi.cli.beat:beat", "Run a scheduler in the foreground: it sends periodic tasks when they are due."),
}

#: The same, as `multi --help` shows them.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Run nodes": ("start", "stop", "stopwait", "restart", "reload", "kill", "pause", "resume", "scale"),
    "Look at nodes": ("status", "top", "logs", "ps", "stack", "describe", "why", "ls", "probe"),
    "Describe nodes in multi.toml": ("up", "down", "check", "init", "schema"),
    "Have systemd or supervisord run nodes": ("install", "enable", "disable", "render"),
    "Deploy to hosts": (
        "deploy",
        "fleet",
        "doctor",
    ),
    "Ask and steer workers on any host": ("inspect", "control", "events", "graph"),
    "Tasks": ("call", "result", "revoke", "tasks", "schedule", "shell"),
    "Look into the broker": ("queues", "peek", "move", "purge", "dlq", "list", "migrate"),
    "As celery multi": ("show", "names", "expand", "get", "help"),
    "More": ("lint", "adopt", "forget", "worker", "beat", "metrics", "upgrade", "report"),
}

#: Commands that Celery has, and what there is in their place.
ELSEWHERE: dict[str, str] = {
    "amqp": "queues are looked into and changed by multi peek, move, purge, queues and list bindings; a server's exchanges and "
    "queues by its own tools (rabbitmqctl, rabbitmqadmin, redis-cli)",
    "logtool": "multi logs reads the logs of nodes, with --level, --since and --grep; worker_log_format says how they look",
    "multi": "what celery multi does is done without that word, as in: multi start w1 -A proj",
    "flower": "Flower is a program of its own: celery --broker=URL flower",
}

#: What looks at nodes that are kept, or stops them: it goes on without a multi.toml that can't be read.
_WITHOUT_DESCRIPTION = frozenset(
    {
        *("status", "probe", "logs", "why", "ps", "ls", "describe", "top", "stack"),
        *("stop", "stopwait", "kill", "restart", "reload", "pause", "resume", "forget"),
    }
)

#: Sections whose commands have nodes do something, which goes on without them.
_STEERING = (
    "Run nodes",
    "Describe nodes in multi.toml",
    "Have systemd or supervisord run nodes",
    "Deploy to hosts",
)
_LEFT = {name for section in _STEERING for name in SECTIONS[section]} | {"adopt"}


class _Commands(LazyGroup):
    """Says of a command that is interrupted what goes on without it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            goes_on = "; nodes go on with what they were told, see `multi status`"
            complain("interrupted" + goes_on * (ctx.invoked_subcommand in _LEFT))
            ctx.exit(INTERRUPTED)


EXAMPLES = """\b
Examples:
  multi start w1 w2 -A proj -l INFO      start two nodes of the app in proj
  multi start 3 -A proj -c 4 -Q a,b      start celery1, celery2 and celery3
  multi restart w1 -c 8                  the same node again, with another setting
  multi status                           what they are doing
  multi stopwait w1 w2                   returns when they are gone
  multi worker -A proj -l INFO           a worker in the foreground

Exit codes: 0 what was asked holds, 1 failed, 2 wrong usage or configuration, 4 unknown node or not yours,
5 done, but by force. `multi status`: 0 running, 1 crashed or given up, 3 stopped, 4 unknown. What asks workers
wherever they are (inspect, control, status --all-workers): 69 none answers, 1 some don't.

\b
Completion in the shell (for zsh and fish put their names in place of bash):
  eval "$(_MULTI_COMPLETE=bash_source multi)"
"""


def _before(command: click.Group) -> click.Group:
    """Options that may stand before the subcommand as well as after it."""
    for option in (*OPTIONS, *SCREEN):
        if option.everywhere:
            command.params.append(
                click.Option(
                    list(option.spellings),
                    is_flag=True if option.metavar is None else None,
                    metavar=option.metavar,
                    help=option.meaning,
                )
            )
    return command


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from multi import __version__

        click.echo(f"multi v{__version__}")
        ctx.exit()


@click.group(
    cls=_Commands,
    table=COMMANDS,
    sections=SECTIONS,
    elsewhere=ELSEWHERE,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--state-dir", metavar="DIR", help="Where nodes are kept, run and log (also MULTI_STATE_DIR).")
@click.option(
    "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say the version."
)
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Start, watch, restart and stop the workers of a task queue."""
    from multi.controller import project

    project.tolerate(complain if ctx.invoked_subcommand in _WITHOUT_DESCRIPTION else None)
    ctx.obj = {name: value for name, value in given.items() if value not in (None, False)}


_before(cli)


def exit_code(error: BaseException) -> int:
    """The exit code for an error of ours."""
    from multi.controller.managers.base import ManagerSilent
    from multi.controller.places import NotYours

    if isinstance(error, AppImportFailed) and error.may_pass:
        return FAILED
    if isinstance(error, ConfigurationError):
        return USAGE
    if isinstance(error, NodeNotFound | NotYours | ManagerSilent):
        return UNKNOWN
    return FAILED


def run(arguments: list[str]) -> int:
    """Run these arguments; the exit status."""
    if "_MULTI_COMPLETE" in os.environ:
        from multi.cli import completion

        completion.install()
    try:
        result = cli.main(arguments, prog_name="multi", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        complain("interrupted")
        return INTERRUPTED
    except MultiError as error:
        complain(str(error))
        return exit_code(error)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has enough; the interpreter must not complain about it
        return DONE
    return result if isinstance(result, int) else DONE
