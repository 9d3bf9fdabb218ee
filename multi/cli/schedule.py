"""`multi schedule`: the periodic tasks of a project, as its schedulers keep them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, TypeVar

import click

from multi.cli.call import ARRAY, OBJECT
from multi.cli.group import DONE
from multi.cli.known_tasks import import_tasks
from multi.cli.places import KEPT_NAMES, Place, hold_for_subcommands, open_place, place_options, screen_of
from multi.cli.remembered import complete_entries, complete_queues, complete_tasks, remember_entries
from multi.cli.screen import Screen, ago, complain
from multi.errors import ConfigurationError
from multi.nodes.policy import parse_span

if TYPE_CHECKING:
    from multi.app.timetable.api import Shown, Timetable
    from multi.app.timetable.shelves import Shelf

F = TypeVar("F", bound=Callable[..., Any])
#: Names a schedule where there is no project at hand.
_NAMING = "MULTI_BEAT_SCHEDULE_NAME"
NAME = click.argument("name", shell_complete=complete_entries)
NAMES = click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_entries)
JSON = click.option("--json", "as_json", is_flag=True, help="The same as JSON.")


@click.group()
@place_options
@click.pass_context
def schedule(ctx: click.Context, /, **given: Any) -> None:
    """The periodic tasks of a project: when they run next, pausing, adding and changing them while schedulers run.

    \b
    multi schedule list
    multi schedule next -n 5
    multi schedule pause report
    multi schedule set report --task proj.tasks.report --cron '0 7 * * mon-fri'

    Exit codes: 0 done, 1 the broker can't be reached, 2 wrong usage or configuration, or no such entry.
    """
    hold_for_subcommands(ctx, given)


@schedule.command(name="list")
@place_options
@JSON
@click.pass_context
def list_(ctx: click.Context, /, *, as_json: bool, **given: Any) -> None:
    """All entries: their tasks, when they ran and will run, and how often they were sent. With -b alone: whose schedules are
    kept there.

    \b
    multi schedule list
    multi schedule list -A proj --json
    multi schedule list -b redis://localhost
    """
    place, table = _open(ctx, given, any_schedule=True)
    if not _is_said(place):
        _list_schedules(ctx, table.place, as_json)
        _end(ctx, place)
    found = table.list()
    remember_entries(ctx.meta[KEPT_NAMES], [each.name for each in found])
    if as_json:
        click.echo(json.dumps([_row(each) for each in found]))
    elif found:
        zone = place.app.timezone
        rows = [
            [
                each.name,
                each.task,
                each.schedule,
                _state(each),
                _at(each.last, zone),
                _at(each.next, zone),
                str(each.count),
            ]
            for each in found
        ]
        screen = screen_of(ctx)
        screen.table(("ENTRY", "TASK", "SCHEDULE", "STATE", "LAST", f"NEXT ({zone})", "SENT"), rows, right=(6,))
        screen.line(f"kept in {table.place.where}")
    else:
        screen_of(ctx).line("there are no entries; have some in beat_schedule, or see multi schedule set --help")
    _end(ctx, place)


@schedule.command()
@place_options
@JSON
@NAME
@click.pass_context
def show(ctx: click.Context, /, name: str, *, as_json: bool, **given: Any) -> None:
    """Everything about one entry.

    \b
    multi schedule show report
    """
    place, table = _open(ctx, given)
    found = table.get(name)
    if as_json:
        click.echo(json.dumps(_row(found)))
    else:
        _show(screen_of(ctx), found, place.app.timezone)
    _end(ctx, place)


@schedule.command(name="next")
@place_options
@click.option("-n", "--count", type=click.IntRange(min=1), default=10, show_default=True, help="How many runs.")
@JSON
@click.argument("name", required=False, shell_complete=complete_entries)
@click.pass_context
def next_(ctx: click.Context, /, name: str | None, *, count: int, as_json: bool, **given: Any) -> None:
    """The next runs of all entries together, or of one.

    \b
    multi schedule next
    multi schedule next report -n 3
    """
    place, table = _open(ctx, given)
    runs = table.next(name, count)
    if as_json:
        click.echo(json.dumps([{"entry": entry, "at": due.isoformat()} for due, entry in runs]))
    elif runs:
        zone = place.app.timezone
        now = datetime.now(zone)
        rows = [
            [
                f"{due.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}",
                f"{due:%Y-%m-%d %H:%M:%S}",
                f"in {ago(max(0.0, (due - now).total_seconds()))}",
                entry,
            ]
            for due, entry in runs
        ]
        screen_of(ctx).table((f"TIME ({zone})", "UTC", "", "ENTRY"), rows)
    else:
        if name is None:
            text = "nothing is due any more"
        elif table.get(name).paused:
            text = f"{name} is paused"
        else:
            text = f"{name} is never due again, or its schedule tells no run beforehand"
        screen_of(ctx).line(text)
    _end(ctx, place)


@schedule.command()
@place_options
@JSON
@NAME
@click.pass_context
def run(ctx: click.Context, /, name: str, *, as_json: bool, **given: Any) -> None:
    """Send an entry's task now, beside its schedule; prints its id.

    \b
    multi schedule run report
    """
    place, table = _open(ctx, given)
    try:
        sent = table.run(name)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the entry {name!r} can't be sent: {error}") from None
    if as_json:
        click.echo(json.dumps({"entry": name, "id": sent.id}))
    else:
        screen_of(ctx).show(sent.id)
    _end(ctx, place)


@schedule.command()
@place_options
@NAMES
@click.pass_context
def pause(ctx: click.Context, /, names: tuple[str, ...], **given: Any) -> None:
    """Have entries not sent until they are resumed, whichever schedulers are started meanwhile.

    \b
    multi schedule pause report cleanup
    """
    _each(ctx, given, names, "paused", lambda table, name: table.pause(name))


@schedule.command()
@place_options
@NAMES
@click.pass_context
def resume(ctx: click.Context, /, names: tuple[str, ...], **given: Any) -> None:
    """Have entries sent again, from now on: what would have been due meanwhile isn't made up for.

    \b
    multi schedule resume report
    """
    _each(ctx, given, names, "resumed", lambda table, name: table.resume(name))


@schedule.command()
@place_options
@NAMES
@click.pass_context
def remove(ctx: click.Context, /, names: tuple[str, ...], **given: Any) -> None:
    """Take entries away.

    \b
    multi schedule remove report
    """

    def one(table: Timetable, name: str) -> None:
        of_code = table.get(name).origin != "added"
        table.remove(name)
        if of_code:
            complain(
                f"{name} is in the project's code and comes back when a scheduler is started; pause it to keep it away"
            )

    _each(ctx, given, names, "removed", one)


@schedule.command(name="set")
@place_options
@click.option("-t", "--task", metavar="NAME", help="The task that is sent.", shell_complete=complete_tasks)
@click.option("--every", metavar="SPAN", help="At this interval, as in 30s, 10m or 2h.")
@click.option("--cron", metavar="LINE", help="At times of the clock, as in '*/15 8-17 * * mon-fri'.")
@click.option("--solar", metavar="EVENT,LAT,LON", help="At an event of the sun, as in sunset,47.37,8.54.")
@click.option("--tz", metavar="ZONE", help="The time zone of --cron; else the app's.")
@click.option("-a", "--args", type=ARRAY, metavar="ARRAY", help="Positional arguments, as JSON.")
@click.option("-k", "--kwargs", type=OBJECT, metavar="OBJECT", help="Keyword arguments, as JSON.")
@click.option("--options", type=OBJECT, metavar="OBJECT", help="Options of apply_async, as JSON.")
@click.option("--queue", metavar="NAME", help="The queue, among the options.", shell_complete=complete_queues)
@click.option("--missed", type=click.Choice(("once", "skip", "all")), help="What is done about runs that were missed.")
@JSON
@NAME
@click.pass_context
def set_(
    ctx: click.Context,
    /,
    name: str,
    *,
    task: str | None,
    every: str | None,
    cron: str | None,
    solar: str | None,
    tz: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Add an entry, or change one: what isn't given stays as it is. Running schedulers go by it within a second.

    \b
    multi schedule set report --task proj.tasks.report --cron '0 7 * * mon-fri' --tz Europe/Zurich
    multi schedule set ping --task proj.tasks.ping --every 30s -a '["db"]'
    multi schedule set ping --every 1m
    """
    entry = {key: value for key in ("args", "kwargs", "options", "missed") if (value := given.pop(key)) is not None}
    queue = given.pop("queue")
    if sum(each is not None for each in (every, cron, solar)) > 1:
        raise ConfigurationError("--every, --cron and --solar each say when; give one of them")
    place, table = _open(ctx, given)
    if queue is not None:
        entry["options"] = {**entry.get("options", {}), "queue": queue}
    found = table.set(name, task, _when(every, cron, solar), tz=tz, **entry)
    if found.task not in place.app.tasks:
        complain(
            f"{found.task} is no task of this app; it is sent all the same, should a worker of another app have it"
        )
    if found.origin == "code":
        complain(f"{name} is in the project's code, and goes back to what that says when a scheduler is started")
    if as_json:
        click.echo(json.dumps(_row(found)))
    else:
        _show(screen_of(ctx), found, place.app.timezone)
    _end(ctx, place)


