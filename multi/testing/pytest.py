"""Fixtures for tests of projects: in conftest.py

    pytest_plugins = ["multi.testing.pytest"]

    @pytest.fixture(scope="session")
    def multi_project():
        from proj.celery import app
        return app

and in a test

    def test_welcome(multi_worker, multi_sent):
        register("ada@example.org")
        multi_sent.assert_enqueued("proj.tasks.welcome", "ada@example.org")
        multi_worker.drain()

| fixture | gives |
|---|---|
| `multi_project` | the app that is tested; to be overridden, without it each test gets an app of its own |
| `multi_config` | settings for the app during the tests; to be overridden |
| `multi_app` | the app, on a broker and result backend in memory, which are empty at first |
| `multi_worker` | a `LocalWorker`: `drain()` runs everything that waits, in the test's thread |
| `multi_thread_worker` | one that runs in a thread beside the test |
| `multi_sent` | an `Outbox` of what is sent: `assert_enqueued`, `assert_not_enqueued` |

`@pytest.mark.multi(task_always_eager=True)` changes settings for one test.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from multi.app import current
from multi.app.app import App
from multi.config import environment
from multi.testing.outbox import Outbox
from multi.testing.worker import LocalWorker


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "multi(**settings): settings of the app for this test")


@pytest.fixture(scope="session")
def multi_project() -> App | None:
    """The project's own app; override it. None: each test gets an app of its own."""
    return None


@pytest.fixture(scope="session")
def multi_config() -> dict[str, Any]:
    """Settings of the app during the tests; override it."""
    return {}


@pytest.fixture
def multi_app(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    multi_project: App | None,
    multi_config: dict[str, Any],
) -> Iterator[App]:
    """The app, as the current one, on a broker and a result backend in memory; its own settings come back after the test."""
    place = f"memory://{uuid.uuid4().hex}"
    mark = request.node.get_closest_marker("multi")
    if mark is not None and mark.args:
        raise pytest.UsageError(f"@pytest.mark.multi takes settings by name, not {mark.args[0]!r}")
    changes = {
        **dict.fromkeys(("broker_url", "result_backend"), place),
        **dict.fromkeys(("broker_read_url", "broker_write_url")),
        **multi_config,
        **(mark.kwargs if mark else {}),
    }
    for name in changes:
        while variable := environment.find(name)[0]:
            monkeypatch.delenv(variable)  # which would win, and lead a test to a server that works
    app = multi_project or App("tests", set_as_current=False)
    before = current.get()
    with app.conf.changed(**changes):
        app.set_current()
        try:
            yield app
        finally:
            app.close()
            before.set_current()


@pytest.fixture
def multi_worker(multi_app: App) -> LocalWorker:
    """Runs what waits when it is told to."""
    return LocalWorker(multi_app)


@pytest.fixture
def multi_thread_worker(multi_app: App) -> Iterator[LocalWorker]:
    """Runs in a thread beside the test."""
    with LocalWorker(multi_app) as worker:
        yield worker


@pytest.fixture
def multi_sent(multi_app: App) -> Iterator[Outbox]:
    """What is sent during the test; to the app's broker in memory, whoever else is asked for."""
    outbox = Outbox(multi_app).open()
    yield outbox
    outbox.close()
