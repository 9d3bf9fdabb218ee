"""`multi call`: sends a task from the command line, and waits for its end if that is wanted."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from multi import clock
from multi.cli import known_tasks
from multi.cli.awaited import Awaited, timeout_option, wait_for
from multi.cli.group import DONE
from multi.cli.places import Place, open_place, place_options, refuse_empty, screen_of
from multi.cli.remembered import complete_queues, complete_tasks
from multi.cli.screen import complain
from multi.errors import ConfigurationError, MultiError
from multi.nodes.policy import parse_span

if TYPE_CHECKING:
    from multi.app.task import Task

_SERIALIZERS = ("json", "pickle", "yaml", "msgpack")


class Json(click.ParamType):  # type: ignore[type-arg]  # older versions of click have it without an argument
    """A JSON value of one kind."""

    name = "json"

    def __init__(self, kind: type, called: str, example: str) -> None:
        self.kind, self.called, self.example = kind, called, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        option = param.opts[0] if param is not None else "-a"
        try:
            found = json.loads(value, parse_constant=_refuse_constant)
        except ValueError as error:
            raise ConfigurationError(_where(option, value, error, self.called, self.example)) from None
        if not isinstance(found, self.kind):
            got = (
                "an array" if isinstance(found, list) else "an object" if isinstance(found, dict) else "a single value"
            )
            raise ConfigurationError(f"{option} takes {self.called} of JSON, as in {self.example}; {value} is {got}")
        return found


ARRAY = Json(list, "an array", "'[2, 2]'")
OBJECT = Json(dict, "an object", """'{"x": 2}'""")


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"JSON has no {text}")


def _where(option: str, text: str, error: ValueError, called: str, example: str) -> str:
    """What is wrong with a text of JSON, and where."""
    if not isinstance(error, json.JSONDecodeError):
        return f"{option}: {text!r} is no JSON: {error}"
    line, column = error.lineno, error.colno
    place = f"at character {column}" if "\n" not in text else f"in line {line} at character {column}"
    shown = text.split("\n")[line - 1]
    start = max(0, column - 61)
    piece = shown[start : start + 80]
    hint = f"\n    {piece}\n    {' ' * (column - 1 - start)}^"
    return f"{option} takes {called} of JSON, as in {example}; this is none {place}: {error.msg.lower()}{hint}"


class Moment(click.ParamType):  # type: ignore[type-arg]  # as above
    """A moment of ISO 8601, or with `spans` also a number of seconds or a span such as 10m."""

    name = "moment"

    def __init__(self, *, moments: bool, spans: bool) -> None:
        self._moments = moments
        self._spans = spans

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        option = param.opts[0] if param is not None else "--eta"
        forms = [
            *(["a moment such as 2026-11-21T10:00:00+01:00"] if self._moments else []),
            *(["seconds or a span such as 90, 10m or 2h"] if self._spans else []),
        ]
        if self._spans:
            try:
                return parse_span(value)
            except ConfigurationError:
                pass  # a moment, then
        if self._moments:
            try:
                return datetime.fromisoformat(value.strip())
            except ValueError:
                pass
        raise ConfigurationError(f"{option} {value!r} is neither: write {' or '.join(forms)}")


class Checked(NamedTuple):
    """By whom a call was checked ("app", "workers", or "" by nobody), the task if it is the app's, and what to say of it."""

    by: str
    task: Task | None
    note: str = ""