def _when(every: str | None, cron: str | None, solar: str | None) -> Any:
    if every is not None:
        try:
            return parse_span(every)
        except ConfigurationError as error:
            raise ConfigurationError(f"--every: {error}") from None
    if solar is None:
        return cron
    from multi.app.schedules import solar as sun

    event, *place = [part.strip() for part in solar.split(",")]
    try:
        latitude, longitude = (float(part) for part in place)
    except ValueError:
        raise ConfigurationError(
            f"--solar {solar!r}: write an event, latitude and longitude, as in sunset,47.37,8.54"
        ) from None
    return sun(event, latitude, longitude)


def _open(ctx: click.Context, given: dict[str, Any], *, any_schedule: bool = False) -> tuple[Place, Timetable]:
    place = open_place(ctx, given, whose="schedule")
    if place.is_projects:
        import_tasks(ctx, place)
    elif not _is_said(place):
        shelf = place.app.schedule.place
        if shelf.local:
            raise ConfigurationError(
                f"whose schedule? None is kept in {place.broker.masked} itself: name the app with -A, or where its results are "
                "with --result-backend"
            )
        if not any_schedule:
            from multi.app.timetable.shelves import schedules

            known = schedules(shelf)
            raise ConfigurationError(
                f"whose schedule? Name the app with -A, or one of those that {shelf.where} keeps with the variable {_NAMING}: "
                + (", ".join(known) if known else "there are none")
            )
    return place, place.app.schedule


