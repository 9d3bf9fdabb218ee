"""`multi tasks`: which tasks there are, in the app or in a worker that runs."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import click

from multi.cli import known_tasks
from multi.cli.asking import complete_workers
from multi.cli.group import DONE, UNKNOWN
from multi.cli.places import Place, open_place, place_options, screen_of
from multi.cli.remembered import complete_tasks
from multi.cli.screen import Screen, complain
from multi.errors import ConfigurationError


@click.command()
@click.argument("worker", metavar="[WORKER]", required=False, shell_complete=complete_workers)
@click.option(
    *("-t", "--task", "patterns"),
    metavar="PATTERN",
    multiple=True,
    help="Only these, as in 'shop.*'.",
    shell_complete=complete_tasks,
)
@click.option("--builtin", is_flag=True, help="With the built-in tasks called celery.…")
@click.option(
    "--timeout", metavar="SECONDS", type=click.FloatRange(min=0.05), help="How long a worker has to answer (1)."
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@place_options
@click.pass_context
def tasks(
    ctx: click.Context,
    /,
    worker: str | None,
    *,
    patterns: tuple[str, ...],
    builtin: bool,
    timeout: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """The tasks of an app, how they are called, and their options where they are not the usual ones.

    With the name of a worker (w1, w1@host) those that it has registered: it is asked, and the app isn't imported.

    \b
    multi tasks -A proj
    multi tasks -A proj --task 'proj.reports.*' --json
    multi tasks w1

    Exit codes: 0 shown, 1 the broker can't be reached or the project fails while it is imported, 2 wrong usage or configuration,
    no such app, or a module that is missing or isn't valid Python, 4 no worker of this name answers.
    """
    place = open_place(ctx, given, whose="tasks" if worker is None else "workers")
    if worker is None:
        if not place.is_projects:
            raise ConfigurationError(
                "-b alone names no app, which could tell its tasks: give -A, or the name of a worker to be asked"
            )
        known_tasks.need_tasks(ctx, place)
        rows = _of_app(place)
    else:
        answered = _of_worker(place, worker, timeout or known_tasks.TIMEOUT)
        if answered is None:
            complain(_silent(place, worker))
            ctx.exit(UNKNOWN)
        rows = answered
    chosen = [
        row
        for row in rows
        if (builtin or not row["name"].startswith("celery."))
        and (not patterns or any(fnmatchcase(row["name"], pattern) for pattern in patterns))
    ]
    if as_json:
        click.echo(json.dumps(chosen, default=str))
    elif chosen:
        _table(screen_of(ctx), chosen)
    else:
        screen_of(ctx).line("no task matches" if patterns else "there is no task")
    place.app.close()
    ctx.exit(DONE)


def _of_app(place: Place) -> list[dict[str, Any]]:
    from multi.app import described

    return [
        {"name": name, "signature": described.signature(task), "options": described.options(task)}
        for name, task in sorted(place.app.tasks.items())
    ]


def _of_worker(place: Place, worker: str, timeout: float) -> list[dict[str, Any]] | None:
    """What it tells; None if it doesn't answer."""
    from multi.nodes import names

    # by its full name it needs no waiting for others; elsewhere than here it is found among all who answer
    destination = [worker if "@" in worker else str(names.parse(worker))]
    if not (answers := known_tasks.ask_workers(place, timeout, destination)) and "@" not in worker:
        answers = known_tasks.ask_workers(place, timeout)
    meant = [node for node in answers if node == worker or node.partition("@")[0] == worker]
    if not meant:
        return None
    if len(meant) > 1:
        raise ConfigurationError(f"{worker} may be {' or '.join(sorted(meant))}; write it in full")
    return [
        {
            "name": name,
            "signature": told.get(known_tasks.SIGNATURE, ""),
            "options": {key: value for key, value in told.items() if key != known_tasks.SIGNATURE},
        }
        for name, told in sorted(answers[meant[0]].items())
    ]


def _silent(place: Place, worker: str) -> str:
    return f"no worker {worker} answers on {place.broker.masked}; `multi inspect ping` shows who does"


def _table(screen: Screen, rows: list[dict[str, Any]]) -> None:
    shown = [
        (
            row["name"],
            row["signature"] or "-",
            ", ".join(f"{key}={_short(value)}" for key, value in row["options"].items()),
        )
        for row in rows
    ]
    screen.table(("TASK", "SIGNATURE", "OPTIONS"), shown)


def _short(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
