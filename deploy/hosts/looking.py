"""What the doctor asks of hosts whose code no deploy has brought: their own `multi doctor`, in the folder of the project."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from multi.deploy.base import Backend, Result, Session
from multi.deploy.doctor import OF_UNITS, WARNING, Finding, NotDone
from multi.deploy.hosts.inventory import Host
from multi.deploy.members import find
from multi.deploy.rollout.operation import each
from multi.deploy.steps import Command
from multi.errors import HostUnreachable, MultiError

TIMEOUT = 180.0


class Looked(NamedTuple):
    """What a host's own multi has found, and what it could not look at. `has_multi`: there is one."""

    findings: tuple[Finding, ...] = ()
    not_done: tuple[NotDone, ...] = ()
    has_multi: bool = True


def look(
    backend: Backend, hosts: Iterable[Host], checks: Sequence[str], max_parallel: int, description: str = ""
) -> dict[str, Looked]:
    """The answers by host. What is the unit managers' is asked as root, where the login may become root; the app is asked as the
    project's owner. `description` is the file here, which is to be there, too."""

    def one(session: Session) -> Looked:
        return _ask(session, checks, description)

    found = each(backend, list(hosts), one, max_parallel)
    return {name: one if isinstance(one, Looked) else _lost(name, checks, one) for name, one in found.items()}


def _ask(session: Session, checks: Sequence[str], description: str) -> Looked:
    host = session.host
    there = find(session)
    if there is None:
        why = f"there is no multi in {host.settings.path}, nor on the PATH"
        return Looked((), tuple(NotDone(check, host.name, why) for check in checks), has_multi=False)
    program, folder = there
    findings: list[Finding] = _differs(session, folder, description) if "units" in checks and description else []
    not_done: list[NotDone] = []
    of_units = [check for check in checks if check in OF_UNITS]
    others = [check for check in checks if check not in OF_UNITS]
    as_owner = others if host.settings.sudo else [*others, *of_units]
    for wanted, as_root in ((as_owner, False), (of_units, True)):
        if not wanted or (as_root and not host.settings.sudo):
            continue
        argv = (program, "doctor", "--local", "--json", *(word for check in wanted for word in ("--check", check)))
        user = None if as_root else host.settings.owner_user
        result = session.run(Command(argv, sudo=as_root, user=user, cwd=folder, timeout=TIMEOUT))
        if result.code is None:
            raise HostUnreachable(host.name, result.err)
        one = _told(host.name, wanted, result)
        findings += one.findings
        not_done += one.not_done
    return Looked(tuple(findings), tuple(not_done))


def _differs(session: Session, folder: str, description: str) -> list[Finding]:
    """Whether the description there is another one than that here."""
    name = os.path.basename(description)
    argv = ("sh", "-c", 'cat -- "$1" 2>/dev/null', "multi-cat", name)
    result = session.run(Command(argv, user=session.host.settings.owner_user, cwd=folder, timeout=60))
    with open(description, encoding="utf-8") as file:
        here = file.read()
    if not result.ok or result.out.split() == here.split():
        return []  # where there is none, nodes are described by other means
    text = f"{folder}/{name} is not as {description}"
    remedy = "bring it there as the code comes, and then: multi install MANAGER there"
    return [Finding("units", WARNING, session.host.name, text, remedy)]


def _told(host: str, checks: Sequence[str], result: Result) -> Looked:
    try:
        value: dict[str, Any] = json.loads(result.out)
        findings = [
            Finding(one["check"], one["level"], _about(host, one["about"]), one["text"], one["remedy"])
            for one in value["findings"]
        ]
        missing = [NotDone(one["check"], _about(host, one["about"]), one["why"]) for one in value["not_done"]]
        return Looked(tuple(findings), tuple(missing))
    except (ValueError, KeyError, TypeError):
        lines = result.tail.splitlines()
        why = f"its own multi doctor says: {lines[-1].strip() if lines else 'nothing'}"
        return Looked((), tuple(NotDone(check, host, why) for check in checks))


def _about(host: str, about: str) -> str:
    """Whose a finding is, seen from here."""
    return host if about in ("", "this machine") else f"{host}/{about}"


def _lost(host: str, checks: Sequence[str], error: object) -> Looked:
    why = str(getattr(error, "reason", None) or error) if isinstance(error, MultiError) else "it was not asked"
    return Looked((), tuple(NotDone(check, host, why) for check in checks))
