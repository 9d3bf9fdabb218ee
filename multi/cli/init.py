"""`multi init`."""

from __future__ import annotations

import glob
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from multi.cli.check import findings
from multi.cli.group import DONE, FAILED
from multi.cli.nodes import NodesCommand, Request, state_dir_option
from multi.cli.screen import complain
from multi.controller import project
from multi.controller.node import Node
from multi.errors import ConfigurationError, NodeError
from multi.nodes.description import ERROR, Description, DescriptionError, describe
from multi.nodes.description.plan import Known, plan
from multi.nodes.description.portrait import portrait, seen_from
from multi.nodes.description.sample import sample
from multi.nodes.description.sources import celery, celeryd, compose, supervisor, systemd
from multi.nodes.description.sources.base import Imported
from multi.nodes.description.writing import render
from multi.nodes.engines.celery import LAUNCHER
from multi.nodes.names import this_host
from multi.nodes.spec import KEPT_NAMES, KEPT_PREFIXES, NodeSpec
from multi.urls import mask

_SCHEMA = "Every key: docs/multi.toml.md; for editors: multi schema. Checked by `multi check`, applied by `multi up`."


@click.command(cls=NodesCommand)
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(),
    help="Take over a supervisord.conf, a systemd unit, an /etc/default/celeryd or a compose file.",
)
@click.option("--from-nodes", is_flag=True, help="Describe the nodes that are known here.")
@click.option("--instance", "instances", multiple=True, metavar="NAME", help="Of a systemd template; may be repeated.")
@click.option(
    "-o", "--output", metavar="FILE", default=project.FILE, help="The file to write (multi.toml); - prints it."
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@state_dir_option
@click.pass_context
def init(ctx: click.Context, /, **given: Any) -> None:
    """Write a multi.toml: a commented one, or one that says what runs now or what another tool's file says.

    With nodes that run in this folder's project and neither --from nor -A, they are described: for those that run `multi up`
    then finds nothing to do. What `multi check` would find is told, and nodes that are down for that are left out. After --from,
    each node's old command line is compared with the one that multi will run, and whatever could not be taken over is named.

    \b
    multi init -A shop.tasks
    multi init --from-nodes
    multi init --from /etc/supervisor/conf.d/celery.conf
    multi init --from /etc/systemd/system/celery@.service --instance 1 --instance 2
    multi init --from /etc/default/celeryd -o -
    """
    request = Request(ctx, given)
    if given["source"] is not None and given["from_nodes"]:
        raise ConfigurationError("--from or --from-nodes, not both")
    output = given["output"]
    path = "-" if output == "-" else os.path.join(request.cwd, os.path.expanduser(output))
    if path != "-" and os.path.lexists(path) and not given["force"]:
        raise ConfigurationError(
            f"{path} is there already; --force writes over it, -o FILE writes another, -o - prints it"
        )
    folder = request.cwd if path == "-" else os.path.dirname(path)
    other = os.path.join(folder, project.PYPROJECT)
    if os.path.basename(path) == project.FILE and project.has_table(other):
        raise ConfigurationError(
            f"{other} describes this project already, in [tool.multi], and there can't be two descriptions; take that table out "
            f"of it first, or write to another file: -o FILE, -o - prints it"
        )
    known = [] if given["source"] is not None else _known(request)
    if given["source"] is not None:
        _of_file(ctx, request, given, path, folder)
    elif given["from_nodes"] or (known and "app" not in request.options and any(node.status().is_up for node in known)):
        _of_nodes(ctx, request, known, path, folder)
    else:
        app = str(request.options.get("app") or _guessed_app(request.cwd))
        name = os.path.basename(folder) or "project"
        _write(path, sample(name if any(map(str.isalnum, name)) else "project", app))
        _told(request, path, f"describes w1 and w2 of the app {app}; edit it, then: multi check, multi up")
    ctx.exit(DONE)


def _known(request: Request) -> list[Node]:
    return [node for node in request.fleet.all() if node.record() is not None] if request.fleet.current else []


def _guessed_app(folder: str) -> str:
    """A package with tasks, as most projects have one."""
    for inner in ("celery.py", "tasks.py", "app.py"):
        for found in sorted(glob.glob(os.path.join(glob.escape(folder), "*", inner))):
            if os.path.exists(os.path.join(os.path.dirname(found), "__init__.py")):
                package = os.path.basename(os.path.dirname(found))
                return package if inner == "celery.py" else f"{package}.{inner[:-3]}"
    return "tasks" if os.path.exists(os.path.join(folder, "tasks.py")) else "proj"


def _write(path: str, text: str, *, private: bool = False) -> None:
    if path == "-":
        click.echo(text, nl=False)
        return
    temporary = f"{path}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if private else 0o644)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise ConfigurationError(f"{path} can't be written: {error.strerror}") from error


def _told(request: Request, path: str, text: str) -> None:
    if path != "-":
        request.screen.line(f"{path} {text}")


# ---- from nodes


def _of_nodes(ctx: click.Context, request: Request, known: list[Node], path: str, folder: str) -> None:
    if not known:
        raise NodeError(
            "no nodes are known here that could be described; `multi ls --all` shows those of every project"
        )
    current = known[0].place.project
    if current.location and os.path.realpath(current.location) != os.path.realpath(folder) and path != "-":
        raise ConfigurationError(
            f"these nodes belong to the project at {current.location}, and a description in another folder would be another "
            f"project; write it there: multi init --from-nodes -o {shlex.quote(os.path.join(current.location, project.FILE))}"
        )
    specs = {node: spec for node in known if (spec := node.spec()) is not None}
    # a project without a name is known by its folder; with one it would be another
    name = None if current.key == project.of(None, current.location).key else current.key
    settings, _ = project.read_settings(folder)
    where = path if path != "-" else os.path.join(folder, project.FILE)

    def write(specs: Mapping[Node, NodeSpec], head: list[str]) -> tuple[str, Description]:
        values = {node.name.short: portrait(spec, folder, sys.executable, this_host()) for node, spec in specs.items()}
        text = render(values, name=name, state_dir=settings.get("state_dir"), head=head)
        return text, _described(text, where)

    head = ["The nodes as they are.", _SCHEMA]
    text, found = write(specs, head)
    problems = _problems(found, specs)
    out = {node: lines for node, lines in problems.items() if lines and not node.status().is_up}
    if out and len(out) < len(specs):
        specs = {node: spec for node, spec in specs.items() if node not in out}
        head += [f"Left out: {node} ({node.status().state}): {'; '.join(lines)}" for node, lines in out.items()]
        text, found = write(specs, head)
    with_password, taken_over = _private(specs)
    _write(path, text, private=with_password or bool(taken_over))
    for node, lines in problems.items():
        for line in lines:
            left = ", and is left out" if node not in specs else ""
            complain(f"{node} is {node.status().state}{left}; `multi check` would say: {line}")
    code = FAILED if any(problems.values()) else DONE
    _warn(path, with_password, taken_over)
    if path == "-":
        ctx.exit(code)
    _told(request, path, f"describes {len(specs)} node{'s' if len(specs) > 1 else ''}")
    proof = plan(found, [Known(node.name.short, spec, "running", True) for node, spec in specs.items()])
    reasons = {step.name: step.why for step in proof.steps}
    for node in specs:
        lines, status = list(reasons[node.name.short]), node.status()
        down = "" if status.is_up else f" ({status.state} now: `multi up` starts it)"
        request.screen.item(node, f"{'; '.join(lines) or 'as it is'}{down}", good=not lines and status.is_up)
        code = FAILED if lines else code
    ctx.exit(code)


def _problems(found: Description, nodes: Iterable[Node]) -> dict[Node, list[str]]:
    """What keeps described nodes from being started here."""
    by_name = {one.name: one for one in found.nodes}
    of_table: dict[str, list[str]] = {}
    for one in found.nodes:
        if one.section not in of_table:
            errors = [problem for problem in findings(found, [one]) if problem.level == ERROR]
            of_table[one.section] = [f"{problem.key}: {problem.text}" for problem in errors]
    return {node: of_table[by_name[node.name.short].section] for node in nodes}


def _private(specs: Mapping[Node, NodeSpec]) -> tuple[bool, dict[Node, list[str]]]:
    """Whether there are passwords; and of each node the variables that it has from whoever started it, who may have secrets
    in them."""
    texts = [text for spec in specs.values() for text in (*_texts(spec.options), *_texts(spec.env), *spec.rest)]
    others = {
        node: [one for one in sorted(spec.env) if not one.startswith(KEPT_PREFIXES) and one not in KEPT_NAMES]
        for node, spec in specs.items()
    }
    return any(mask(text) != text for text in texts), {node: names for node, names in others.items() if names}


def _warn(path: str, with_password: bool, taken_over: Mapping[Node, list[str]]) -> None:
    what = "what is printed" if path == "-" else f"{path}, which only you can read,"
    for node, names in taken_over.items():
        listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        count = "a variable" if len(names) == 1 else f"{len(names)} variables"
        complain(
            f"{what} holds {count} of {node} with what it was set to ({listed}): keep what it needs, and put what is secret "
            "into an env file"
        )
    if with_password:
        complain(f"{what} holds passwords; keep it out of version control, or move them to an env file")


def _texts(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [str(value)]


# ---- from another tool's file


def _of_file(ctx: click.Context, request: Request, given: dict[str, Any], path: str, folder: str) -> None:
    if not given["source"].strip():
        raise ConfigurationError("--from: its value is empty (a variable that is not set?); name the file to take over")
    source = os.path.join(request.here, os.path.expanduser(given["source"]))
    imported = _read(source, given["instances"])
    if not imported.nodes:
        for line in imported.left:
            complain(f"not taken over: {line}")
        raise ConfigurationError(f"{source}: nothing in it can become a node")
    values = {node.name: _seen_from(folder, node.values) for node in imported.nodes}
    head = [f"Taken over from {source}.", _SCHEMA]
    name = os.path.basename(folder)
    text = render(values, name=name if any(map(str.isalnum, name)) else None, head=head)
    is_private = any(mask(text) != text for each in values.values() for text in _texts(each))
    where = path if path != "-" else os.path.join(folder, project.FILE)
    found = _described(text, where)
    _write(path, text, private=is_private)
    _told(request, path, f"describes {len(found.nodes)} node{'s' if len(found.nodes) > 1 else ''} of {source}")
    _compare(request, imported, found, err=path == "-")
    ctx.exit(DONE)


def _seen_from(folder: str, values: dict[str, Any]) -> dict[str, Any]:
    """The paths of files in the form that a description in `folder` has."""
    files = values.get("env_files") or []
    short = [("-" if one.startswith("-") else "") + seen_from(folder, one.removeprefix("-")) for one in files]
    return {**values, **({"env_files": short} if short else {})}


def _compare(request: Request, imported: Imported, found: Description, *, err: bool) -> None:
    """The old command lines beside the new ones; what the old one had as options and is a key now; what was left."""

    def say(text: str) -> None:
        if not request.screen.quiet:
            click.echo(text, err=err)

    wanted = {node.name: node.spec for node in found.nodes}
    for node in imported.nodes:
        new = celery.as_celery(wanted[node.name].argv(None), LAUNCHER)
        lines = celery.differences(node.old, new)
        say(f"> {node.name}: {'the same command line' if not lines else 'its command line differs'}")
        say(f"    was  {mask(shlex.join(node.old))}")
        say(f"    is   {mask(shlex.join(new))}")
        for line in lines:
            say(f"    differs: {line}")
        for line in dict.fromkeys(node.became):
            say(f"    a key now: {line}")
        for line in dict.fromkeys(node.left):
            say(f"    not taken over: {line}")
    for line in dict.fromkeys(imported.left):
        say(f"> not taken over: {mask(line)}")
    for line in dict.fromkeys(imported.notes):
        say(f"> note: {line}")


def _described(text: str, path: str) -> Description:
    try:
        return describe(text, path).check()
    except DescriptionError as error:
        raise ConfigurationError(
            f"what was found can't be described:\n    {chr(10).join(map(str, error.problems))}"
        ) from None


def _read(path: str, instances: tuple[str, ...]) -> Imported:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise ConfigurationError(f"--from {path}: {error.strerror}") from error
    name = os.path.basename(path)
    host = this_host()
    if name.endswith(".service"):
        return systemd.read(text, path, _files, instances, host, _home)
    if instances:
        raise ConfigurationError("--instance is for a systemd template, NAME@.service")
    if name.endswith((".yml", ".yaml")):
        beside = os.path.join(os.path.dirname(path), ".env")
        variables: dict[str, str] = {}
        for _, content in _files(beside):
            variables |= celeryd.assignments(content)[0]
        return compose.read(text, path, {**variables, **os.environ})
    if "[program:" in text or "[supervisord]" in text:
        return supervisor.read(text, path, _files, os.environ, host)
    if "[Service]" in text:
        return systemd.read(text, path, _files, instances, host, _home)
    if "CELERY" in text:
        return celeryd.read(text, path)
    raise ConfigurationError(
        f"--from {path}: this is none of the files that can be taken over: supervisord.conf, NAME.service, /etc/default/celeryd, "
        "compose.yaml"
    )


def _files(pattern: str) -> list[tuple[str, str]]:
    found = []
    for path in sorted(glob.glob(pattern)):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                found.append((path, file.read()))
        except OSError as error:
            complain(f"{path} can't be read, and is left out: {error.strerror}")
    return found


def _home(user: str) -> str:
    import pwd

    try:
        return pwd.getpwnam(user or "root").pw_dir
    except KeyError:
        return f"/home/{user}"
