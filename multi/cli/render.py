"""`multi render`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import click

from multi.cli import rendering
from multi.cli.group import DONE, FAILED
from multi.cli.nodes import NodesCommand, Request, json_option, state_dir_option
from multi.cli.policy import SPAN, policy_options
from multi.cli.remarks import remarks
from multi.cli.screen import Screen, complain
from multi.errors import ConfigurationError
from multi.units.base import BASIC, ERROR, HARDENING, File, Problem, UnitFormat

STDOUT = "-"
#: Options of commands that start nodes, and have no meaning, or another one, here.
_NOT_HERE = ("user", "group", "timeout")


def _formats(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from multi import units

    return [name for name in units.names() if name.startswith(incomplete)]


def _nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The tables and nodes of multi.toml, and nodes that are known."""
    from multi.cli.arguments import complete_names
    from multi.controller import project
    from multi.errors import MultiError

    try:
        description = project.description(Request(ctx, dict(ctx.params)).cwd)
        described = [*description.sections(), *(node.name for node in description.nodes)]
    except MultiError:
        described = []
    taken = ctx.params.get("nodes") or ()
    found = [name for name in described if name.startswith(incomplete) and name not in taken]
    return [*dict.fromkeys([*found, *complete_names(ctx, param, incomplete)])]


def _without(*names: str) -> Callable[[Any], Any]:
    """Leave out options that other decorators have brought."""

    def taken(function: Any) -> Any:
        function.__click_params__ = [one for one in function.__click_params__ if one.name not in names]
        return function

    return taken


