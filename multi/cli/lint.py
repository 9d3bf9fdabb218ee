"""`multi lint`."""

from __future__ import annotations

import difflib
import json
import os
import sys
from typing import Any, NamedTuple

import click

from multi.cli.arguments import json_option
from multi.cli.group import DONE, FAILED, USAGE
from multi.cli.screen import Screen, complain
from multi.errors import ConfigurationError
from multi.nodes.policy import parse_span
from multi.units import lint as linting
from multi.units.lint import BROKEN, FORMATS, RULES, Finding, Looked
from multi.urls import mask

_STDIN = "-"


class _File(NamedTuple):
    path: str
    text: str
    looked: Looked


@click.command()
@click.argument("files", nargs=-1, type=click.Path())
@click.option("--fix", is_flag=True, help="Put right what can be, in the files themselves; comments stay.")
@click.option("--diff", is_flag=True, help="Only show what --fix would change.")
@click.option("--longest-task", metavar="TIME", help="How long a task may take, where no time limit says it.")
@click.option("--format", "form", type=click.Choice([*FORMATS]), help="What the files are, where that can't be told.")
@click.option("--explain", metavar="RULE", help="Why there is this rule; `all` for all of them.")
@json_option
@click.pass_context
def lint(ctx: click.Context, /, files: tuple[str, ...], **given: Any) -> None:
    """What in somebody's units will lose tasks, and why.

    It reads units of systemd, configurations of supervisord, compose files, pods and what makes them, and init scripts, and
    looks at the workers and beats in them: Celery's and multi's in full, and how Dramatiq, RQ, Huey, TaskIQ, arq and
    Procrastinate are started and stopped. - is standard input.

    The exit code is 0 when there is nothing (left) to be done, 1 when there is, 2 for a file that can't be read.

    \b
    multi lint /etc/systemd/system/celery.service /etc/supervisor/conf.d/*.conf
    multi lint compose.yaml --diff
    multi lint compose.yaml --fix --longest-task 20m
    multi lint --explain M301
    """
    screen = Screen()
    if given["explain"]:
        explain(screen, given["explain"], as_json=given["as_json"])
        return
    if not files:
        raise ConfigurationError("which files? Name them: multi lint /etc/systemd/system/celery.service")
    if given["fix"] and given["diff"]:
        raise ConfigurationError("either --fix or --diff: the one writes what the other shows")
    longest = _longest(given["longest_task"])
    looks = []
    code = DONE
    for path in dict.fromkeys(files):
        try:
            looks.append(_look(path, given["form"], longest))
        except ConfigurationError as error:
            complain(str(error))  # the others are looked at all the same
            code = USAGE
    left = 0
    listed: list[dict[str, Any]] = []
    for one in looks:
        changed, remaining = one.text, one.looked.findings
        if given["fix"] or given["diff"]:
            changed, remaining = linting.fixed(one.text, one.path, one.looked.format, longest)
        if given["fix"]:
            _write(one, changed)
        left += len(remaining if given["fix"] else one.looked.findings)
        if given["as_json"]:
            listed.append(_as_json(one, changed, remaining, fix=given["fix"], diff=given["diff"]))
        elif not (given["fix"] and one.path == _STDIN):
            _tell(screen, one, changed, remaining, fix=given["fix"], diff=given["diff"])
    if given["as_json"]:
        screen.show(json.dumps(listed, indent=2))
    ctx.exit(code or (FAILED if left else DONE))


def explain(screen: Screen, number: str, *, as_json: bool) -> None:
    """Why there are these rules."""
    chosen = list(RULES.values()) if number == "all" else [linting.rule(number)]
    if as_json:
        screen.show(json.dumps([one._asdict() for one in chosen], indent=2))
        return
    for at, one in enumerate(chosen):
        screen.show(f"{chr(10) if at else ''}{one.number} ({one.level}): {one.title}")
        screen.show(click.wrap_text(one.why, 100, "  ", "  "))