def _is_said(place: Place) -> bool:
    """Whether it is known whose schedule is meant: without a project only the name tells."""
    return place.is_projects or bool(place.app.conf.beat_schedule_name)


def _list_schedules(ctx: click.Context, shelf: Shelf, as_json: bool) -> None:
    from multi.app.timetable.shelves import schedules

    known = schedules(shelf)
    if as_json:
        click.echo(json.dumps([{"schedule": name, "entries": count} for name, count in known.items()]))
        return
    screen = screen_of(ctx)
    if not known:
        screen.line(f"no schedule is kept in {shelf.where}")
        return
    screen.table(("SCHEDULE", "ENTRIES"), [[name, str(count)] for name, count in known.items()], right=(1,))
    screen.line(
        f"one of them: {_NAMING}={shlex.quote(next(iter(known)))} multi schedule list -b …; or name its app with -A"
    )


def _each(
    ctx: click.Context, given: dict[str, Any], names: tuple[str, ...], done: str, act: Callable[[Timetable, str], None]
) -> None:
    place, table = _open(ctx, given)
    for name in dict.fromkeys(names):
        table.get(name)  # that one isn't there shows before anything is done
    for name in dict.fromkeys(names):
        act(table, name)
        screen_of(ctx).item(name, done, good=True)
    _end(ctx, place)


def _end(ctx: click.Context, place: Place) -> None:
    place.app.close()
    ctx.exit(DONE)


def _state(found: Shown) -> str:
    if found.paused:
        return "paused"
    if found.trouble:
        return "failing"
    return {"new": "not begun"}.get(found.origin, "added" if found.origin == "added" else "on")


def _at(when: datetime | None, zone: tzinfo) -> str:
    return "-" if when is None else f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _row(found: Shown) -> dict[str, Any]:
    row = {name: getattr(found, name) for name in found.__struct_fields__}
    row["last"] = None if found.last is None else found.last.isoformat()
    row["next"] = None if found.next is None else found.next.isoformat()
    for name in ("args", "kwargs", "options"):
        row[name] = json.loads(json.dumps(row[name], default=str))
    return row


def _show(screen: Screen, found: Shown, zone: tzinfo) -> None:
    lines = {
        "entry": found.name,
        "task": found.task,
        "schedule": found.schedule,
        "args": json.dumps(list(found.args), default=str),
        "kwargs": json.dumps(dict(found.kwargs), default=str),
        "options": json.dumps(dict(found.options), default=str),
        "missed": found.missed,
        "from": {"code": "the project's code", "new": "the project's code; no scheduler has begun it yet"}.get(
            found.origin, "added at run time"
        ),
        "state": _state(found),
        "sent": f"{found.count} times" if found.count != 1 else "once",
        "last": _both(found.last, zone) + (f"  (task {found.last_id})" if found.last_id else ""),
        "next": _both(found.next, zone),
    }
    if found.trouble:
        lines["trouble"] = found.trouble
    for name, value in lines.items():
        screen.show(f"{name + ':':10}{value}")


def _both(when: datetime | None, zone: tzinfo) -> str:
    if when is None:
        return "-"
    there = when.astimezone(zone)
    in_utc = "" if there.utcoffset() == timedelta() else f" ({when.astimezone(UTC):%H:%M:%S} UTC)"
    return f"{there:%Y-%m-%d %H:%M:%S %Z}{in_utc}"
