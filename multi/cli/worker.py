"""`multi worker`: from a command line to a running worker.

Everything is checked before anything starts, in this order: the options, the process (directory, user, background), the
app, its settings, the log; then the banner is shown and the worker runs. The options themselves are those of
`multi.nodes.options`, which the controller reads as well.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from multi import log, prints, signals
from multi.cli.group import exit_code
from multi.cli.screen import complain
from multi.errors import AppImportFailed, AppIsCelerys, AppNotFound, ConfigurationError, MultiError
from multi.nodes.options import BY_NAME, OPTIONS, Option
from multi.rundir import RunDir
from multi.worker import privileges
from multi.worker.names import expand, node_name
from multi.worker.options import MOST, SUCCESSOR, Given, WorkerOptions, combine, find_pool, refuse_limit

GROUPS = {
    "App": ("app", "broker", "result_backend", "config", "include", "skip_checks"),
    "Worker": ("hostname", "loglevel", "logfile", "queues", "exclude_queues", "purge", "no_color", "quiet"),
    "Pool": (
        *(
            "concurrency",
            "autoscale",
            "pool",
            "time_limit",
            "soft_time_limit",
            "max_tasks_per_child",
            "max_memory_per_child",
        ),
        "drain_timeout",
    ),
    "Scheduler": ("beat", "schedule_filename", "scheduler"),
    "Events": ("task_events", "without_heartbeat", "heartbeat_interval"),
    "Process": ("pidfile", "workdir", "uid", "gid", "umask", "detach", "executable"),
}

# Accepted, and one line in the log says why nothing has to be done.
NEEDLESS = {
    "optimization": "this worker hands a task only to a child that is free, which is what -O fair means",
    "prefetch_multiplier": "children hold no tasks back: what doesn't start within 10 ms is for others again",
    "disable_prefetch": "children hold no tasks back: what doesn't start within 10 ms is for others again",
    "without_gossip": "workers don't gossip",
    "without_mingle": "nothing is exchanged with other workers at the start",
    "statedb": "revoked ids are kept in the broker, so there is nothing to keep in a file",
    "loader": "apps have no loaders here; the configuration is what the app says",
}


def level(text: str) -> int:
    try:
        return log.parse_level(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def names(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise click.BadParameter(f"{text!r} names nothing; write names separated by commas, or leave the option out")
    return found


def concurrency(text: str) -> int | str:
    text = text.strip().lower()
    if text != "auto" and not text.isdecimal():
        raise click.BadParameter(f"{text!r} is no number from 1 on, nor 'auto' (0 means as if it were not given)")
    return text if text == "auto" else int(text)


def limits(text: str) -> tuple[int, int]:
    """MAX,MIN in either order; a single number is the most, and one the least."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{text!r} is not MAX,MIN, two numbers as in 10,3")
    least, most = sorted(map(int, parts)) if len(parts) == 2 else (1, int(parts[0]))
    if not 1 <= most <= MOST:
        raise click.BadParameter(f"{text!r}: the larger number should be between 1 and {MOST}")
    return most, max(1, least)


COUNT = click.IntRange(min=0)
TYPES: dict[str, Any] = {
    "loglevel": level,
    "queues": names,
    "exclude_queues": names,
    "include": names,
    "concurrency": concurrency,
    "autoscale": limits,
    "optimization": click.Choice(("default", "fair")),
    "prefetch_multiplier": COUNT,
    "max_tasks_per_child": COUNT,
    "max_memory_per_child": COUNT,
    "time_limit": click.FloatRange(min=0),
    "soft_time_limit": click.FloatRange(min=0),
    "drain_timeout": click.FloatRange(min=0),
    "heartbeat_interval": click.FloatRange(min=0),
}


DEFAULTS = {
    "hostname": "celery@<host>",
    "loglevel": "WARNING",
    "queues": "what task_queues declares, else celery",
    "concurrency": "the number of processors",
    "pool": "prefork",
}


