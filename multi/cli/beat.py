"""`multi beat`: from a command line to a running scheduler."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from typing import Any

import click

from multi import log
from multi.beat import migration
from multi.cli import worker as workers
from multi.cli.screen import complain
from multi.errors import AppIsCelerys, BackendUnavailable, ConfigurationError, MultiError
from multi.nodes.options import Option, by_spelling
from multi.worker import privileges
from multi.worker.names import expand, node_name

GROUPS = {
    "App": ("-A", "-b", "--result-backend", "--config", "--skip-checks"),
    "Schedule": ("-s", "-S", "--max-interval"),
    "Scheduler": ("-n", "-l", "-f", "-C", "-q"),
    "Process": ("--pidfile", "--workdir", "--uid", "--gid", "--umask", "-D", "--executable"),
    "Accepted for Celery's sake": ("--loader", "--enable-remote-control", "--no-enable-remote-control"),
}
NEEDLESS = {
    "loader": "apps have no loaders here; the configuration is what the app says",
    "enable_remote_control": "a scheduler needs no remote control: `multi schedule` changes what it does",
}
HELP = {
    "schedule_filename": "The file of Celery's beat, read for the last runs of entries that are new here.",
    "scheduler": "Accepted where it names Celery's own scheduler, or multi.",
    "max_interval": "Look at the clock at least so often.",
    "hostname": "The node's name, for %n and %h in file names.",
    "enable_remote_control": "Accepted for Celery's sake.",
    "no_enable_remote_control": "Accepted for Celery's sake.",
    "detach": "Run in the background.",
    "executable": "The interpreter to run with.",
}
#: What -S and beat_scheduler may name: the schedule is kept in the broker whichever it is.
KNOWN = ("multi", "celery.beat:PersistentScheduler", "celery.beat.PersistentScheduler", "celery.beat:Scheduler",
         "celery.beat.Scheduler")  # fmt: skip


#: In the environment of a scheduler that has begun anew: it is in the background already, if it is to be there.
AGAIN = "MULTI_BEAT_AGAIN"


class BeatCommand(click.Command):
    """Shows the options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = self.get_params(ctx)
        known = {spelling: param for param in params for spelling in param.opts}
        shown = set()
        for title, members in GROUPS.items():
            found = [known[member] for member in members]
            shown |= {id(param) for param in found}
            with formatter.section(title):
                formatter.write_dl([record for param in found if (record := param.get_help_record(ctx))])
        with formatter.section("Help"):
            rest = [param for param in params if id(param) not in shown]
            formatter.write_dl([record for param in rest if (record := param.get_help_record(ctx))])


def _option(spelling: str) -> Option:
    found = by_spelling(spelling, "beat")
    assert found is not None, spelling
    return found


def parameter(spelling: str) -> click.Option:
    option = _option(spelling)
    variables = [f"{prefix}_BEAT_{option.name.upper()}" for prefix in ("MULTI", "CELERY")]
    if option.name == "scheduler":
        spellings: tuple[str, ...] = (option.name, "-S", *option.spellings)
    else:
        spellings = (option.name, *option.spellings, *option.also)
    meaning = HELP.get(option.name, option.meaning)
    if option.metavar is None:
        return click.Option(spellings, is_flag=True, default=None, envvar=variables, help=meaning)
    kinds: dict[str, Any] = {"loglevel": workers.level, "max_interval": click.FloatRange(min=0)}
    default = {"loglevel": "WARNING", "hostname": "celerybeat@<host>"}.get(option.name)
    return click.Option(
        spellings, type=kinds.get(option.name, str), default=None, show_default=default, envvar=variables,
        metavar=option.metavar, help=meaning,
    )  # fmt: skip


@click.pass_context
def run(ctx: click.Context, /, **values: Any) -> None:
    """Send periodic tasks when they are due, as `celery beat` does.

    Any number of schedulers of a project may run: each due run is sent once, and when one of them dies the others go on. The
    schedule is kept in the broker, or in the result backend where the broker can't.

    \b
    multi beat -A proj -l INFO
    multi beat -A proj -s /var/lib/proj/celerybeat-schedule
    multi start beat -A proj --kind beat
    """
    signal.signal(signal.SIGTERM, workers._stop)  # until the scheduler has handlers of its own
    try:
        code = start(workers._with_group(ctx, values))
    except MultiError as error:
        code = workers._report(error)
    except workers.Stopped:
        code = 0
    ctx.exit(code)


beat = BeatCommand(
    "beat",
    callback=run,
    params=[parameter(spelling) for members in GROUPS.values() for spelling in members],
    help=run.__doc__,
)