@click.command(cls=NodesCommand, passes_on=True)
@click.argument("format", metavar="FORMAT", required=False, shell_complete=_formats)
@click.argument("nodes", nargs=-1, shell_complete=_nodes)
@click.option(
    "--node",
    "chosen",
    multiple=True,
    metavar="PATTERN",
    shell_complete=_nodes,
    help="Of multi.toml's nodes only these, as 'img*'.",
)
@click.option(
    "-o", "--output", default=STDOUT, metavar="DIR", help="Write the files there; - prints them (the default)."
)
@click.option(
    "--check", "checked", is_flag=True, help="Let the manager's own tools look at the files; print only that."
)
@click.option("--eject", metavar="DIR", help="Copy the templates (of FORMAT, or all) there, to be changed.")
@click.option("--templates", metavar="DIR", help="Your own templates, in place of ours of the same names.")
@click.option("--user/--system", "personal", default=False, help="For a user's own manager (systemctl --user).")
@click.option(
    "--hardening", type=click.Choice(HARDENING), default=BASIC, help="How much systemd keeps nodes from (basic)."
)
@click.option("--multi", metavar="FILE", help="The program multi on the machine that the files are for.")
@click.option("--launcher", metavar="FILE", help="multi's celery_node.py there, where --multi doesn't tell it.")
@click.option("--agentless", is_flag=True, help="There is no multi on that machine.")
@click.option("--manager-version", type=click.IntRange(1), metavar="N", help="The systemd there (this machine's).")
@click.option("--uid", "owner", metavar="USER", help="Whom nodes run as that don't say it.")
@click.option("--gid", "owners_group", metavar="GROUP", help="Their group.")
@click.option("--home", "homes", multiple=True, metavar="USER=DIR", help="A user's home directory there.")
@click.option("--log-dir", metavar="DIR", help="For logs that the manager doesn't keep itself.")
@click.option(
    "--longest-task", type=SPAN, metavar="SPAN", help="How long tasks may take; nodes may say otherwise (10m)."
)
@click.option("--needs", multiple=True, metavar="UNIT", help="What is to be started before, as redis-server.service.")
@click.option(
    "--credential", "credentials", multiple=True, metavar="NAME=FILE", help="A secret that systemd hands over."
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the format (see below).")
@_without(*_NOT_HERE)
@policy_options
@json_option
@state_dir_option
@click.pass_context
def render(ctx: click.Context, /, format: str | None, nodes: tuple[str, ...], **given: Any) -> None:
    """Write nodes down for another manager: units of systemd, programs of supervisord, and more.

    The nodes are those of multi.toml, or those that the command line describes as for `multi start`. Everything is printed, or
    written below a directory; to have it applied on this machine, see `multi install`. What a manager can't do is said.

    \b
    multi render systemd
    multi render systemd w1 w2 -A proj -c 4 --uid shop --hardening strict
    multi render supervisord --node 'img*' -o build/units
    multi render systemd --check
    multi render --eject templates         then in multi.toml: templates = "templates"

    FORMAT is systemd, supervisord, compose, kubernetes, launchd, openrc, runit, logrotate, tmpfiles, sudoers or another that is
    installed; `multi render FORMAT --set help` lists its settings.
    """
    from multi import units

    request = Request(ctx, given)
    for option in ("output", "eject", "templates", "log_dir"):
        if given[option] is not None and not given[option].strip():
            raise ConfigurationError(
                f"--{option.replace('_', '-')} is empty: name a directory; is it a variable of the shell that has no value?"
            )
    if given["eject"] is not None:
        if nodes:
            raise ConfigurationError("--eject copies templates; it takes a FORMAT at most, and no nodes")
        ctx.exit(_eject(request, format, str(given["eject"])))
    if format is None:
        raise click.UsageError(f"Which format? There are: {', '.join(units.names())}", ctx)
    kind = units.find(format)
    if "help" in given["settings"]:
        ctx.exit(_settings(request.screen, kind))
    chosen = rendering.checked(rendering.choose(request, nodes, given["chosen"]))
    target = rendering.target(request, kind, chosen, given)
    files = kind.render(chosen.specs, target)
    notes = [
        *kind.notes(chosen.specs, target),
        *remarks(kind, chosen.specs, target, agentless=bool(given["agentless"])),
    ]
    problems = kind.check(files) if given["checked"] else []
    bad = any(problem.level == ERROR for problem in problems)
    if given["as_json"]:
        shown = {
            "format": kind.name,
            "project": target.project,
            "files": [_as_json(file) for file in files],
            "units": kind.units(chosen.specs, target),
            "notes": notes,
            "problems": [problem._asdict() for problem in problems],
        }
        request.screen.show(json.dumps(shown, indent=2))
    for note in notes if not (request.screen.quiet or given["as_json"]) else ():
        complain(f"note: {note}")
    if given["output"] != STDOUT:
        _write(request, files, str(given["output"]))
    elif not given["checked"] and not given["as_json"]:
        _print(request.screen, files)
    if given["checked"] and not given["as_json"]:
        _tell(request.screen, kind, files, problems)
    ctx.exit(FAILED if bad else DONE)


def _as_json(file: File) -> dict[str, Any]:
    return {
        "path": file.path,
        "mode": f"{file.mode:04o}",
        "owner": file.owner,
        "why": file.why,
        "nodes": list(file.nodes),
        "secret": file.secret,
        "text": None if file.secret else file.text,
    }


def _print(screen: Screen, files: Sequence[File]) -> None:
    for number, file in enumerate(files):
        if number:
            screen.show("")
        if len(files) > 1:
            rights = f" (mode {file.mode:04o})" if file.mode != 0o644 else ""
            screen.show(f"# ==== {file.path}{rights}: {file.why}")
        if file.secret:
            screen.show("# not shown, since there are secrets in it; -o DIR writes it")
        else:
            screen.show(file.text.rstrip("\n"))


def _tell(screen: Screen, kind: UnitFormat, files: Sequence[File], problems: Sequence[Problem]) -> None:
    for problem in problems:
        complain(f"{problem.level}: {problem}")
    bad = sum(problem.level == ERROR for problem in problems)
    count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
    if bad:
        complain(f"{kind.name}: {count}, {bad} error{'' if bad == 1 else 's'}")
    else:
        screen.line(f"{kind.name}: {count}, {screen.paint('OK', True)}")


def _settings(screen: Screen, kind: UnitFormat) -> int:
    if not kind.settings:
        screen.show(f"{kind.name} has no settings")
    else:
        screen.table(("SETTING", "MEANING"), [*kind.settings.items()])
    return DONE


# ---- files


def _write(request: Request, files: Sequence[File], folder: str) -> None:
    """Each file under its own name; all with their whole paths where two have the same name."""
    base = os.path.join(request.here, os.path.expanduser(folder))
    names = [os.path.basename(file.path) for file in files]
    for file, name in zip(files, names, strict=True):
        inside = name if len({*names}) == len(names) else file.path.lstrip("/")
        path = os.path.join(base, inside)
        with _refused(path):
            state = "unchanged" if _put(path, file.text, file.mode) else "written"
        request.screen.line(f"{path}: {state} ({file.why}; belongs to {file.path})")


def _put(path: str, text: str, mode: int) -> bool:
    """Write a file at once and whole; whether it was just so before."""
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text and os.stat(path).st_mode & 0o777 == mode:
                return True
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return False


def _eject(request: Request, format: str | None, folder: str) -> int:
    """Copy templates; those that are there already stay as they are."""
    from multi import units
    from multi.units.templates import OURS, every

    names = every()
    if format is not None:
        kind = units.find(format)
        names = [name for name in names if name in kind.templates]
        if not names:
            raise ConfigurationError(f"{format} has no templates of ours")
    base = os.path.normpath(os.path.join(request.here, os.path.expanduser(folder)))
    for name in names:
        path = os.path.join(base, name)
        with _refused(path):
            if os.path.exists(path):
                request.screen.line(f"{path}: is there already, and stays as it is")
                continue
            with open(os.path.join(OURS, name), encoding="utf-8") as file:
                text = file.read()
            _put(path, text, 0o644)
        request.screen.line(f"{path}: written")
    request.screen.line(
        f'Those in it are used with --templates {folder}, or always with templates = "{folder}" at the top of multi.toml; '
        "delete those that you don't change."
    )
    return DONE


class _refused:  # noqa: N801 (reads as a word at its place of use)
    """Turns the system's refusals into errors that name the file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise ConfigurationError(f"{self.path} can't be written: {error.strerror}") from error
