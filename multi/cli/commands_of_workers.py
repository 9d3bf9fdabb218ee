"""Which commands workers understand: those of every worker, and those that a project adds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from multi.cli.methods import METHODS, Method, arguments, find, free_arguments
from multi.cli.places import Place, before, open_place
from multi.cli.screen import complain
from multi.errors import ConfigurationError, MultiError

F = TypeVar("F", bound=Callable[..., Any])

any_option = click.option(
    "--any", "anything", is_flag=True, help="Send METHOD though nobody here knows it, with arguments as name=value."
)


def list_option(kind: str) -> Callable[[F], F]:
    return click.option(
        "--list", "listed", is_flag=True, help=f"List the {kind} commands, also those of the app that -A names."
    )


def complete_methods(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completion of a command's name."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        known = METHODS if not (ctx.params.get("app") or before(ctx).get("app")) else _of_app(ctx, dict(ctx.params))
        return sorted(one.name for one in known.values() if one.kind == kind and one.name.startswith(incomplete))

    return complete


def needed(ctx: click.Context, method: str | None, kind: str, given: Mapping[str, Any]) -> str:
    """The name of the command; ends with the list of them where that is asked for. Raises `ConfigurationError`."""
    if given["listed"]:
        _list(ctx, kind, given)
        ctx.exit(0)
    if not method:
        raise ConfigurationError(
            f"which command? `multi {kind} --list` lists them, as in: multi {kind} {_EXAMPLES[kind]}"
        )
    return method


_EXAMPLES = {"inspect": "ping", "control": "rate_limit shop.mail 10/s"}


def words_to_arguments(
    place: Place, name: str, kind: str, words: Sequence[str], *, anything: bool
) -> tuple[str, dict[str, Any]]:
    """The command that is meant and its arguments. Raises `ConfigurationError`."""
    known: Mapping[str, Method] = METHODS
    if name not in METHODS:
        known = known_to(place)
        if anything and name not in known:
            return name, free_arguments(words)
    method = find(name, kind, known)
    return method.name, arguments(method, words)


def known_to(place: Place) -> dict[str, Method]:
    """The commands of every worker, and those that the app's modules add: with multi's decorators or with Celery's."""
    if not place.is_projects:
        return METHODS
    from multi.app.modules import import_all

    try:
        import_all(place.app)
    except (Exception, SystemExit) as error:  # whatever the project's own code raises
        complain(f"the project's modules can't be imported, so commands of its own aren't known here: {error}")
    found = dict(METHODS)
    for module in ("celery.worker.control", "multi.app.panel"):
        panel = getattr(sys.modules.get(module), "Panel", None)
        for name, meta in panel.meta.items() if panel is not None else ():
            if name not in METHODS:
                found[name] = Method(
                    name,
                    meta.type,
                    meta.help or "",
                    meta.signature or "",
                    tuple(meta.args or ()),
                    meta.variadic,
                    0,
                    meta.alias,
                    meta.visible,
                )
    return found


def _of_app(ctx: click.Context, given: Mapping[str, Any]) -> Mapping[str, Method]:
    try:
        place = open_place(ctx, dict(given), whose="workers")
    except (MultiError, OSError):
        return METHODS
    return known_to(place)


def _list(ctx: click.Context, kind: str, given: Mapping[str, Any]) -> None:
    known: Mapping[str, Method] = METHODS
    if given.get("app") or before(ctx).get("app"):
        known = known_to(open_place(ctx, dict(given), whose="workers"))
    formatter = click.HelpFormatter(max_width=100)
    shown = sorted((one for one in known.values() if one.kind == kind and one.visible), key=lambda one: one.name)
    with formatter.section(f"{kind.capitalize()} commands"):
        formatter.write_dl([(f"{one.name} {one.signature}".strip(), one.help) for one in shown], col_max=42)
    click.echo(formatter.getvalue(), nl=False)


__all__ = ["any_option", "complete_methods", "known_to", "list_option", "needed", "words_to_arguments"]
