"""Fixtures of the tests that put real servers, and the real Celery, at the other end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.mixed import Fleet
from support.servers import Redis


@pytest.fixture(scope="session")
def fleet(redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One Redis with a worker of Celery's for the queue `theirs`, one of multi's for `ours`, and both for `both`."""
    with_tasks = Fleet(tmp_path_factory.mktemp("fleet"), redis_server.fresh())
    try:
        theirs = with_tasks.worker("celery", "theirs", "theirs,both", "-c", "2")
        ours = with_tasks.worker("multi", "ours", "ours,both", "-c", "2")
        theirs.wait_ready()
        ours.wait_ready()
        yield with_tasks
    finally:
        with_tasks.close()


@pytest.fixture(params=["redis", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty broker of each kind that can also store results."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def make_fleet(redis_server: Redis, tmp_path: Path, mark: str, no_leftovers: None) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets without workers, each on a database of its own; `settings` are those of workers and clients."""
    made: list[Fleet] = []

    def make(backend: str | None = None, **settings: Any) -> Fleet:
        folder = tmp_path / f"fleet{len(made)}"
        folder.mkdir()
        made.append(Fleet(folder, redis_server.fresh(), backend, **settings))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


@pytest.fixture
def own_fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    """A fleet without workers yet, for one test."""
    return make_fleet()
