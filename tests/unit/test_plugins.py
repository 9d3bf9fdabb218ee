from __future__ import annotations

import pytest

from multi import plugins
from multi.errors import ConfigurationError


def test_our_own_brokers_come_in_by_their_entry_point() -> None:
    from multi.brokers.memory import MemoryBroker

    assert plugins.find("multi.brokers", "memory") is MemoryBroker


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no broker has the URL scheme 'http'.*memory.*redis"):
        plugins.find("multi.brokers", "http")
