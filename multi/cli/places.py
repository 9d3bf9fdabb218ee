"""Whose queues and tasks a command means: those of the app that -A names, of multi.toml's nodes, or of the broker that -b names.

The app is imported here, other than by the commands for nodes: where its queues are, only it knows.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from multi.cli.arguments import complete_modules
from multi.cli.remembered import complete_queues, place_of
from multi.cli.screen import Screen
from multi.errors import AppImportFailed, AppIsCelerys, AppNotFound, ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.brokers.base import Broker
    from multi.nodes.spec import NodeSpec

#: In the environment of a command that went on as another interpreter: it is not to look for one again.
_BECAME = "MULTI_BECAME"

F = TypeVar("F", bound=Callable[..., Any])


class Place(NamedTuple):
    """An app, the broker that its workers consume from, and the queues that are known; `is_projects` unless the app was made
    here for a broker that -b names."""

    app: App
    broker: Broker
    queues: list[str]
    is_projects: bool = True


def place_options(command: F) -> F:
    """The options that say whose queues are meant; they may stand before the command, too."""
    options = (
        click.option(
            *("-A", "--app"),
            metavar="APP",
            help="The app, as for `multi worker`; else that of multi.toml.",
            shell_complete=complete_modules,
        ),
        click.option("-b", "--broker", metavar="URL", help="The broker, in place of the configured one; needs no app."),
        click.option("--result-backend", metavar="URL", help="The result backend, in place of the configured one."),
        click.option("--loader", metavar="CLASS", help="Accepted for Celery's sake.", hidden=True),
        click.option("--config", metavar="MODULE", help="The module that holds the configuration."),
        click.option("--workdir", metavar="DIR", help="The directory to work in."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def app_options(command: F) -> F:
    """Those of `place_options` that are about the app alone."""
    options = (
        click.option("-A", "--app", metavar="APP", help="The app, for its queues.", shell_complete=complete_modules),
        click.option("--config", metavar="MODULE", help="The module that holds the configuration."),
        click.option("--workdir", metavar="DIR", help="The directory to work in."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def queue_option(meaning: str) -> Callable[[F], F]:
    return click.option("-Q", "--queues", metavar="A,B", help=meaning, shell_complete=complete_queues)


#: Both words of it: Celery's commands have --force, others --yes.
YES = click.option(*("-y", "--yes", "-f", "--force"), "yes", is_flag=True, help="Don't ask.")

#: In a command's context: where the names of its app are kept for completion.
KEPT_NAMES = "multi.names"
#: What says where an app's broker and results are, before or behind the command.
_PLACING = ("app", "broker", "result_backend", "config", "workdir")


def open_place(ctx: click.Context, given: dict[str, Any], *, whose: str = "queues") -> Place:
    """Import the app and find its broker; `whose` is what is wanted of it, in the error. Raises `ConfigurationError`."""
    app, queues, is_projects = meant_app(ctx, given, whose=whose)
    known = [queue.name for queue in app.topology.queues.values() if not queue.per_node]
    broker = app.worker_broker
    if not broker.abilities.shared:
        raise ConfigurationError(f"{broker.masked} lives in a single process: no command can look into it")
    return Place(app, broker, list(dict.fromkeys((*known, *queues))), is_projects)


def meant_app(ctx: click.Context, given: dict[str, Any], *, whose: str) -> tuple[App, list[str], bool]:
    """The app with the settings that are given, the queues that multi.toml's nodes consume from, and whether the app is a
    project's. Raises `ConfigurationError`."""
    said = before(ctx)
    wanted = {name: given.get(name) or said.get(name) for name in _PLACING}
    queues: list[str] = []
    ctx.meta[KEPT_NAMES] = place_of(wanted["app"], wanted["workdir"])  # before the folder is left
    if wanted["workdir"]:
        _go_to(str(wanted["workdir"]), "--workdir")
    if not wanted["app"] and not wanted["broker"]:
        queues = _as_described(wanted)
    if wanted["broker"]:
        os.environ.pop("MULTI_BROKER_URL", None)
        os.environ["CELERY_BROKER_URL"] = str(wanted["broker"])
    if wanted["result_backend"]:
        os.environ.pop("MULTI_RESULT_BACKEND", None)
        os.environ["CELERY_RESULT_BACKEND"] = str(wanted["result_backend"])
    if wanted["config"]:
        os.environ["CELERY_CONFIG_MODULE"] = str(wanted["config"])
    return _app(wanted, whose), queues, bool(wanted["app"]) or not wanted["broker"]


def the_app(ctx: click.Context, given: dict[str, Any]) -> App:
    """The app that -A names, before or behind the command; one without a project where none is named."""
    said = before(ctx)
    wanted = {name: given.get(name) or said.get(name) for name in _PLACING}
    if wanted["workdir"]:
        _go_to(str(wanted["workdir"]), "--workdir")
    if wanted["config"]:
        os.environ["CELERY_CONFIG_MODULE"] = str(wanted["config"])
    if wanted["app"]:
        from multi.app.find import find

        try:
            app = find(str(wanted["app"]))
        except AppIsCelerys as error:
            if error.app is not None:
                from multi.cli.celerys import stand_in

                return stand_in(error.app)
        else:
            app.conf.check()
            return app
    return without_project()


