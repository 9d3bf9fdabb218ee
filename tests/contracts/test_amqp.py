"""The contracts on RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import amqp
import pytest

from multi import identity
from multi.backends.base import Backend
from multi.backends.rpc import RPCBackend
from multi.brokers.amqp import AMQPBroker
from multi.brokers.base import Broker
from multi.testing import BackendContract, BrokerContract


class TestBroker(BrokerContract):
    @pytest.fixture
    def factory(self, rabbitmq_url: str) -> Callable[[float], AMQPBroker]:
        return lambda lease: AMQPBroker(rabbitmq_url, {"max_priority": 9}, lease=lease)

    def plant(self, broker: Broker, queue: str, raw: bytes) -> None:
        assert isinstance(broker, AMQPBroker)
        address = broker.addresses[0]
        with amqp.Connection(f"{address.host}:{address.port}", virtual_host=address.vhost) as connection:
            channel = connection.channel()
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-max-priority": 9})
            channel.basic_publish(amqp.Message(raw, application_headers={b"\xff": 1}), routing_key=queue)


class Sent(RPCBackend):
    """An rpc backend in a process that has sent every task that it is asked about."""

    def fetch(self, task_ids: Sequence[str]) -> list[bytes | None]:
        self.expect(task_ids)
        return super().fetch(task_ids)

    def wait(self, task_id: str, timeout: float | None, interval: float | None = None) -> Iterator[bytes]:
        self.expect([task_id])
        return super().wait(task_id, timeout, interval)


class TestBackend(BackendContract):
    keeps = False
    _oid = ""

    @pytest.fixture
    def factory(self, rabbitmq_url: str) -> Callable[[int], RPCBackend]:
        self._oid = identity.oid()
        return lambda expires: Sent("rpc://", {"broker_url": rabbitmq_url}, expires=expires)

    def reply_to(self, backend: Backend) -> str | None:
        if self._oid == identity.oid():
            backend.expect([])
        return self._oid
