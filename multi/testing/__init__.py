"""For tests. Of projects: `multi.testing.pytest` (fixtures), `LocalWorker`, `Outbox`. Of brokers, result backends and engines,
ours and anybody's: contract suites, which need pytest. A suite is a class whose subclass says how to make what is to be tested:

    from multi.testing import BrokerContract

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        def factory(self, tmp_path):
            return lambda lease: MyBroker(f"mine://{tmp_path}", lease=lease)

Each test looks at the broker's `abilities` first, and is skipped where the broker doesn't promise what it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.testing.backends import BackendContract
    from multi.testing.brokers import BrokerContract
    from multi.testing.engines import EngineContract
    from multi.testing.outbox import Outbox
    from multi.testing.worker import LocalWorker

__all__ = ["BackendContract", "BrokerContract", "EngineContract", "LocalWorker", "Outbox"]

_PLACES = {
    "BackendContract": "backends",
    "BrokerContract": "brokers",
    "EngineContract": "engines",
    "LocalWorker": "worker",
    "Outbox": "outbox",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'multi.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"multi.testing.{_PLACES[name]}"), name)
