"""Contract suites for brokers, result backends and engines, ours and anybody's; they need pytest.

A suite is a class whose subclass says how to make what is to be tested:

    from multi.testing import BrokerContract

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        def factory(self, tmp_path):
            return lambda lease: MyBroker(f"mine://{tmp_path}", lease=lease)

Each test looks at the broker's `abilities` first, and is skipped where the broker doesn't promise what it is about.
"""

from __future__ import annotations

from multi.testing.backends import BackendContract
from multi.testing.brokers import BrokerContract
from multi.testing.engines import EngineContract

__all__ = ["BackendContract", "BrokerContract", "EngineContract"]