@click.command()
@click.argument("name", metavar="NAME", shell_complete=complete_tasks)
@click.option("-a", "--args", type=ARRAY, default="[]", metavar="ARRAY", help="Positional arguments, as JSON.")
@click.option("-k", "--kwargs", type=OBJECT, default="{}", metavar="OBJECT", help="Keyword arguments, as JSON.")
@click.option("--countdown", type=Moment(moments=False, spans=True), metavar="SPAN", help="Run it so long from now.")
@click.option("--eta", type=Moment(moments=True, spans=False), metavar="TIME", help="Run it at this moment (ISO 8601).")
@click.option(
    "--expires", type=Moment(moments=True, spans=True), metavar="SPAN|TIME", help="Don't run it later than this."
)
@click.option(
    "--serializer",
    metavar="NAME",
    help="Of the arguments; else the task's own.",
    shell_complete=lambda ctx, param, start: [each for each in _SERIALIZERS if each.startswith(start)],
)
@click.option("--queue", metavar="NAME", help="The queue; else where the app sends it.", shell_complete=complete_queues)
@click.option("--exchange", metavar="NAME", help="The exchange.")
@click.option("--routing-key", metavar="KEY", help="The routing key.")
@click.option("--priority", type=click.IntRange(0, 255), metavar="N", help="From 0 (last) to 9 (first).")
@click.option("--task-id", metavar="ID", help="The id; else a new one.")
@click.option("-w", "--wait", is_flag=True, help="Wait for its end, and show the result.")
@timeout_option
@click.option("-f", "--force", is_flag=True, help="Send it though no worker that answers knows it.")
@click.option("--json", "as_json", is_flag=True, help="What was sent, and what has become of it, as JSON.")
@place_options
@click.pass_context
def call(
    ctx: click.Context,
    /,
    name: str,
    *,
    wait: bool,
    timeout: float | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Send a task, and print its id.

    A task of the app goes where the app sends it, and its arguments are checked. One that isn't known here is looked for among
    what running workers have registered; where none answers, it is sent unchecked, and that is said.

    \b
    multi call proj.tasks.add -a '[2, 2]'
    multi call -A proj proj.tasks.report -k '{"day": "monday"}' --countdown 10m --queue slow
    multi call proj.tasks.add -a '[2, 2]' --wait --timeout 30s

    Exit codes: 0 sent, with --wait: succeeded; 1 the broker can't be reached, with --wait: failed or was revoked; 2 wrong usage,
    configuration, or no such task; 3 not ended within --timeout.
    """
    args, kwargs = given.pop("args"), given.pop("kwargs")
    names = ("countdown", "eta", "expires", "serializer", "queue", "exchange", "routing_key", "priority", "task_id")
    options = {key: value for key in names if (value := given.pop(key)) is not None}
    refuse_empty(name, "the name of no task")
    refuse_empty(options.get("task_id"), "the id of no task")
    refuse_empty(options.get("queue"), "the name of no queue")
    refuse_empty(options.get("serializer"), "the name of no serializer")
    if "countdown" in options and "eta" in options:
        raise ConfigurationError("--countdown and --eta both say when; give one of them")
    _refuse_late(options)
    if timeout is not None and not wait:
        raise ConfigurationError("--timeout is how long --wait waits; give both")
    place = open_place(ctx, given, whose="task")
    checked = _check(ctx, given, place, name, args, kwargs, force)
    if wait:
        _refuse_endless(place, checked.task, name)
    if checked.note:
        complain(checked.note)
    try:
        if checked.task is not None:
            result = checked.task.apply_async(args, kwargs, **options)
        else:
            result = place.app.send_task(name, args, kwargs, **options)
    except (TypeError, ValueError) as error:
        if isinstance(error, MultiError):
            raise
        raise ConfigurationError(f"{name}: {error}") from None
    screen = screen_of(ctx)
    if not as_json:
        screen.show(result.id)
        sys.stdout.flush()
    told: dict[str, Any] = {"id": result.id, "task": name, "checked_by": checked.by or None}
    code = DONE
    if wait:
        found: Awaited = wait_for(screen, result, timeout, shows=not as_json)
        told |= found.told()
        code = found.code
        if not as_json:
            found.show(screen)
    if as_json:
        click.echo(json.dumps(told, default=str))
    place.app.close()
    ctx.exit(code)


def _refuse_late(options: dict[str, Any]) -> None:
    """What would have expired before it can run isn't sent. A moment without a zone is one in UTC, as in `apply_async`."""
    now = clock.now().timestamp()

    def at(option: str) -> float:
        value = options.get(option, 0.0)
        return now + value if isinstance(value, float | int) else clock.to_epoch(value)

    if "expires" not in options:
        return
    if at("expires") <= now:
        raise ConfigurationError("--expires is past, so it would never run (a moment without a zone is one in UTC)")
    if at("expires") <= at("eta" if "eta" in options else "countdown"):
        raise ConfigurationError("--expires comes before it is to run, so it never would; give a later one")


def _check(
    ctx: click.Context, given: dict[str, Any], place: Place, name: str, args: Any, kwargs: Any, force: bool
) -> Checked:
    """Raises `ConfigurationError` for a task that nobody knows, and for arguments that don't fit."""
    from multi.app import described

    known: list[str] = []
    if place.is_projects:
        known_tasks.import_tasks(ctx, place)
    task = place.app.tasks.get(name)
    if task is not None:
        if task.typing and place.app.strict_typing:
            try:
                task.check_arguments(args, kwargs)
            except TypeError as error:
                raise ConfigurationError(
                    f"the arguments don't fit {name}{described.signature(task)}: {_said(error)}"
                ) from None
        return Checked("app", task)
    known = list(place.app.tasks.regular())
    answers = known_tasks.ask_workers(place)
    if not answers:
        hint = known_tasks.nearest(name, known)
        why = "isn't known here, and no worker answers that could tell"
        return Checked("", None, f"{name} {why}: it is sent unchecked{hint}")
    where = [(node, tasks[name]) for node, tasks in answers.items() if name in tasks]
    if not where:
        everything = sorted({*known, *(each for tasks in answers.values() for each in tasks)})
        text = f"no task is called {name!r}: neither here nor in {_several(list(answers))}{known_tasks.nearest(name, everything)}"
        if not force:
            raise ConfigurationError(f"{text} (--force sends it all the same)")
        return Checked("workers", None, f"{text}; it is sent all the same")
    for node, told in where:
        written = told.get(known_tasks.SIGNATURE, "")
        if written and (why := described.misfit(written, args, kwargs)):
            text = f"the arguments don't fit {name}{written}, as {node} has it: {why}"
            if not force:
                raise ConfigurationError(f"{text} (--force sends it all the same)")
            return Checked("workers", None, f"{text}; it is sent all the same")
    return Checked("workers", None)


def _said(error: TypeError) -> str:
    """The text of a wrong call's error, without the name of the function, which was told."""
    head, sign, rest = str(error).partition("() ")
    return rest if sign and " " not in head else str(error)


def _several(nodes: list[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"the {len(nodes)} workers that answer"


def _refuse_endless(place: Place, task: Task | None, name: str) -> None:
    """What will never have a result isn't waited for."""
    if place.app.backend is None and (task is None or task.own_backend is None):
        raise ConfigurationError(
            "--wait: no result backend is configured, so nobody will tell how it ends; name one with --result-backend or "
            "result_backend"
        )
    if task is not None and task.effective("ignore_result"):
        raise ConfigurationError(
            f"--wait: the result of {name} isn't kept (ignore_result), so its end can't be waited for"
        )
