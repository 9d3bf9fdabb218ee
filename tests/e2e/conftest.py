"""Hosts that tests deploy to."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.hosts import SshHost
from support.servers import NotInstalled


@pytest.fixture(scope="session")
def hosts() -> Iterator[list[SshHost]]:
    """Two hosts, app1 and app2, for all tests; each test deploys to a place of its own there."""
    made: list[SshHost] = []
    try:
        for name in ("app1", "app2"):
            made.append(SshHost(name))
            made[-1].start()
    except NotInstalled as error:
        if any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in ("CI", "MULTI_CI")):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    yield made
    for host in made:
        host.stop()
