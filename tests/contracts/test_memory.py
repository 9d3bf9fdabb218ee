"""The contracts on the broker and backend inside one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from multi.backends.memory import MemoryBackend
from multi.brokers.base import Broker
from multi.brokers.memory import MemoryBroker
from multi.connections import memory
from multi.errors import BackendUnavailable, BrokerRefused, ConfigurationError
from multi.testing import BackendContract, BrokerContract
from multi.testing.rig import QUEUE, in_child, message, send


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    url = f"memory://{abs(hash(request.node.nodeid))}"
    memory.forget(url)
    return url


class TestBroker(BrokerContract):
    @pytest.fixture
    def factory(self, url: str) -> Callable[[float], MemoryBroker]:
        return lambda lease: MemoryBroker(url, lease=lease)

    @pytest.fixture
    def results(self, url: str) -> Iterator[MemoryBackend]:
        backend = MemoryBackend(url)
        yield backend
        backend.close()

    def plant(self, broker: Broker, queue: str, raw: bytes) -> None:
        hub = memory.hub(broker.url)
        with hub.lock:
            hub.add(queue, 0, raw)


class TestBackend(BackendContract):
    shared = False

    @pytest.fixture
    def factory(self, url: str) -> Callable[[int], MemoryBackend]:
        return lambda expires: MemoryBackend(url, expires=expires)


def test_what_lives_in_one_process_is_refused_in_another(url: str) -> None:
    """A forked process has a copy that nobody else sees: better no result than one that is lost."""
    broker, backend = MemoryBroker(url), MemoryBackend(url)
    send(broker, message())

    def inside() -> None:
        with pytest.raises(BrokerRefused, match="another one; use a place that processes can share"):
            send(broker, message())
        with pytest.raises(BackendUnavailable, match="another one"):
            backend.store([backend.encode("id", b"{}")])
        with pytest.raises(BackendUnavailable, match="another one"):
            backend.fetch(["id"])

    in_child(inside)
    assert broker.depth(QUEUE) == 1


def test_names_are_places_of_their_own() -> None:
    one, other = MemoryBackend("memory://one"), MemoryBackend("memory://other")
    one.store([one.encode("id", b"{}")])
    assert MemoryBackend("memory://one").fetch(["id"]) == [b"{}"]
    assert other.fetch(["id"]) == [None]
    memory.forget("memory://one")
    assert MemoryBackend("memory://one").fetch(["id"]) == [None]


def test_a_name_is_all_that_its_url_has() -> None:
    with pytest.raises(ConfigurationError, match="takes a name only"):
        MemoryBroker("memory://user:secret@host:99/")
