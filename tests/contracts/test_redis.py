"""The contracts on Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from multi.backends.redis import RedisBackend
from multi.brokers.base import Broker
from multi.brokers.redis import RedisBroker
from multi.connections.redis import Address, Redis
from multi.testing import BackendContract, BrokerContract


class TestBroker(BrokerContract):
    @pytest.fixture
    def factory(self, redis_url: str) -> Callable[[float], RedisBroker]:
        return lambda lease: RedisBroker(redis_url, lease=lease)

    @pytest.fixture
    def results(self, redis_url: str) -> Iterator[RedisBackend]:
        backend = RedisBackend(redis_url)
        yield backend
        backend.close()

    def plant(self, broker: Broker, queue: str, raw: bytes) -> None:
        redis = Redis(Address.from_url(broker.url, {}))
        redis.connect()
        redis.call("LPUSH", queue, raw)
        redis.close()


class TestBackend(BackendContract):
    @pytest.fixture
    def factory(self, redis_url: str) -> Callable[[int], RedisBackend]:
        return lambda expires: RedisBackend(redis_url, expires=expires)
