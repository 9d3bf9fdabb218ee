"""Which tasks there are: those of the app, and those that running workers have registered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import click

from multi.app import described
from multi.cli.places import KEPT_NAMES, Place
from multi.cli.remembered import remember
from multi.cli.screen import complain
from multi.errors import AppImportFailed, ConfigurationError
from multi.masking import mask_arguments

#: Seconds that workers have to answer.
TIMEOUT = 1.0
#: What a worker of ours tells of a task beside its name and attributes.
SIGNATURE = described.PARAMETERS

#: Name of the task and what is told of it, by worker.
Registered = dict[str, dict[str, dict[str, str]]]


def import_tasks(ctx: click.Context, place: Place) -> None:
    """Import the modules that the app's tasks are in, and keep their names for completion. What is wrong with them is told, and
    the command goes on."""
    try:
        need_tasks(ctx, place)
    except AppImportFailed as error:
        complain(
            f"the project's tasks can't be imported, so none of them is known here: {error.__cause__}\n{error.cause_text}"
        )
    except ConfigurationError as error:
        complain(f"the project's tasks can't be imported, so none of them is known here: {error}")


def need_tasks(ctx: click.Context, place: Place) -> None:
    """The same, for a command that is nothing without them: raises `AppImportFailed` or another `ConfigurationError`."""
    from multi.app.find import project_traceback
    from multi.app.modules import import_all

    app = place.app
    try:
        import_all(app)
        app.finalize()
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:  # whatever the project's own code raises
        text = mask_arguments(project_traceback(error))
        said = f"the project's tasks can't be imported: {type(error).__name__}: {error}"
        raise AppImportFailed(f"{said}\n{text}", text, error) from error
    remember(ctx.meta[KEPT_NAMES], app, place.queues)


def ask_workers(place: Place, timeout: float = TIMEOUT, destination: Sequence[str] | None = None) -> Registered:
    """What the workers that answer have registered."""
    inspect = place.app.control.inspect(destination, timeout=timeout)
    found = inspect.registered(SIGNATURE, "rate_limit") or {}
    return {node: dict(map(_told, reply)) for node, reply in found.items() if isinstance(reply, list)}


def _told(line: str) -> tuple[str, dict[str, str]]:
    """A line of a worker's answer, as in "proj.add [parameters=(x, y) rate_limit=10/m]"."""
    name, bracket, rest = str(line).partition(" [")
    if not bracket:
        return name, {}
    rest = rest.removesuffix("]")
    found: dict[str, str] = {}
    at = rest.find(f"{SIGNATURE}=")
    if at >= 0:
        text = rest[at + len(SIGNATURE) + 1 :]
        end = _closing(text)
        found[SIGNATURE] = text[:end]
        rest = (rest[:at] + text[end:]).strip()
    for word in rest.split(" "):
        key, sign, value = word.partition("=")
        if sign and value != "None":
            found[key] = value
    return name, found


def _closing(text: str) -> int:
    """Where the bracket that a text begins with is closed."""
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0:
            return at + 1
    return len(text)


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean …?", where one of them is near."""
    known = list(names)
    near = difflib.get_close_matches(name, known, 3, 0.6)
    near.sort(key=lambda each: not each.startswith(name))  # half a name is nearer than another one
    if not near:  # the name of its function alone
        near = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f"; did you mean {near[0]!r}?" if near else ""
