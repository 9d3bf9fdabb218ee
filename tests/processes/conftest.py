"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.described import prepare
from support.nodes import Nodes
from support.project import Project


@pytest.fixture
def nodes(project: Project) -> Iterator[Nodes]:
    found = Nodes(project)
    yield found
    found.stop_all()


@pytest.fixture
def described(nodes: Nodes) -> Nodes:
    """A project with a multi.toml."""
    return prepare(nodes)
