"""`multi events`: the command line."""

from __future__ import annotations

import os
from typing import Any

import click

from multi.cli.events.matching import HELP, Filter
from multi.cli.group import DONE
from multi.cli.places import open_place, place_options
from multi.errors import ConfigurationError
from multi.log import LEVELS

#: In the environment of a camera in the background, which may go on as another interpreter, that of its node.
_DETACHED = "MULTI_EVENTS_DETACHED"
_OF_CAMERAS = ("frequency", "maxrate", "pidfile", "logfile", "loglevel", "detach")


@click.command()
@place_options
@click.option("-d", "--dump", is_flag=True, help="A line for each event, in place of the live view.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each event.")
@click.option("--filter", "chosen", default="", metavar="WORDS", help=HELP)
@click.option("--enable", is_flag=True, help="Have all workers send events of tasks, as -E does.")
@click.option("-c", "--camera", metavar="CLASS", help="Take pictures with a camera of the project's: module.Camera.")
@click.option(
    *("-F", "--frequency", "--freq"),
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="SECONDS",
    help="Between two pictures (1.0).",
)
@click.option("-r", "--maxrate", metavar="RATE", help="At most so many pictures: 10/m.")
@click.option("--pidfile", metavar="FILE", help="The camera's pid file; it is refused while another one holds it.")
@click.option("-f", "--logfile", metavar="FILE", help="The camera's log; else standard error.")
@click.option("-l", "--loglevel", metavar="LEVEL", help="How much of it: INFO, WARNING (default), …")
@click.option("-D", "--detach", is_flag=True, help="Have the camera go to the background, once it is connected.")
@click.pass_context
def events(ctx: click.Context, /, **given: Any) -> None:
    """What workers tell of themselves and their tasks: a live view, lines, JSON, or pictures by a camera.

    The live view shows tasks and workers; ? tells its keys. Without a terminal there is a line for each event, as with --dump.
    Workers tell of tasks when they were started with -E, or after --enable.

    \b
    multi events -A proj
    multi events -A proj --enable --filter 'worker:w1 state:FAILURE,RETRY'
    multi events -A proj --dump
    multi events -b redis://localhost --json --filter 'type:task-failed' | jq .exception
    multi events -A proj -c proj.cameras.Camera --frequency 2.0 --maxrate 20/m

    Exit codes: 0 ended, 1 failed, 2 wrong usage or configuration.
    """
    ctx.exit(_run(ctx, given))


def _run(ctx: click.Context, given: dict[str, Any]) -> int:
    _check(given)
    chosen = Filter(given["chosen"])
    if given["camera"] is not None:
        return _camera(ctx, given)
    place = open_place(ctx, given, whose="events")
    from multi.cli import live

    if given["as_json"] or given["dump"] or not live.can():
        from multi.cli.events import printing

        printing.run(place.app, chosen, as_json=given["as_json"], enable=given["enable"])
        return DONE
    from multi.cli.events.view import View
    from multi.cli.places import screen_of

    View(place.app, chosen, enable=given["enable"], color=screen_of(ctx).color).run()
    return DONE


def _check(given: dict[str, Any]) -> None:
    ways = [
        spelling
        for spelling, name in (("--dump", "dump"), ("--json", "as_json"), ("--camera", "camera"))
        if given[name] or given[name] == ""
    ]
    if len(ways) > 1:
        raise ConfigurationError(f"{ways[0]} and {ways[1]} are two ways to show events; give one of them")
    if given["camera"] == "":
        raise ConfigurationError("--camera names no class; it is written module.Camera or module:Camera")
    if given["camera"] is None:
        for name in _OF_CAMERAS:
            if given[name]:
                raise ConfigurationError(f"--{name} is for a camera; name one with --camera module.Camera")
    elif given["chosen"]:
        raise ConfigurationError("--filter is not for cameras: a camera chooses itself what it takes of the state")
    if given["maxrate"]:
        from multi.app.rates import interval

        try:
            interval(given["maxrate"])
        except ValueError:
            raise ConfigurationError(
                f'--maxrate {given["maxrate"]!r} is no rate; write it as "10/s", "10/m" or "10/h"'
            ) from None
    if given["loglevel"] and given["loglevel"].upper() not in LEVELS:
        raise ConfigurationError(f"--loglevel {given['loglevel']!r} is no level; there are {', '.join(LEVELS)}")


def _camera(ctx: click.Context, given: dict[str, Any]) -> int:
    from multi import log
    from multi.worker.pidfile import PidFile

    level = LEVELS[(given["loglevel"] or "WARNING").upper()]
    logfile = os.path.abspath(given["logfile"]) if given["logfile"] else None
    remedy = "that camera runs already; stop it first, or name another file with --pidfile"
    # its path is that of before --workdir
    pidfile = PidFile(given["pidfile"], remedy) if given["pidfile"] else None
    try:
        if given["detach"]:
            from multi.worker.detach import detach

            logfile = logfile or os.path.abspath("multi-events.log")
            if os.environ.pop(_DETACHED, None) is None:
                if (code := detach(logfile, click.echo, "camera")) is not None:
                    return code
                os.environ[_DETACHED] = "1"
        log.setup(level, logfile)
    except OSError as error:
        raise ConfigurationError(f"--logfile {logfile}: {error.strerror}") from None
    place = open_place(ctx, given, whose="events")
    os.environ.pop(_DETACHED, None)
    log.setup(level, logfile)  # once more: what the project says of logging while it is imported takes handlers away
    from multi.cli.events import camera

    if pidfile is not None:
        pidfile.acquire()
    try:
        camera.run(
            place.app,
            given["camera"],
            frequency=given["frequency"] or 1.0,
            maxrate=given["maxrate"],
            enable=given["enable"],
        )
    finally:
        if pidfile is not None:
            pidfile.release()
    return DONE
