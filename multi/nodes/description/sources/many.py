"""The words behind `celery multi start`: many nodes in one line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from multi.errors import ConfigurationError
from multi.nodes import commandline, names
from multi.nodes import options as table
from multi.nodes.description.sources.base import Found, Imported
from multi.nodes.description.sources.celery import fill
from multi.nodes.engines.celery import BEFORE
from multi.nodes.names import Naming

_OWN = {
    spelling: option.metavar is not None
    for option in (*table.NAMING, *table.LAUNCHING, *table.SCREEN)
    for spelling in option.spellings
}


def take(imported: Imported, words: list[str], python: str, common: Mapping[str, object]) -> None:
    """Add the nodes that these words start; `common` are values that all of them have."""
    line = commandline.parse(words, _OWN)
    given = {one.spelling: one.value for one in line.common if one.is_own}
    host = next((one.value for one in line.common if one.spelling in ("-n", "--hostname")), None)
    naming = Naming(
        str(given.get("--range-prefix") or ""),
        str(given.get("--prefix") or ""),
        str(given.get("--suffix") or ""),
        host or "",
    )
    labels = names.label(line.names, naming)
    full = [names.parse(label.text) for label in labels]
    scopes = line.scopes(labels, full)
    here = names.this_host()
    shared = [one for one in line.common if not one.is_own and one.spelling not in ("-n", "--hostname")]
    for name, own in zip(full, scopes, strict=True):
        found = Found(name.short)
        found.values |= {"engine": "celery", **common}
        if python:
            found.values["python"] = python
        if name.host != here:
            found.values["hostname"] = name.host
        fill(found, [shared, *own], "worker", rest=line.rest, as_worker=False)
        if append := given.get("--append"):
            try:
                more = [names.expand_once(word, name) for word in shlex.split(str(append))]
            except ValueError as error:
                raise ConfigurationError(f"--append {append}: {error}") from None
            found.values["args"] = [*found.values.get("args", []), *more]
        if "--cmd" in given:
            found.left.append(f"{name.short}: --cmd {given['--cmd']}: what stood in place of `-m celery worker`")
        values = commandline.expanded(commandline.values([shared, *own]), name)
        before = table.words({key: value for key, value in values.items() if key in BEFORE})
        after = table.words({key: value for key, value in values.items() if key not in BEFORE})
        rest = ["--", *line.rest] if line.rest else []
        found.old = [python or "python", "-m", "celery", *before, "worker", "--detach", *after, "-n", str(name), *rest]
        imported.add(found)


def split(words: list[str]) -> tuple[str, list[str]] | None:
    """The interpreter and what stands behind `celery multi start` (or restart), when it is that."""
    for number, word in enumerate(words):
        if word in ("start", "restart") and number and words[number - 1] == "multi":
            program = words[: number - 1]
            if program[-1:] == ["celery"] and program[-2:-1] == ["-m"]:
                return program[0], words[number + 1 :]
            if program and os.path.basename(program[0]) == "celery":
                return python_of(program[0]), words[number + 1 :]
            if program and os.path.basename(program[0]) == "env" and len(program) > 1:
                return python_of(program[1]), words[number + 1 :]
    return None


def python_of(celery: str) -> str:
    """The interpreter that a `celery` with a path belongs to; "" for one without."""
    folder = os.path.dirname(celery)
    return os.path.join(folder, "python") if folder else ""
