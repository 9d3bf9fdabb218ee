from __future__ import annotations

import subprocess
import sys

import pytest

from multi import plugins
from multi.errors import ConfigurationError


def test_our_own_brokers_come_in_by_their_entry_point() -> None:
    from multi.brokers.memory import MemoryBroker

    assert plugins.find("multi.brokers", "memory") is MemoryBroker


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no broker has the URL scheme 'http'.*memory.*redis"):
        plugins.find("multi.brokers", "http")


def test_our_own_list_is_read_as_the_standard_library_reads_it() -> None:
    from importlib.metadata import distribution

    wanted = {(point.group, point.name): point.value for point in distribution(plugins.DISTRIBUTION).entry_points}
    assert plugins._read() == wanted
    assert ("multi.brokers", "redis+socket") in wanted


def test_extras_and_comments_in_a_list_are_no_part_of_a_target() -> None:
    text = "[a]\n# x = y\nname = module:attribute [extra]\n\n[ b ]\nname=other"
    assert plugins._parse(text) == {("a", "name"): "module:attribute", ("b", "name"): "other"}


def test_a_broker_is_found_without_the_slow_way() -> None:
    code = "import sys; from multi import plugins; plugins.find('multi.brokers', 'memory')"
    code += "; print('importlib.metadata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_our_own_list_the_slow_way_finds_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_own", {})
    monkeypatch.setattr(plugins, "_found", {})
    assert plugins.find("multi.backends", "memory").__name__ == "MemoryBackend"
