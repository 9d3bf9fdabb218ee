"""`multi shell`: Python with the app and its tasks at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.known_tasks import need_tasks
from multi.cli.places import Place, open_place, place_options, screen_of
from multi.cli.screen import complain
from multi.errors import ConfigurationError, MissingExtra

_CANVAS = ("Task", "chord", "group", "chain", "chunks", "xmap", "xstarmap", "signature", "subtask", "AsyncResult")


@click.command()
@click.option("-I", "--ipython", "kinds", flag_value="ipython", multiple=True, help="IPython.")
@click.option("-B", "--bpython", "kinds", flag_value="bpython", multiple=True, help="bpython.")
@click.option("-P", "--python", "kinds", flag_value="python", multiple=True, help="Python's own.")
@click.option("-T", "--without-tasks", is_flag=True, help="Without the tasks by their names.")
@click.option("-c", "--command", "code", metavar="CODE", help="Run this, and end.")
@click.option("--eventlet", is_flag=True, hidden=True, help="Accepted for Celery's sake.")
@click.option("--gevent", is_flag=True, hidden=True, help="Accepted for Celery's sake.")
@place_options
@click.pass_context
def shell(
    ctx: click.Context,
    /,
    *,
    kinds: tuple[str, ...],
    without_tasks: bool,
    code: str | None,
    eventlet: bool,
    gevent: bool,
    **given: Any,
) -> None:
    """Python with the app at hand: `app`, its tasks by the names of their functions, and chain, group, chord, signature.

    It is IPython where that is installed, else bpython, else Python's own. Of two tasks with functions of one name neither is at
    hand: take app.tasks["proj.a.add"].

    \b
    multi shell -A proj
    multi shell -A proj --python
    multi shell -A proj -c 'print(add.delay(2, 2).get(timeout=10))'

    Exit codes: 0 ended, 1 CODE has failed, or the project while it was imported, 2 wrong usage or configuration, no such app, or
    a module that is missing or isn't valid Python. CODE may end with another one of its own.
    """
    if len(set(kinds)) > 1:
        raise ConfigurationError("-I, -B and -P each name a shell; give one of them")
    if eventlet or gevent:
        complain("there are no green threads here; the shell starts without them")
    if not sys.path or sys.path[0] != "":
        sys.path.insert(0, os.getcwd())
    place = open_place(ctx, given, whose="app")
    if place.is_projects:
        need_tasks(ctx, place)
    names = _names(place, without_tasks)
    if code is not None:
        ctx.exit(_run(code, names))
    start = _shell(kinds[0] if kinds else None)
    screen = screen_of(ctx)
    screen.line(_greeting(place, names))
    start(names)
    place.app.close()
    ctx.exit(DONE)


def _names(place: Place, without_tasks: bool) -> dict[str, Any]:
    import multi

    app = place.app
    found: dict[str, Any] = {"app": app, "celery": app, **{name: getattr(multi, name) for name in _CANVAS}}
    if without_tasks:
        return found
    tasks: dict[str, list[Any]] = {}
    for name, task in app.tasks.regular().items():
        tasks.setdefault(getattr(task, "__name__", None) or name.rpartition(".")[2], []).append(task)
    # what is at hand for all is not to be hidden by a task of the same name
    found.update({name: each[0] for name, each in tasks.items() if len(each) == 1 and name not in found})
    return found


def _greeting(place: Place, names: dict[str, Any]) -> str:
    app = place.app
    count = len(app.tasks.regular())
    what = f"{count} task{'s' * (count != 1)}" if count else "no tasks"
    return f"app {app.main or '(without a name)'} on {place.broker.masked}, {what}; at hand: {', '.join(sorted(names))}"


def _run(code: str, names: dict[str, Any]) -> int:
    import traceback

    sys.argv = ["-c"]
    names = {**names, "__name__": "__main__"}
    try:
        exec(compile(code, "<command>", "exec"), names)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or DONE
        complain(str(end.code))
        return FAILED
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # from the user's own line on
        traceback.print_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        return FAILED
    return DONE


def _shell(kind: str | None) -> Callable[[dict[str, Any]], None]:
    """The one that is wanted, or the best that there is. Raises `MissingExtra`."""
    for name, start in (("ipython", _ipython), ("bpython", _bpython)):
        if kind in (None, name):
            try:
                return start()
            except ImportError:
                if kind is not None:
                    raise MissingExtra(name, name, f"multi shell --{name}") from None
    return _python


def _ipython() -> Callable[[dict[str, Any]], None]:
    start: Any = import_module("IPython").start_ipython
    return lambda names: start(argv=["--no-banner"], user_ns=names)


def _bpython() -> Callable[[dict[str, Any]], None]:
    start: Callable[[dict[str, Any]], None] = import_module("bpython").embed
    return start


def _python(names: dict[str, Any]) -> None:
    import code

    try:
        import readline
        import rlcompleter
    except ImportError:
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner="", local={**names, "__name__": "__console__"}, exitmsg="")
