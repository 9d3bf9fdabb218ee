from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multi import plugins
from multi.cli.check import findings
from multi.errors import ConfigurationError
from multi.nodes.description import describe
from multi.nodes.engines import find


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


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution of somebody else's, with engines none of which can be used."""
    (tmp_path / "bad_eng.py").write_text("raise RuntimeError('boom')\n")
    (tmp_path / "odd_eng.py").write_text("class Odd: pass\nclass Dear:\n    def __init__(self, price): pass\n")
    info = tmp_path / "bad_eng-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-eng\nVersion: 1.0\n")
    names = ("bad = bad_eng:Bad", "none = no_such_module:X", "odd = odd_eng:Odd", "dear = odd_eng:Dear")
    (info / "entry_points.txt").write_text("\n".join(["[multi.engines]", *names]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bad", r"as bad_eng:Bad: RuntimeError: boom$"),
        ("none", r"ModuleNotFoundError: No module named 'no_such_module'$"),
        ("odd", r"it is no engine, for it has no check, argv, environment, keeping"),
        ("dear", r"TypeError: .*price"),
    ],
)
@pytest.mark.usefixtures("others")
def test_what_somebody_elses_distribution_breaks_is_told_with_its_name(name: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^the engine '{name}' \(of bad-eng 1.0\) can't be loaded.*{why}"):
        find(name)


@pytest.mark.usefixtures("others")
def test_an_engine_that_is_broken_is_one_of_the_errors_of_a_description() -> None:
    text = '[nodes.a]\nengine = "bad"\napp = "x"\n\n[nodes.b]\napp = "x"\nconcurency = 3\n'
    told = "\n".join(map(str, findings(describe(text, "multi.toml"))))
    assert "multi.toml:2" in told
    assert "can't be loaded" in told
    assert "concurency" in told