def _longest(text: str | None) -> float | None:
    try:
        return None if text is None else parse_span(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"--longest-task: {error}") from None


def _look(path: str, form: str | None, longest: float | None) -> _File:
    try:
        if path == _STDIN:
            text = sys.stdin.read()
        else:
            with open(path, encoding="utf-8", newline="") as file:
                text = file.read()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} can't be read: it is no UTF-8 ({error.reason} at byte {error.start})"
        ) from None
    return _File(path, text, linting.look(text, path, form, longest))


def _write(one: _File, changed: str) -> None:
    """Put the new text in place of the old one, whole or not at all, with its mode and owner."""
    if one.path == _STDIN:
        sys.stdout.write(changed)
        return
    if changed == one.text:
        return
    place = os.path.realpath(one.path)  # a link stays a link
    temporary = f"{place}.{os.getpid()}"
    try:
        status = os.stat(place)
        with open(temporary, "x", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), status.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.write(changed)
        os.replace(temporary, place)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise ConfigurationError(f"{one.path} can't be written: {error.strerror}; nothing was changed in it") from None


def _tell(screen: Screen, one: _File, changed: str, remaining: list[Finding], *, fix: bool, diff: bool) -> None:
    found = one.looked.findings
    for finding in found:
        level = screen.paint(finding.rule.level, None if finding.rule.level != BROKEN else False)
        screen.show(f"{one.path}:{finding.line}: {finding.rule.number} {level}: {finding.rule.title}")
        screen.show(f"    {mask(finding.text)}")
        by_hand = "" if finding.edits else " (by hand)"
        screen.show(f"    better: {finding.remedy}{by_hand}")
    if not one.looked.has_workers:
        complain(f"{one.path}: no worker is recognised in it, so there is nothing to say of it")
        return
    if one.looked.format == "systemd" and os.path.isdir(f"{one.path}.d"):
        complain(
            f"{one.path}.d is not read with it; what systemd makes of all: systemctl cat {os.path.basename(one.path)}"
        )
    if fix or diff:
        for line in difflib.unified_diff(
            one.text.splitlines(), changed.splitlines(), one.path, one.path, n=1, lineterm=""
        ):
            sign = None if line[:1] == " " or line[:3] in ("+++", "---") else {"+": True, "-": False}.get(line[:1])
            screen.show(screen.paint(mask(line), sign))
    if not found:
        screen.show(f"{one.path}: {screen.paint('nothing to be done', True)} ({one.looked.format})")
    elif fix:
        done = len({finding.rule.number for finding in found} - {finding.rule.number for finding in remaining})
        rest = f"{len(remaining)} to be done by hand" if remaining else "nothing is left"
        what = "kinds of fault put right" if done != 1 else "kind of fault put right"
        screen.show(f"{one.path}: {done} {what}, {rest}. What runs changes when the manager has read the file again")
        for finding in (each for each in found if each.rule.number == "M202" and each.edits):
            screen.show(
                f"{one.path}: {mask(finding.text)}; only one of them is started here now. Better: {finding.remedy}"
            )
    else:
        fixable = sum(1 for finding in found if finding.edits)
        hint = f"; `multi lint --fix` puts {fixable} of them right" if fixable and not diff else ""
        screen.show(f"{one.path}: {len(found)} found{hint}. Why: multi lint --explain {found[0].rule.number}")


def _as_json(one: _File, changed: str, remaining: list[Finding], *, fix: bool, diff: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "file": one.path,
        "format": one.looked.format,
        "has_workers": one.looked.has_workers,
        "findings": [_finding(finding) for finding in one.looked.findings],
    }
    if fix or diff:
        value["changed"] = changed != one.text
        value["left"] = [_finding(finding) for finding in remaining]
    return value


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule.number,
        "level": finding.rule.level,
        "title": finding.rule.title,
        "line": finding.line,
        "text": mask(finding.text),
        "remedy": finding.remedy,
        "fixable": bool(finding.edits),
    }
