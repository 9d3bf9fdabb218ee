"""`multi check` and `multi schema`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

import click

from multi.cli.group import DONE, USAGE
from multi.cli.screen import Screen, complain
from multi.controller import project
from multi.controller.checks import examine
from multi.errors import ConfigurationError
from multi.nodes import options as table
from multi.nodes.description import ERROR, Described, Description, DescriptionError, Problem
from multi.nodes.spec import NodeSpec, logical_cwd


@click.command()
@click.argument("file", required=False, metavar="[FILE]", type=click.Path())
@click.option("--migration", metavar="PATH", type=click.Path(), help="Read a project of Celery's instead.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing when all is well.")
@click.pass_context
def check(ctx: click.Context, /, file: str | None, *, migration: str | None, as_json: bool, quiet: bool) -> None:
    """Check multi.toml and all that it needs on this machine; starts nothing.

    Every key and value, and then what they name: the interpreter runs, the app's module is found (it is not imported),
    directories and env files are there, users exist, programs are on the PATH, logs can be written. All findings at once.
    The exit code is 2 when there are errors, and 0 when there are only warnings.

    With --migration it reads the Python files of a project that was written for Celery, without importing any, and says
    what would not work with multi's own worker, what means something else, and what has no meaning: setting by setting,
    task by task, late acknowledgement above all.

    \b
    multi check
    multi check deploy/multi.toml --json
    multi check --migration .
    """
    if migration is not None:
        from multi.cli.migration import show

        if file is not None:
            raise ConfigurationError("FILE and --migration are two different checks; do one after the other")
        ctx.exit(show(migration, as_json=as_json, quiet=quiet))
    here = logical_cwd()
    if file == "":
        raise ConfigurationError("FILE is empty (a variable that is not set?); leave it out, or name a file")
    path = os.path.join(here, os.path.expanduser(file)) if file else None
    description: Description | None = None
    try:
        description = project.description(here, path)
        problems = [*findings(description), *_of_hosts(description)]
    except DescriptionError as error:
        problems = error.problems
    errors = [problem for problem in problems if problem.level == ERROR]
    name = description.path if description else problems[0].file
    if as_json:
        nodes = [node.name for node in description.nodes] if description else []
        shown = {"file": name, "ok": not errors, "nodes": nodes, "problems": [one.as_json() for one in problems]}
        click.echo(json.dumps(shown, indent=1))
        ctx.exit(USAGE if errors else DONE)
    for problem in problems:
        complain(f"{problem.level}: {problem}")
    warnings = len(problems) - len(errors)
    also = f", {_count(warnings, 'warning')}" if warnings else ""
    if errors:
        complain(f"{name}: {_count(len(errors), 'error')}{also}")
        ctx.exit(USAGE)
    screen = Screen(quiet=quiet)
    count = len(description.nodes) if description else 0
    screen.line(f"{name}: {screen.paint('OK', True)}, {_count(count, 'node')}{also}")
    ctx.exit(DONE)


def findings(description: Description, nodes: Iterable[Described] | None = None) -> list[Problem]:
    """What is wrong with a description itself, and with what these of its nodes (all of them) need here."""
    chosen = list(description.nodes if nodes is None else nodes)
    found = examine(description, chosen, said_of)
    return sorted([*description.problems, *found], key=lambda problem: problem.line)


def _of_hosts(description: Description) -> list[Problem]:
    """What can't be right about the hosts of each environment, though every key is."""
    deployment = description.deployment
    if not deployment.hosts or any(problem.level == ERROR for problem in description.problems):
        return []
    from multi.deploy.hosts import inventory

    found: list[Problem] = []
    for environment in deployment.environments or [None]:
        try:
            found += inventory.problems(inventory.Inventory(description, "", environment=environment))
        except ConfigurationError as error:
            found.append(Problem(description.path, 0, "hosts", str(error)))
    return list(dict.fromkeys(found))


def said_of(spec: NodeSpec, *, anywhere: bool = False) -> str:
    """What the node's own parser has to say about the options that it would get. (Of another interpreter's multi nothing is
    known; with `anywhere` it is taken to be like this one.)"""
    if spec.engine != "multi" or spec.command or not (anywhere or spec.executable == sys.executable):
        return ""
    try:
        check_words(spec.kind, [*table.words(spec.options), *spec.rest])
    except ConfigurationError as error:
        return str(error)
    return ""


def check_words(kind: str, words: list[str]) -> None:
    """Have `multi worker` or `multi beat` parse its options. Raises `ConfigurationError` for what it can't do."""
    try:
        if kind == "beat":
            from multi.cli import beat

            beat.check_options(beat.beat.make_context("multi beat", words).params)
        else:
            from multi.cli import worker

            worker.check_options(worker.worker.make_context("multi worker", words).params)
    except click.UsageError as error:
        raise ConfigurationError(error.format_message()) from None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@click.command()
@click.option("-o", "--output", metavar="FILE", help="Write it there.", type=click.Path())
def schema(output: str | None) -> None:
    """The JSON schema of multi.toml, by which editors complete and check it.

    \b
    multi schema -o multi.schema.json
    then as the first line of multi.toml (Even Better TOML, taplo):  #:schema ./multi.schema.json
    """
    from multi.nodes.description.schema import schema as build

    text = json.dumps(build(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{output} can't be written: {error.strerror}") from error