class WorkerCommand(click.Command):
    """Shows the options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)}
        groups = {
            **GROUPS,
            "Accepted for Celery's sake": tuple(NEEDLESS),
            "Help": tuple(name for name in records if name not in BY_NAME),
        }
        for title, members in groups.items():
            with formatter.section(title):
                formatter.write_dl([record for name in members if (record := records[name])])


def parameter(option: Option) -> click.Option:
    """The option of our table as one of this command; MULTI_WORKER_… and CELERY_WORKER_… in the environment set it too."""
    variables = [f"{prefix}_WORKER_{option.name.upper()}" for prefix in ("MULTI", "CELERY")]
    spellings = (option.name, *option.spellings, *option.also)
    if option.metavar is None:
        return click.Option(spellings, is_flag=True, default=None, envvar=variables, help=option.meaning)
    kind = TYPES.get(option.name, str)
    return click.Option(
        spellings,
        type=kind,
        default=None,
        show_default=DEFAULTS.get(option.name),
        envvar=variables,
        metavar=option.metavar,
        help=option.meaning,
    )


class Stopped(BaseException):
    """TERM came while the worker was still being prepared."""


def _stop(*_: object) -> None:
    raise Stopped


@click.pass_context
def run(ctx: click.Context, /, **values: Any) -> None:
    """Run one worker in the foreground, as `celery worker` does.

    \b
    multi worker -A proj -l INFO
    multi worker -A proj -n w1@%h -Q emails,images -c 4
    """
    signal.signal(signal.SIGTERM, _stop)  # until the worker has handlers of its own
    try:
        code = start(_with_group(ctx, values))
    except MultiError as error:
        code = _report(error)
    except Stopped:
        code = 0
    ctx.exit(code)


worker = WorkerCommand("worker", callback=run, params=[parameter(option) for option in OPTIONS], help=run.__doc__)


def start(values: dict[str, Any]) -> int:
    """Check, prepare and run; returns the exit code."""
    try:
        notes, refused = check_options(values), None
    except ConfigurationError as error:
        notes, refused = [], error  # unless the app is Celery's, whose worker may know it
    if values["executable"] and os.path.abspath(values["executable"]) != sys.executable:
        _replace_interpreter(values["executable"])
    name = node_name(values["hostname"])
    directory = _directory()
    successor = os.environ.pop(SUCCESSOR, None) is not None
    _prepare_process(values)
    logfile = expand(values["logfile"], name, keep="iI")
    if values["detach"] and not successor:
        from multi.worker.detach import detach

        logfile = logfile or expand("%n.log", name)
        code: int | None = _opening(lambda: detach(expand(logfile, name) or "", click.echo), logfile)
        if code is not None:
            return code
    try:
        app = _load_app(values)
    except AppIsCelerys:
        from multi.worker.celery import become

        become(values, name, logfile, expand(values["pidfile"], name))
    except AppNotFound as error:
        raise refused or error from None
    if refused is not None:
        raise refused
    given = Given(
        hostname=name,
        queues=values["queues"],
        exclude_queues=values["exclude_queues"] or (),
        concurrency=values["concurrency"],
        autoscale=values["autoscale"],
        pool=values["pool"],
        max_tasks_per_child=values["max_tasks_per_child"],
        max_memory_per_child=values["max_memory_per_child"],
        time_limit=values["time_limit"],
        soft_time_limit=values["soft_time_limit"],
        drain_timeout=values["drain_timeout"],
        task_events=values["task_events"],
        without_heartbeat=values["without_heartbeat"],
        without_gossip=values["without_gossip"],
        heartbeat_interval=values["heartbeat_interval"],
    )
    options = combine(given, app.conf, app.topology)
    combined = options.copy()
    privileges.check_root(app.conf)
    options.loglevel = log.LEVELS["WARNING"] if values["loglevel"] is None else values["loglevel"]
    options.logfile = logfile
    options.pidfile = expand(values["pidfile"], name)
    options.purge = bool(values["purge"]) and not successor
    options.directory = directory
    options.quiet = bool(values["quiet"])
    options.color = False if values["no_color"] else app.conf.worker_log_color
    options.notes += notes + app.conf.notes()
    return _run_worker(app, options, given, combined, values)


def preload(words: list[str]) -> None:
    """What the workers of a loader have in common, for the options of one of them: the project is imported, and whatever
    of ours a worker uses, so that none of it is left for them."""
    values = worker.make_context("multi worker", words).params
    check_options(values)
    _prepare_process(values)
    app = _load_app(values)
    options = combine(
        Given(hostname="", concurrency=values["concurrency"], pool=values["pool"]), app.conf, app.topology
    )
    log.setup(
        log.LEVELS["WARNING"] if values["loglevel"] is None else values["loglevel"],
        color=False,
        format=app.conf.worker_log_format,
        times=app.conf.worker_log_datefmt,
        hijack=app.conf.worker_hijack_root_logger,
    )
    _import_tasks(app)
    from multi.worker.preload import bring_in

    bring_in(app, options)


def check_options(values: dict[str, Any]) -> list[str]:
    """Refuse what makes no sense; returns a line for each option that needs nothing to be done."""
    spelling = {option.name: option.spellings[-1] for option in OPTIONS}
    if not values["beat"]:
        for name in ("schedule_filename", "scheduler"):
            if values[name] is not None:
                raise ConfigurationError(
                    f"{spelling[name]} is for the scheduler inside a worker: give -B, too, or leave it out"
                )
    if values["pool"] is not None:
        kind = find_pool(values["pool"])
        for name in ("time_limit", "soft_time_limit") if kind.loop == "threads" else ():
            if values[name]:
                refuse_limit(name, values["pool"])
    return [f"{spelling[name]}: {why}" for name, why in NEEDLESS.items() if values[name] not in (None, False)]


def _with_group(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """The options given here, and for those that were not, what stood before the subcommand."""
    before = ctx.obj if isinstance(ctx.obj, dict) else {}
    return {name: before.get(name) if value is None else value for name, value in values.items()}


def _directory() -> str:
    """The present directory, by the name under which the user came here (which may be a link to the current release)."""
    name, here = os.environ.get("PWD", ""), os.getcwd()
    try:
        return name if os.path.isabs(name) and os.path.samefile(name, here) else here
    except OSError:
        return here


def _prepare_process(values: dict[str, Any]) -> None:
    if values["workdir"]:
        try:
            os.chdir(values["workdir"])
        except OSError as error:
            raise ConfigurationError(f"--workdir {values['workdir']}: {error.strerror}") from None
    if values["umask"] is not None:
        os.umask(privileges.parse_umask(values["umask"]))
    if values["uid"] or values["gid"]:
        privileges.drop(values["uid"], values["gid"])
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    # The environment is the strongest of an app's sources, and reaches what it reads while it is imported.
    for name, variable in (("broker", "BROKER_URL"), ("result_backend", "RESULT_BACKEND")):
        if values[name]:
            os.environ.pop(f"MULTI_{variable}", None)
            os.environ[f"CELERY_{variable}"] = values[name]
    if values["config"]:
        os.environ["CELERY_CONFIG_MODULE"] = values["config"]
    if values["skip_checks"]:
        os.environ["CELERY_SKIP_CHECKS"] = "true"


def _replace_interpreter(executable: str) -> None:
    arguments: list[str] = []
    words = iter(sys.argv[1:])
    for word in words:
        if word == "--executable":
            next(words, None)
        elif not word.startswith("--executable="):
            arguments.append(word)
    for prefix in ("MULTI", "CELERY"):
        os.environ.pop(f"{prefix}_WORKER_EXECUTABLE", None)  # done with that, or it would be done again and again
    try:
        os.execv(executable, [executable, "-m", "multi", *arguments])
    except OSError as error:
        raise ConfigurationError(f"--executable {executable}: {error.strerror}") from None


def _load_app(values: dict[str, Any]) -> Any:
    from multi.app.find import find

    app = find(values["app"])
    app.set_current()  # what shared tasks and `current_app` mean in this process
    if values["include"]:
        app.conf.include = list(dict.fromkeys((*(app.conf.include or ()), *values["include"])))
    return app


def _run_worker(app: Any, options: WorkerOptions, given: Given, combined: WorkerOptions, values: dict[str, Any]) -> int:
    from multi.app.request import current_name_and_id
    from multi.worker import logs
    from multi.worker.banner import render
    from multi.worker.pidfile import PidFile

    conf = app.conf
    _opening(lambda: logs.set_up(conf, options), options.logfile)
    log.set_task_context(current_name_and_id)
    _import_tasks(app)
    # once more: what a project says of logging while it is imported has taken the handlers there were away
    _opening(lambda: logs.set_up(conf, options), options.logfile)
    logs.announce(conf, options)
    # receivers may change what the worker is about to go by
    signals.celeryd_init.send(options.hostname, instance=options, conf=conf, options=values)
    options.renew(combined, combine(given, conf, app.topology))
    signals.celeryd_after_setup.send(options.hostname, instance=options, conf=conf)
    if not app.worker_broker.abilities.shared:
        raise ConfigurationError(
            f"{log.mask_passwords(app.worker_broker.url)} lives in a single process, so nothing that other programs send would "
            "reach this worker: name another broker with -b or broker_url, or none for the embedded one"
        )
    fed = [name for name in options.queues if (queue := app.topology.find(name)) is not None and queue.fed]
    if fed and not app.worker_broker.abilities.fanout:
        raise ConfigurationError(
            f"the queue {fed[0]!r} gets what is sent to all, which {log.mask_passwords(app.worker_broker.url)} can't do: "
            "leave it out with -X, or use a broker that can (redis://, amqp://, sqlite:///)"
        )
    if app.backend is not None and not app.backend.shared:
        raise ConfigurationError(
            f"{log.mask_passwords(app.backend.url)} lives in a single process, so nobody else would see a result: name "
            "another result backend with --result-backend or result_backend, or none"
        )
    pidfile = PidFile(options.pidfile) if options.pidfile else None
    if pidfile is not None:
        pidfile.acquire()
    try:
        if not options.quiet:
            _show(render(app, options))
            if options.loglevel > logging.INFO:  # or the log tells
                _show("".join(f"{note}\n" for note in options.notes))
        if conf.worker_redirect_stdouts:
            prints.redirect_stdouts(conf.worker_redirect_stdouts_level)
        from multi.worker.worker import Worker

        running = Worker(app, options, pidfile)
        if values["beat"]:
            from multi.worker.companion import Companion

            running.companion = Companion(running, "Beat", embedded_beat(app, values))
        return running.run()
    finally:
        prints.restore_stdouts()
        if pidfile is not None:
            pidfile.release()


def embedded_beat(app: Any, values: dict[str, Any]) -> Callable[[], int]:
    """What -B runs beside the children. Raises `ConfigurationError` for a schedule that is none."""
    from multi.app.schedules.entries import entries_of
    from multi.beat import migration
    from multi.cli.beat import check_scheduler, serve

    check_scheduler(values["scheduler"], "--scheduler")
    check_scheduler(app.conf.beat_scheduler, "the setting beat_scheduler")
    migration.check(values["schedule_filename"])
    entries_of(app)
    return lambda: serve(app, file=values["schedule_filename"], embedded=True)


def _show(text: str) -> None:
    """Print what is nice to know; where nobody reads it any more, the worker works all the same."""
    try:
        click.echo(text)
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)


def _import_tasks(app: Any) -> None:
    try:
        app.import_modules()
    except MultiError:
        raise
    except (Exception, SystemExit) as error:  # whatever the project's own code raises
        from multi.app.find import project_traceback

        text = project_traceback(error)
        raise AppImportFailed(
            f"the project can't be imported: {type(error).__name__}: {error}\n{text}", text, error
        ) from error


def _opening(action: Any, path: str | None) -> Any:
    try:
        return action()
    except OSError as error:
        raise ConfigurationError(f"--logfile {path}: {error.strerror}") from None


def _report(error: MultiError) -> int:
    """Say what is wrong, to the user and, for a node, to its keeper; returns the exit code."""
    code = exit_code(error)
    text = log.mask_passwords(str(error))
    complain(text)
    directory = RunDir.from_env()
    if directory is not None:
        directory.write_exit("error", code, text)
    return code
