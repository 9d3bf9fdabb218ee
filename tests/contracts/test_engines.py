"""The engines of this distribution keep the contract of an engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multi.nodes.engines.base import Engine
from multi.nodes.engines.celery import CeleryEngine
from multi.nodes.engines.command import CommandEngine
from multi.nodes.engines.multi import MultiEngine
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.testing.engines import EngineContract

Make = Callable[..., NodeSpec]


def maker(folder: Path, **fixed: Any) -> Make:
    def make(**changes: Any) -> NodeSpec:
        values: dict[str, Any] = {"executable": sys.executable, "cwd": str(folder), "options": {}, **fixed, **changes}
        return NodeSpec(NodeName("w1", "h"), **values)

    return make


class TestMulti(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return MultiEngine()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return maker(tmp_path, options={"app": "proj", "concurrency": "2"})


class TestMultiBeat(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return MultiEngine()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return maker(tmp_path, engine="multi", kind="beat", options={"app": "proj"})


class TestCeleryWorker(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return CeleryEngine()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return maker(tmp_path, engine="celery", options={"app": "proj", "pool": "prefork"})


class TestCeleryBeat(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return CeleryEngine()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return maker(tmp_path, engine="celery", kind="beat", options={"app": "proj"})


class TestCommand(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return CommandEngine()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return maker(tmp_path, engine="command", command=["sleep", "60"])
