"""`multi dlq`: looking at dead letters, sending them again, dropping them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

import click

from multi.brokers.base import DeadLetter
from multi.cli.group import DONE, FAILED
from multi.cli.places import (
    YES,
    Place,
    confirmed,
    hold_for_subcommands,
    open_place,
    place_options,
    queue_option,
    refuse_empty,
    screen_of,
    split,
)
from multi.cli.remembered import complete_tasks
from multi.cli.screen import Screen, ago, complain
from multi.errors import ConfigurationError
from multi.nodes.policy import parse_span

F = TypeVar("F", bound=Callable[..., Any])
_REASON = 80
#: Headers that have a line of their own.
_SHOWN = frozenset({"id", "task", "retries", "origin", "eta", "expires", "parent_id", "root_id", "group"})


class Chosen(NamedTuple):
    """Dead letters that are meant, in the order of their queues; and the ids that none has."""

    letters: list[DeadLetter]
    missing: list[str]


@click.group()
@place_options
@click.pass_context
def dlq(ctx: click.Context, /, **given: Any) -> None:
    """Dead letters: messages that were set aside because they can't be run, or were begun too often without an end.

    \b
    multi dlq list
    multi dlq show 5f2b9c
    multi dlq replay --task 'shop.*' --newer-than 2h
    multi dlq purge -Q emails --older-than 30d

    Exit codes: 0 done, 1 an id that is named isn't there or the broker can't be reached, 2 wrong usage or configuration.
    """
    hold_for_subcommands(ctx, given)


def _filters(command: F) -> F:
    options = (
        place_options,
        queue_option("Only these queues; else all that are known, and all that the broker knows to have dead letters."),
        click.option(
            *("--task", "tasks"),
            metavar="PATTERN",
            multiple=True,
            help="Only these tasks, as in 'shop.*'.",
            shell_complete=complete_tasks,
        ),
        click.option("--reason", metavar="TEXT", help="Only those in whose reason this text stands."),
        click.option("--older-than", metavar="SPAN", help="Only those that died longer ago, as in 30m or 7d."),
        click.option("--newer-than", metavar="SPAN", help="Only those that died since."),
        click.option("--json", "as_json", is_flag=True, help="The same as JSON."),
        click.pass_context,
    )
    for option in reversed(options):
        command = option(command)
    return command


IDS = click.argument("ids", metavar="[ID]...", nargs=-1)
ALL = click.option("--all", "every", is_flag=True, help="All dead letters; needed where nothing else says which.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show which are meant; change nothing.")


@dlq.command(name="list")
@_filters
@IDS
def list_(ctx: click.Context, /, ids: tuple[str, ...], *, as_json: bool, **given: Any) -> None:
    """The dead letters, oldest first in each queue. IDs are those of tasks, or their beginnings.

    \b
    multi dlq list
    multi dlq list -A proj -Q emails --task 'shop.*' --newer-than 1d
    multi dlq list --json
    """
    place = open_place(ctx, given)
    chosen = _choose(place, ids, given)
    if as_json:
        click.echo(json.dumps([_row(letter) for letter in chosen.letters]))
    elif chosen.letters:
        _table(screen_of(ctx), chosen.letters)
    elif not chosen.missing:
        screen_of(ctx).line("no dead letters" + (" match" if _narrowed(ids, given) else ""))
    _end(ctx, place, chosen)


@dlq.command()
@_filters
@IDS
def show(ctx: click.Context, /, ids: tuple[str, ...], *, as_json: bool, **given: Any) -> None:
    """Everything about dead letters: arguments, reason, history, traceback, headers. What is named like a secret is masked.

    \b
    multi dlq show 5f2b9c
    multi dlq show --task shop.charge --json
    """
    if not _narrowed(ids, given):
        raise ConfigurationError(
            "which dead letters? Name ids, or say it with -Q, --task and the like; see multi dlq list"
        )
    from multi.app.letters import describe

    place = open_place(ctx, given)
    chosen = _choose(place, ids, given)
    _know_tasks(place)
    found = [describe(place.app, letter) for letter in chosen.letters]
    if as_json:
        rows = [{name: getattr(letter, name) for name in letter.__struct_fields__} for letter in found]
        click.echo(json.dumps(rows))
    else:
        screen = screen_of(ctx)
        for number, letter in enumerate(found):
            if number:
                screen.show("")
            _show(screen, letter)
    _end(ctx, place, chosen)


@dlq.command()
@_filters
@IDS
@ALL
@DRY_RUN
def replay(
    ctx: click.Context, /, ids: tuple[str, ...], *, as_json: bool, every: bool, dry_run: bool, **given: Any
) -> None:
    """Send dead letters to their queues again, as new: begun no time so far.

    \b
    multi dlq replay 5f2b9c
    multi dlq replay --task 'shop.*' --dry-run
    multi dlq replay -Q emails --all
    """
    _refuse_vague(ids, every, given)
    place = open_place(ctx, given)
    chosen = _choose(place, ids, given)
    _act(ctx, place, chosen, "replayed", place.broker.replay, as_json=as_json, dry_run=dry_run)


@dlq.command()
@_filters
@IDS
@ALL
@DRY_RUN
@YES
def purge(
    ctx: click.Context,
    /,
    ids: tuple[str, ...],
    *,
    as_json: bool,
    every: bool,
    dry_run: bool,
    yes: bool,
    **given: Any,
) -> None:
    """Drop dead letters for good. Asks first.

    \b
    multi dlq purge --older-than 30d
    multi dlq purge -Q emails --all --yes
    """
    _refuse_vague(ids, every, given)
    place = open_place(ctx, given)
    chosen = _choose(place, ids, given)
    if chosen.letters and not dry_run:
        count = len(chosen.letters)
        question = f"Drop {count} dead letter{'s' * (count != 1)} of {_names(chosen.letters)} for good"
        if not confirmed(question, yes):
            screen_of(ctx).line("nothing is dropped")
            ctx.exit(FAILED)
    _act(ctx, place, chosen, "dropped", place.broker.purge_dead, as_json=as_json, dry_run=dry_run)


def _act(
    ctx: click.Context,
    place: Place,
    chosen: Chosen,
    done: str,
    action: Callable[[str, list[str]], int],
    *,
    as_json: bool,
    dry_run: bool,
) -> None:
    screen = screen_of(ctx)
    counts: dict[str, int] = {}
    if dry_run:
        if as_json:
            click.echo(json.dumps({"dry_run": True, "letters": [_row(letter) for letter in chosen.letters]}))
        else:
            if chosen.letters:
                _table(screen, chosen.letters)
            screen.line(f"{len(chosen.letters)} would be {done}")
        _end(ctx, place, chosen)
    for queue in dict.fromkeys(letter.queue for letter in chosen.letters):
        wanted = [letter.id for letter in chosen.letters if letter.queue == queue]
        if screen.is_live and not as_json:
            screen.live(f"{queue}: {len(wanted)} dead letters …")
        counts[queue] = action(queue, wanted)
    if as_json:
        click.echo(json.dumps({done: sum(counts.values()), "queues": counts}))
    elif counts:
        for queue, count in counts.items():
            screen.show(f"{queue}: {count} {done}")
    elif not chosen.missing:
        screen.line("no dead letters match")
    _end(ctx, place, chosen)


def _choose(place: Place, ids: Sequence[str], given: dict[str, Any]) -> Chosen:
    """The letters that all filters let pass."""
    for each in ids:
        refuse_empty(each, "the id of no task")  # else it would be the beginning of every id
    now = time.time()
    older = _span(given, "older_than")
    newer = _span(given, "newer_than")
    queues = split(given.get("queues"))
    if queues is None:
        queues = [counts.name for counts in place.broker.counts(place.queues) if counts.dead]
    found = [letter for queue in queues for letter in place.broker.dead(queue)]
    missing = []
    if ids:
        named: set[tuple[str, str]] = set()
        for wanted in ids:
            some = _named(found, wanted)
            if not some:
                missing.append(wanted)
            named.update((letter.queue, letter.id) for letter in some)
        found = [letter for letter in found if (letter.queue, letter.id) in named]
    tasks, reason = given.get("tasks") or (), given.get("reason")
    return Chosen(
        [
            letter
            for letter in found
            if (not tasks or any(fnmatchcase(letter.task, pattern) for pattern in tasks))
            and (not reason or reason in letter.reason)
            and (older is None or now - letter.time > older)
            and (newer is None or now - letter.time <= newer)
        ],
        missing,
    )


def _named(letters: Sequence[DeadLetter], wanted: str) -> list[DeadLetter]:
    """Those with this id, of the task or the letter; else those of the only task whose id begins so. Raises
    `ConfigurationError` when there are several of these."""
    exact = [letter for letter in letters if wanted in (letter.task_id, letter.id)]
    if exact:
        return exact
    some = [letter for letter in letters if letter.task_id.startswith(wanted)]
    tasks = sorted({letter.task_id for letter in some})
    if len(tasks) > 1:
        shown = ", ".join(tasks[:5]) + (" …" if len(tasks) > 5 else "")
        raise ConfigurationError(f"{wanted!r} is the beginning of {len(tasks)} ids: {shown}; write more of it")
    return some


def _span(given: dict[str, Any], name: str) -> float | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        return parse_span(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"--{name.replace('_', '-')}: {error}") from None


def _narrowed(ids: Sequence[str], given: dict[str, Any]) -> bool:
    return bool(ids) or any(given.get(name) for name in ("queues", "tasks", "reason", "older_than", "newer_than"))


def _refuse_vague(ids: Sequence[str], every: bool, given: dict[str, Any]) -> None:
    if every and ids:
        raise ConfigurationError("--all and ids together say two things; give one of them")
    if not every and not _narrowed(ids, given):
        raise ConfigurationError(
            "which dead letters? Name ids, or say it with -Q, --task, --reason, --older-than or --newer-than; --all means all"
        )


def _know_tasks(place: Place) -> None:
    """Import the project's tasks: the names of their arguments tell which are secret."""
    from multi.app.find import project_traceback

    try:
        place.app.import_modules()
    except (Exception, SystemExit) as error:  # whatever the project's own code raises
        complain(f"the project's tasks can't be imported, so the names of their arguments are unknown: {error}")
        complain(project_traceback(error))


