"""The contract of an engine (`multi.nodes.engines.base`).

A subclass gives two fixtures: `engine`, an instance, and `make`, which gives a specification that the engine can run, with
the arguments of `NodeSpec` that a test wants to have changed:

    class TestMine(EngineContract):
        @pytest.fixture
        def engine(self):
            return RqEngine()

        @pytest.fixture
        def make(self, tmp_path):
            def make(**changes):
                values = {"executable": sys.executable, "cwd": str(tmp_path), "options": {"app": "proj"}, "engine": "rq"}
                return NodeSpec(NodeName("w1", "h"), **(values | changes))
            return make
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from multi import plugins
from multi.errors import ConfigurationError
from multi.nodes.engines.base import Engine
from multi.nodes.spec import KINDS, NodeSpec

MEANINGS = {"warm", "cold", "dump", "reopen", "grow", "shrink"}


class EngineContract:
    """What the keeper and the commands rely on."""

    def test_it_is_found_by_its_name(self, engine: Engine) -> None:
        assert plugins.find("multi.engines", engine.name) is type(engine)

    def test_it_knows_its_kinds_and_refuses_the_others(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        assert engine.kinds
        assert set(engine.kinds) <= set(KINDS)
        engine.check(make())
        for kind in set(KINDS) - set(engine.kinds):
            with pytest.raises(ConfigurationError):
                engine.check(make(kind=kind))

    def test_its_command_line_is_a_list_of_words_that_can_be_run(
        self, engine: Engine, make: Callable[..., NodeSpec]
    ) -> None:
        for log in ("/log/w1.log", "/log/w1%I.log", None):
            words = engine.argv(make(), log)
            assert words
            assert all(isinstance(word, str) and "\0" not in word for word in words)
            assert words == engine.argv(make(), log)

    def test_what_is_passed_on_stands_at_the_end(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        assert engine.argv(make(rest=["--more", "x y"]), None)[-2:] == ["--more", "x y"]

    def test_variables_that_were_given_are_passed_on(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        found = engine.environment(make(env={"MODE": "a=b"}))
        assert found["MODE"] == "a=b"
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in found.items())

    def test_no_password_stands_in_its_command_line(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        url = "redis://:geheim@h/0"
        spec = make(options={**make().options, "broker": url, "result_backend": url})
        assert not any("geheim" in word for word in engine.argv(spec, "/log/w1.log"))

    def test_the_keeper_understands_what_it_is_told(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        keeping = engine.keeping(make())
        ready = keeping["ready"]
        assert ready["by"] in ("notify", "alive")
        assert ready["by"] == "notify" or ready["after"] >= 0
        assert set(keeping["signals"]) == MEANINGS
        for number in keeping["signals"].values():
            assert number is None or signal.Signals(number)
        assert keeping["signals"]["warm"] is not None
        assert isinstance(keeping["overlap"], bool)
        assert keeping["log_rotation"] in ("reopen", "in_place")
        assert (keeping["log_rotation"] == "in_place") or keeping["signals"]["reopen"] is not None
        assert keeping["watchdog"] is None or keeping["watchdog"] > 0

    def test_another_stop_signal_may_be_wished(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        for given in ("INT", "SIGINT", 2, "2"):
            assert engine.keeping(make(policy={"stop_signal": given}))["signals"]["warm"] == signal.SIGINT
        with pytest.raises(ConfigurationError, match="NOTHING"):
            engine.check(make(policy={"stop_signal": "NOTHING"}))

    def test_its_record_is_complete_and_comes_back(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        spec = make(env={"A": "1"}, policy={"restart": "always"})
        record: dict[str, Any] = json.loads(json.dumps(spec.record("/log/w1.log", "/run/pid")))
        assert record["engine"] == engine.name
        assert record["kind"] in engine.kinds
        assert record["argv"] == engine.argv(spec, "/log/w1.log")
        assert record["restart"] == "always"
        assert set(record["engines"]) == set(engine.becomes)
        assert vars(NodeSpec.from_record(record)) == vars(spec)

    def test_a_singleton_never_overlaps(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        record = make(singleton=True).record("/log/w1.log", "/run/pid")
        assert record["singleton"] is True
        assert record["overlap"] is False

    def test_it_touches_nothing(self, engine: Engine, make: Callable[..., NodeSpec]) -> None:
        spec = make()
        before, variables = json.dumps(vars(spec), default=str), dict(os.environ)
        engine.check(spec)
        engine.argv(spec, "/log/w1.log")
        engine.environment(spec)
        engine.keeping(spec)
        assert json.dumps(vars(spec), default=str) == before
        assert dict(os.environ) == variables
