"""What is wrong with services of Compose that are workers."""

from __future__ import annotations

import shlex
from typing import Any

from multi.units.lint import commands, stopping, wrapping
from multi.units.lint.commands import BEAT, KEEPER, Work
from multi.units.lint.rules import RULES, Edit, Finding
from multi.units.lint.tree import Table, documents

_TERM = ("SIGTERM", "TERM", "15")


def services(text: str, path: str) -> list[tuple[str, Table, Work]]:
    """The services that are workers or beats."""
    found = []
    for document in documents(text, path):
        table = document.table("services")
        for name, node in table.pairs() if table is not None else ():
            service = Table(text, node) if hasattr(node, "value") and isinstance(node.value, list) else None
            if service is None or not node.value or not isinstance(node.value[0], tuple):
                continue
            work = commands.recognised(_command(service), name)
            if work is not None:
                found.append((name, service, work))
    return found


def _command(service: Table) -> str:
    """What the container runs, in words; of a list each one quoted."""
    parts = []
    for key in ("entrypoint", "command"):
        value = service.value(key)
        parts.append(words_of(value))
    return " ".join(part for part in parts if part)


def words_of(value: Any) -> str:
    """A command as one text."""
    if isinstance(value, list):
        return shlex.join(str(one) for one in value)
    return value if isinstance(value, str) else ""


def examine(text: str, path: str, longest: float | None) -> list[Finding]:
    """What is wrong with the services of this file."""
    found: list[Finding] = []
    for name, service, work in services(text, path):
        found += _examine(name, service, work, longest)
    return found


def _examine(name: str, service: Table, work: Work, longest: float | None) -> list[Finding]:
    found: list[Finding] = []

    def add(number: str, key: str, what: str, remedy: str, *edits: Edit) -> None:
        found.append(Finding(RULES[number], service.line_of(key), f"{name}: {what}", remedy, edits))

    if not work.is_opaque:
        key = "command" if service.find("command") is not None else "entrypoint"
        found += wrapping.findings(service, key, name, work, _replicas(service))
    if work.role == BEAT and _replicas(service) > 1:
        said, edits = _copies(service)
        remedy = "scale: 1" if said.startswith("scale") else "replicas: 1"
        add(
            "M103",
            "scale" if said.startswith("scale") else "deploy",
            f"{said}: each of them sends the schedule",
            remedy,
            *edits,
        )
    if work.runs_tasks:
        given = service.value("stop_grace_period")
        seconds = None if given is None else stopping.span(str(given))
        seconds = 0.0 if str(given) in ("0", "0s") else seconds
        if seconds is None or not stopping.is_enough(seconds, work, longest):
            wanted = f"{stopping.proposed(work, longest)}s"
            what = "stop_grace_period is not given: 10 s" if given is None else f"stop_grace_period: {given}"
            remedy = f"stop_grace_period: {wanted}: {stopping.why(work, longest)}"
            add("M401", "stop_grace_period", what, remedy, service.put("stop_grace_period", wanted))
    signal = service.value("stop_signal")
    if signal is not None and str(signal).upper() not in _TERM:
        add(
            "M402",
            "stop_signal",
            f"stop_signal: {signal}",
            "stop_signal: SIGTERM",
            service.put("stop_signal", "SIGTERM"),
        )
    is_reaped = work.role == KEEPER or (work.tool == "multi" and work.role == BEAT) or commands.has_init(work.raw)
    if not is_reaped and service.value("init") is not True:
        said = "init is not given" if service.value("init") is None else f"init: {str(service.value('init')).lower()}"
        edit = service.put("init", True)
        add("M403", "init", f"{said}: the worker is the first process", "init: true", edit)
    if service.value("restart") in (None, "no", False) and service.find("deploy", "restart_policy") is None:
        add(
            "M404",
            "restart",
            "restart is not given",
            "restart: unless-stopped",
            service.put("restart", "unless-stopped"),
        )
    test = words_of(service.value("healthcheck", "test"))
    if wrapping.asks_broker(test) and service.value("healthcheck", "disable") is not True:
        edit = service.put_table("healthcheck", "disable", True)
        remedy = "no health check, or (with multi in the image) multi probe NODE"
        add("M405", "healthcheck", f"healthcheck: {wrapping.short(test)}", remedy, edit)
    return found


def _replicas(service: Table) -> int:
    for value in (service.value("deploy", "replicas"), service.value("scale")):
        if isinstance(value, int):
            return value
    return 1


def _copies(service: Table) -> tuple[str, list[Edit]]:
    """Where it says how many copies there are, and the edits that leave one."""
    said, edits = [], []
    if isinstance(count := service.value("scale"), int):
        said.append(f"scale: {count}")
        edits.append(service.put("scale", 1))
    if isinstance(count := service.value("deploy", "replicas"), int):
        said.append(f"replicas: {count}")
        # what is merged in is written nowhere here; a table of its own would take its other keys away
        edits += [service.put_table("deploy", "replicas", 1)] if service.has_own("deploy") else []
    return ", ".join(said), edits


def runs_something(text: str, path: str) -> bool:
    """Whether a worker or a beat is recognised in it."""
    return bool(services(text, path))