def _names(letters: Sequence[DeadLetter]) -> str:
    return ", ".join(dict.fromkeys(letter.queue for letter in letters))


def _row(letter: DeadLetter) -> dict[str, Any]:
    from multi.app.letters import masked

    return {
        "id": letter.id,
        "task_id": letter.task_id,
        "task": letter.task,
        "queue": letter.queue,
        "time": letter.time,
        "starts": letter.starts,
        "reason": masked(letter.reason),
    }


def _table(screen: Screen, letters: Sequence[DeadLetter]) -> None:
    from multi.app.letters import masked

    now = time.time()
    rows = []
    for letter in letters:
        reason = masked(letter.reason).replace("\n", " ")
        rows.append(
            (
                letter.task_id or letter.id,
                letter.task or "?",
                letter.queue,
                ago(now - letter.time),
                str(letter.starts),
                reason if len(reason) <= _REASON else f"{reason[: _REASON - 1]}…",
            )
        )
    screen.table(("ID", "TASK", "QUEUE", "AGE", "STARTS", "REASON"), rows, right=(3, 4))


def _show(screen: Screen, letter: Any) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.time))
    screen.show(screen.paint(letter.task_id or letter.id, False))
    rows = [
        ("task", letter.task or "?"),
        ("queue", letter.queue),
        ("died", f"{when} ({ago(time.time() - letter.time)} ago)"),
        ("reason", letter.reason),
        ("runs begun", f"{letter.starts}, {letter.retries} retries before"),
        ("arguments", letter.args),
        ("keywords", letter.kwargs),
    ]
    if letter.unread:
        rows.append(("not read", f"{letter.unread}; the arguments are as its sender wrote them down"))
    for header, told in (
        ("sent by", letter.headers.get("origin")),
        ("eta", letter.headers.get("eta")),
        ("expires", letter.headers.get("expires")),
        ("parent", letter.headers.get("parent_id")),
        ("root", letter.headers.get("root_id")),
        ("group", letter.headers.get("group")),
    ):
        if told:
            rows.append((header, str(told)))
    rows.append(("body", f"{letter.size} bytes, {letter.content_type or 'of no type'}"))
    rows.append(("letter", letter.id))
    for name, value in rows:
        screen.show(f"  {name:<10}  {value}")
    if letter.traceback:
        screen.show("  traceback:")
        for line in letter.traceback.rstrip().split("\n"):
            screen.show(f"    {line}")
    more = {name: value for name, value in letter.headers.items() if name not in _SHOWN and value not in (None, {}, [])}
    if more:
        screen.show("  headers:")
        for name, value in more.items():
            screen.show(f"    {name}: {json.dumps(value, ensure_ascii=False)}")


def _end(ctx: click.Context, place: Place, chosen: Chosen) -> None:
    for wanted in chosen.missing:
        complain(f"no dead letter has the id {wanted!r}; `multi dlq list` shows those there are")
    place.app.close()
    ctx.exit(FAILED if chosen.missing else DONE)
