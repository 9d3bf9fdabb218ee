"""The contracts on the broker and backend inside one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from multi.backends.memory import MemoryBackend
from multi.brokers.base import Broker
from multi.brokers.memory import MemoryBroker
from multi.connections import memory
from multi.testing import BackendContract, BrokerContract


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
