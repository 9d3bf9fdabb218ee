"""The contracts on the embedded broker and backend."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multi.backends.sqlite import SQLiteBackend
from multi.brokers.base import Broker
from multi.brokers.sqlite import SQLiteBroker
from multi.testing import BackendContract, BrokerContract


class TestBroker(BrokerContract):
    @pytest.fixture
    def factory(self, tmp_path: Path) -> Callable[[float], SQLiteBroker]:
        return lambda lease: SQLiteBroker(f"sqlite:///{tmp_path}/q.db", {"create": "all"}, lease=lease)

    @pytest.fixture
    def results(self, tmp_path: Path) -> Iterator[SQLiteBackend]:
        backend = SQLiteBackend(f"sqlite:///{tmp_path}/q.db", {"create": "all"})
        yield backend
        backend.close()

    def plant(self, broker: Broker, queue: str, raw: bytes) -> None:
        assert isinstance(broker, SQLiteBroker)
        broker.check()
        connection = sqlite3.connect(broker.path)
        with connection:
            connection.execute("INSERT INTO messages (queue, rank, envelope) VALUES (?, 0, ?)", (queue, raw))
        connection.close()


class TestBackend(BackendContract):
    @pytest.fixture
    def factory(self, tmp_path: Path) -> Callable[[int], SQLiteBackend]:
        return lambda expires: SQLiteBackend(f"sqlite:///{tmp_path}/q.db", {"create": "all"}, expires=expires)