def without_project() -> App:
    """An app for brokers that are named to a command. Relative files of SQLite are those of the folder that it works in."""
    from multi.app.app import App

    app = App("multi", set_as_current=False)
    app._defined_in = os.path.join(os.getcwd(), "")
    return app


def screen_of(ctx: click.Context) -> Screen:
    """Standard output, as the options before the command want it."""
    said = before(ctx)
    return Screen(quiet=bool(said.get("quiet")), color=not said.get("no_color"))


def hold_for_subcommands(ctx: click.Context, given: dict[str, Any]) -> None:
    """Let a group's options count as if they stood before it."""
    before(ctx).update({name: value for name, value in given.items() if value})


def before(ctx: click.Context) -> dict[str, Any]:
    found = ctx.find_root().obj
    return found if isinstance(found, dict) else {}


def split(queues: str | None) -> list[str] | None:
    """The names of -Q, None if it was not given. Raises `ConfigurationError` when it names nothing."""
    if queues is None:
        return None
    found = list(dict.fromkeys(name.strip() for name in queues.split(",") if name.strip()))
    if not found:
        raise ConfigurationError("-Q names no queue; write -Q a,b, or leave it out for all that are known")
    return found


def refuse_empty(value: str | None, what: str) -> None:
    """Raises `ConfigurationError` for '', as a shell makes it of a variable that isn't set; None is fine."""
    if value is not None and not value.strip():
        raise ConfigurationError(f"{value!r} is {what}: is a variable empty?")


def confirmed(question: str, yes: bool) -> bool:
    """Whether the user means it. Raises `ConfigurationError` where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question}: nobody can be asked here; give --yes, or see first with --dry-run")
    return click.confirm(f"{question}?", err=True)


def _app(wanted: dict[str, Any], whose: str) -> App:
    from multi.app.find import find

    if not wanted["app"] and wanted["broker"]:
        # the way back must not need an app of ours, which may be Celery's again by now
        return without_project()
    try:
        app = find(wanted["app"])
    except AppIsCelerys as error:
        if whose in ("workers", "queues", "results") and error.app is not None:
            from multi.cli.celerys import stand_in

            return stand_in(error.app)
        raise ConfigurationError(
            f"-A {wanted['app']} is Celery's own app; "
            + (
                "celery shell opens it"
                if whose == "app"
                else f"multi looks into its queues, workers and results, and leaves the {whose} to the command celery"
            )
        ) from None
    except AppImportFailed:
        raise
    except AppNotFound as error:
        if wanted["app"]:
            raise
        raise ConfigurationError(
            f"whose {whose}? Say it with -A APP, or with -b URL for a broker without an app; or be in a folder whose multi.toml "
            "describes a worker"
        ) from error
    app.conf.check()
    return app


def _as_described(wanted: dict[str, Any]) -> list[str]:
    """Take app, variables and folder of the first worker of multi.toml; returns the queues that its workers consume from."""
    from multi.controller import project
    from multi.nodes.spec import logical_cwd

    cwd = logical_cwd()
    if project.find_file(cwd) is None or not project.read_settings(cwd)[0].get("nodes"):
        return []
    nodes = [node.spec for node in project.description(cwd).check().nodes]
    ours = [node for node in nodes if node.kind == "worker" and node.engine == "multi" and node.options.get("app")]
    if not ours:
        return []
    first = ours[0]
    _as_its_interpreter(first)
    _take_variables(first)
    _go_to(str(first.options.get("workdir") or first.cwd), f"the folder of the node {first.name.short}")
    wanted["app"] = first.options["app"]
    wanted["broker"] = wanted["broker"] or first.options.get("broker")
    wanted["result_backend"] = wanted["result_backend"] or first.options.get("result_backend")
    wanted["config"] = wanted["config"] or first.options.get("config")
    return _queues([node for node in ours if node.options["app"] == wanted["app"]])


def _queues(nodes: Sequence[NodeSpec]) -> list[str]:
    names = (name.strip() for node in nodes for name in str(node.options.get("queues") or "").split(","))
    return [name for name in names if name]


def _as_its_interpreter(node: NodeSpec) -> None:
    """Go on as the interpreter that runs the node, which alone may have what its app imports."""
    if os.environ.pop(_BECAME, None) is not None:
        return  # by way of a script, after which it has another path than was asked for
    executable = shutil.which(node.executable) or node.executable
    if os.path.dirname(os.path.abspath(executable)) == os.path.dirname(os.path.abspath(sys.executable)):
        return
    os.environ[_BECAME] = "1"
    try:
        os.execv(executable, [executable, "-m", "multi", *sys.argv[1:]])
    except OSError as error:
        del os.environ[_BECAME]
        raise ConfigurationError(
            f"the interpreter {executable} of the node {node.name.short} can't be run: {error.strerror}; name the app with -A"
        ) from None


def _take_variables(node: NodeSpec) -> None:
    from multi.controller.keeper import envfile

    try:
        for path in node.env_files:
            os.environ.update(envfile.read(path))
    except envfile.EnvFileError as error:
        raise ConfigurationError(f"{node.name.short}: {error}") from None
    os.environ.update(node.environment)


def _go_to(folder: str, what: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfigurationError(f"{what}: {folder}: {error.strerror}") from None
    os.environ["PWD"] = os.path.abspath(folder)
