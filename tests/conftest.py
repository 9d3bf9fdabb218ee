"""Fixtures for all tests: private servers, a project of one's own, and the rule that nothing stays running.

redis_server, rabbitmq_server   the private server itself, one per run (`kill`, `start`, `freeze`, `thaw` are for tests
                                that make their own: `Redis()` of support.servers; the shared one must stay up)
own                             a RabbitMQ that a test may crash and freeze
redis_url, rabbitmq_url         a URL of it that is empty at the test's start: a database or virtual host of its own
project                         a temporary folder with `write`, `multi`, `python`: see support.project
"""

from __future__ import annotations

import compileall
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import MARK, Leftovers
from support.project import Project
from support.rabbitmq import Fragile
from support.servers import NotInstalled, RabbitMQ, Redis, Server, started

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a run in the background of a script is deaf to Control-C, and so would be whatever the tests start and interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
UNIT = TESTS / "unit"


def in_ci() -> bool:
    """Whether a missing server is an error."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in ("CI", "MULTI_CI"))


def serve(make: Callable[[], Server]) -> Server:
    """A started server; without its program a skip at home and a failure in CI."""
    try:
        return started(make)
    except NotInstalled as missing:
        if in_ci():
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    server = serve(Redis)
    assert isinstance(server, Redis)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    server = serve(RabbitMQ)
    assert isinstance(server, RabbitMQ)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fragile_rabbitmq() -> Iterator[RabbitMQ]:
    server = serve(lambda: Fragile(hosts=40))
    assert isinstance(server, RabbitMQ)
    yield server
    server.stop()


@pytest.fixture
def own(fragile_rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """A RabbitMQ that the test may do anything to; take a URL by `fresh()`. Others use it one after the other."""
    yield fragile_rabbitmq
    fragile_rabbitmq.thaw()
    if fragile_rabbitmq.process is None:
        fragile_rabbitmq.start()


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    return redis_server.fresh()


@pytest.fixture
def rabbitmq_url(rabbitmq_server: RabbitMQ) -> str:
    return rabbitmq_server.fresh()


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """The mark by which this test's processes are known; it is in this process's environment during the test."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    return mark


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """A command that runs in this process may say by the environment where the broker is, and what signals mean: not to the
    next test."""
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test nothing that it started may be running. Unit tests start nothing and are spared the look."""
    if UNIT in request.path.parents:
        yield
        return
    leftovers = Leftovers(request.getfixturevalue("mark"))
    yield
    leftovers.expect_none()


@pytest.fixture
def project(tmp_path: Path, mark: str, no_leftovers: None) -> Project:
    return Project(tmp_path, mark)


def pytest_configure(config: pytest.Config) -> None:
    """Compile multi before anything starts it: the tests start hundreds of processes, which write no bytecode themselves (a
    module that a test rewrites would be taken from its old one), and each would compile all that it imports anew."""
    if not hasattr(config, "workerinput"):  # once, not in each process of a parallel run
        for folder in ("multi", "deploy"):
            compileall.compile_dir(TESTS.parent / folder, quiet=2)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests a parallel run keeps in one process: each has one group at most, since two would make a third one."""
    for item in items:
        if " at 0x" in item.name:  # processes of a parallel run would not agree on what there is
            raise pytest.UsageError(f"{item.nodeid} holds an address: give its parameters ids that are always the same")
        if UNIT not in item.path.parents and (group := _group(item)) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group))


def _group(item: pytest.Item) -> str | None:
    """Those that need the same RabbitMQ (it takes seconds and 120 MB to start), or the same fixture of their module."""
    fixtures = getattr(item, "fixturenames", ())
    parameters = item.name.partition("[")[2]
    if "fragile_rabbitmq" in fixtures:
        return "fragile_rabbitmq"
    # by its parameter where a test asks for it as it goes
    if "rabbitmq_server" in fixtures or "rabbitmq" in parameters or "amqp" in parameters:
        return "rabbitmq_server"
    found = getattr(item, "_fixtureinfo", None)
    definitions = [each[-1] for each in found.name2fixturedefs.values()] if found is not None else []
    if any(each.argname == "fleet" and each.scope == "session" for each in definitions):
        return "fleet"
    return item.path.stem if any(each.scope == "module" for each in definitions) else None
