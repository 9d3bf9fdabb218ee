"""What the formats in YAML have in common: how a template quotes, and how a file is checked against a schema."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from multi.units.base import ERROR, WARNING, File, Problem

SCHEMAS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schemas")
_INSTALL = "pip install 'multi-workers[containers]'"


def quoted(value: Any) -> str:
    """A value as JSON writes it, which YAML understands without any of its surprises (`no`, `1e3`, `12:30`)."""
    return json.dumps(value, ensure_ascii=False)


def documents(file: File) -> Iterator[tuple[int, Any]]:
    """The documents of a file, each with the line where it begins. Raises `ValueError` for what is no YAML."""
    import yaml

    try:
        loader = yaml.SafeLoader(file.text)
        try:
            while loader.check_node():
                node = loader.get_node()
                assert node is not None
                yield node.start_mark.line + 1, loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or error}") from None


def missing_tools(files: Sequence[File]) -> list[Problem]:
    """What is not installed of that which a check needs."""
    for module, what in (("yaml", "PyYAML"), ("jsonschema", "jsonschema")):
        try:
            __import__(module)
        except ImportError:
            text = f"{what} is not installed, so nothing was checked against a schema; {_INSTALL}"
            return [Problem(files[0].path if files else "", text, WARNING)]
    return []


def schema(name: str) -> dict[str, Any]:
    """One of the schemas that come with multi."""
    with open(os.path.join(SCHEMAS, f"{name}.json"), encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def against(value: Any, rules: dict[str, Any], path: str, line: int) -> list[Problem]:
    """What a schema says against a value."""
    import jsonschema

    found = []
    for error in sorted(
        jsonschema.Draft202012Validator(rules).iter_errors(value), key=lambda error: list(map(str, error.path))
    ):
        best = jsonschema.exceptions.best_match([error]) or error
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in best.absolute_path)
        found.append(Problem(path, f"{place.lstrip('.') or 'the document'}: {best.message}", ERROR, line))
    return found
