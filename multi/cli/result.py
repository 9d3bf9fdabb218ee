"""`multi result`: what has become of a task."""

from __future__ import annotations

import json
from typing import Any

import click

from multi.cli import known_tasks
from multi.cli.awaited import PENDING, Awaited, of, timeout_option, wait_for
from multi.cli.group import UNKNOWN
from multi.cli.places import Place, open_place, place_options, refuse_empty, screen_of
from multi.cli.remembered import complete_tasks
from multi.cli.screen import complain
from multi.errors import ConfigurationError


@click.command()
@click.argument("task_id", metavar="ID")
@click.option(
    *("-t", "--task"),
    metavar="NAME",
    help="The task's name, where it has a result backend of its own.",
    shell_complete=complete_tasks,
)
@click.option("--traceback", is_flag=True, help="Show the traceback in place of the result.")
@click.option("-w", "--wait", is_flag=True, help="Wait for its end, if it hasn't ended.")
@timeout_option
@click.option("--json", "as_json", is_flag=True, help="The whole record as JSON.")
@place_options
@click.pass_context
def result(
    ctx: click.Context,
    /,
    task_id: str,
    *,
    task: str | None,
    traceback: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Show the result of a task, or its state while it has none.

    \b
    multi result 5f2b9c4e-1d0a-4f0e-9a35-0c4a1f3ec2b7
    multi result -A proj 5f2b9c4e-1d0a-4f0e-9a35-0c4a1f3ec2b7 --traceback
    multi result 5f2b9c4e-1d0a-4f0e-9a35-0c4a1f3ec2b7 --wait --timeout 1m

    Exit codes: 0 succeeded; 1 failed, was revoked, or the result backend can't be reached; 2 wrong usage or configuration;
    3 not ended; 4 nothing is recorded of it: it was never sent, hasn't begun, or its result has expired.
    """
    if timeout is not None and not wait:
        raise ConfigurationError("--timeout is how long --wait waits; give both")
    refuse_empty(task_id, "the id of no task")
    place = open_place(ctx, given, whose="results")
    screen = screen_of(ctx)
    handle = _handle(ctx, given, place, task_id, task)
    if wait:
        found = wait_for(screen, handle, timeout, shows=not as_json)
    else:
        found = of(handle)
        if found.code == PENDING and not handle.exists():
            found = Awaited(task_id, found.record, UNKNOWN)
    if as_json:
        click.echo(json.dumps(found.told(), default=str))
    elif found.code == UNKNOWN:
        complain(
            f"nothing is recorded of {task_id}: it hasn't begun, was never sent, or its result has expired "
            "(result_expires); multi result --wait waits for it"
        )
    elif traceback and found.record.get("traceback"):
        screen.show(str(found.record["traceback"]).rstrip())
    else:
        if traceback:
            complain(f"{task_id} has no traceback: it is {found.state}")
        found.show(screen)
    place.app.close()
    ctx.exit(found.code)


def _handle(ctx: click.Context, given: dict[str, Any], place: Place, task_id: str, task: str | None) -> Any:
    app = place.app
    if task is not None:
        known_tasks.import_tasks(ctx, place)
        found = app.tasks.get(task)
        if found is None:
            raise ConfigurationError(
                f"no task is called {task!r}{known_tasks.nearest(task, app.tasks.regular())}; -t is for tasks that have a "
                "result backend of their own"
            )
        if found.own_backend is not None or app.backend is not None:
            return found.AsyncResult(task_id)
    backend = app.backend
    if backend is None:
        raise ConfigurationError(
            "no result backend is configured, so nobody keeps results; name one with --result-backend or result_backend"
        )
    if backend.url.startswith("rpc:"):
        raise ConfigurationError(
            "the result backend rpc:// sends results to whoever has sent the task, and to nobody else: multi call --wait has "
            "them, multi result can't"
        )
    return app.AsyncResult(task_id)
