"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.nodes import Nodes
from support.project import Project


@pytest.fixture
def nodes(project: Project) -> Iterator[Nodes]:
    found = Nodes(project)
    yield found
    found.stop_all()
