"""Other people's frameworks, imported only where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def module(name: str) -> Any:
    """A module of theirs. Raises `ImportError`. (Not imported by a statement, so that type checkers do without it.)"""
    return import_module(name)