def start(values: dict[str, Any]) -> int:
    """Check, prepare and run; returns the exit code."""
    check_options(values)
    if values["executable"] and os.path.abspath(values["executable"]) != sys.executable:
        workers._replace_interpreter(values["executable"])
    name = node_name(values["hostname"] or "celerybeat")
    directory = workers._directory()
    workers._prepare_process(values)
    logfile = expand(values["logfile"], name)
    again = os.environ.pop(AGAIN, None) is not None
    if values["detach"] and not again:
        from multi.worker.detach import detach

        path = logfile = logfile or expand("%n.log", name)
        code: int | None = workers._opening(lambda: detach(path or "", click.echo), logfile)
        if code is not None:
            return code
    try:
        app = workers._load_app({**values, "include": ()})
    except AppIsCelerys:
        raise ConfigurationError(
            f"-A {values['app']} is Celery's own app, whose schedule multi's scheduler doesn't know: change its import to multi, "
            "or let Celery's beat do it (multi start beat --kind beat --engine celery)"
        ) from None
    privileges.check_root(app.conf)
    level = log.LEVELS["WARNING"] if values["loglevel"] is None else values["loglevel"]
    color = False if values["no_color"] else app.conf.worker_log_color
    set_up_log(app.conf, level, logfile, color)
    workers._import_tasks(app)
    set_up_log(app.conf, level, logfile, color)  # once more: a project may have taken the handlers away
    announce_log(app.conf, level, logfile, color)
    notes = [f"--{option.replace('_', '-')}: {why}" for option, why in NEEDLESS.items() if values[option]]
    pidfile = None
    if path := expand(values["pidfile"], name):
        from multi.worker.pidfile import PidFile

        pidfile = PidFile(path)
        pidfile.acquire()
    try:
        for note in notes:
            logging.getLogger("multi.beat").info("%s", note)
        return serve(
            app,
            max_interval=values["max_interval"] or 0.0,
            file=values["schedule_filename"],
            reload=lambda variables: _again(directory, variables),
            quiet=bool(values["quiet"]) or level <= logging.INFO,
        )
    finally:
        if pidfile is not None:
            pidfile.release()


def serve(
    app: Any,
    *,
    max_interval: float = 0.0,
    file: str | None = None,
    reload: Any = None,
    quiet: bool = True,
    embedded: bool = False,
) -> int:
    """Run the scheduler of an app that is ready; the exit code. Raises `ConfigurationError` for a schedule that is none."""
    from multi.app.schedules.entries import entries_of
    from multi.app.timetable.shelves import shelf
    from multi.backends.base import Backend
    from multi.beat.beat import Beat
    from multi.beat.service import Service

    check_scheduler(app.conf.beat_scheduler, "the setting beat_scheduler")
    if not app.broker.abilities.shared:
        raise ConfigurationError(
            f"{app.broker.masked} lives in a single process, so no worker would see what the scheduler sends: name another "
            "broker with -b or broker_url, or none for the embedded one"
        )
    entries = entries_of(app)
    app.broker.prepare()
    place = shelf(app)
    if isinstance(place.keeps, Backend):
        with contextlib.suppress(BackendUnavailable):  # tried again, and told, when it is needed
            place.keeps.prepare()
    service = Service(
        Beat(app, place, entries, max_interval=max_interval, former=former_runs(app, file)),
        reload=reload,
        embedded=embedded,
    )
    if not quiet:
        click.echo(
            f"multi beat: {app.main}, {len(entries)} in the code; kept in {place.where}; broker {app.broker.masked}"
        )
    return service.run()


def check_options(values: dict[str, Any]) -> None:
    """Refuse what makes no sense."""
    check_scheduler(values["scheduler"], "-S")


def check_scheduler(named: str | None, where: str) -> None:
    """Refuse a scheduler of another program's, whose entries nobody would send."""
    if not named or named in KNOWN:
        return
    if named in ("django", "django_celery_beat.schedulers:DatabaseScheduler") or "django" in named:
        what = "its entries are rows of Django's database, which multi's scheduler doesn't read"
    elif "redbeat" in named.lower():
        what = "its entries are in keys of Redis of its own, which multi's scheduler doesn't read"
    else:
        what = "it is made for Celery's beat, and multi has a scheduler of its own"
    raise ConfigurationError(
        f"{where}: {named!r} can't run here: {what}. Leave it out and have the entries in beat_schedule, or add them at run time "
        "(app.schedule.set, multi schedule set); or go on with Celery's beat, as a node with --kind beat --engine celery"
    )


def former_runs(app: Any, file: str | None) -> dict[str, tuple[float, int]]:
    """What the file of Celery's beat says, if there is one."""
    migration.check(file)
    path = file or app.conf.beat_schedule_filename
    if not path or not migration.is_there(path):
        if file:
            logging.getLogger("multi.beat").info(
                "There is no %s; the schedule is kept elsewhere, so nothing is written there", file
            )
        return {}
    try:
        return migration.last_runs(path)
    except ValueError as error:
        complain(f"{error}; entries that are new here begin now")
        return {}


def set_up_log(conf: Any, level: int, path: str | None, color: bool | None) -> None:
    """Have everything that is logged go where it is to go."""
    workers._opening(
        lambda: log.setup(
            level,
            path,
            color=color,
            format=log.JSON if os.environ.get("MULTI_LOG_FORMAT") == "json" else conf.worker_log_format,
            times=conf.worker_log_datefmt,
            hijack=conf.worker_hijack_root_logger,
        ),
        path,
    )


def announce_log(conf: Any, level: int, path: str | None, color: bool | None) -> None:
    """Tell the project of its log: a receiver of `setup_logging` has it to itself."""
    from multi import signals

    told = {"loglevel": level, "logfile": path, "format": conf.worker_log_format, "colorize": color}
    if signals.setup_logging.receivers:
        log.give_up()
        signals.setup_logging.send(None, **told)
    else:
        signals.after_setup_logger.send(None, logger=logging.getLogger(), **told)


def _again(directory: str, variables: dict[str, str]) -> None:
    """Begin anew, with fresh code, as the same process."""
    os.chdir(directory)
    os.environ |= {**variables, AGAIN: "1"}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
