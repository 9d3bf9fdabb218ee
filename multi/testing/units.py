"""The contract of a format in which nodes are written for other managers (`multi.units.base`).

A subclass gives the fixture `format`, an instance; `target`, where the usual one doesn't do:

    class TestMine(UnitContract):
        @pytest.fixture
        def format(self):
            return NomadFormat()
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from multi import plugins
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units.base import ERROR, File, Target, UnitFormat
from multi.units.templates import every

PASSWORD = "geheim-12"
Make = Callable[..., NodeSpec]


class UnitContract:
    """What `multi render`, `multi install` and deploys rely on."""

    @pytest.fixture
    def target(self) -> Target:
        return Target(
            "shop",
            host="h1",
            manager_version=252,
            multi="/opt/multi/bin/multi",
            state_dir="/var/lib/shop",
            log_dir="/var/log/shop",
        )

    @pytest.fixture
    def make(self) -> Make:
        def make(short: str = "w1", **changes: Any) -> NodeSpec:
            values: dict[str, Any] = {"executable": "/srv/shop/venv/bin/python", "cwd": "/srv/shop/current"}
            return NodeSpec(NodeName(short, "h1"), **(values | {"options": {"app": "shop"}} | changes))

        return make

    @pytest.fixture
    def nodes(self, make: Make) -> list[NodeSpec]:
        return [
            make("w1"),
            make("w2"),
            make("images", options={"app": "shop", "queues": "a b,100%", "broker": f"redis://:{PASSWORD}@h/0"}),
            make("celery", engine="celery", env={"API_TOKEN": PASSWORD, "PLAIN": "x y%"}),
            make("beat", engine="celery", kind="beat"),
            make("other", command=["/usr/bin/env", "true", "$HOME", "%n"]),
        ]

    def test_it_is_found_by_its_name(self, format: UnitFormat) -> None:
        assert plugins.find("multi.units", format.name) is type(format)

    def test_its_templates_are_there(self, format: UnitFormat) -> None:
        assert set(format.templates) <= set(every())

    def test_its_files_have_places_and_reasons(self, format: UnitFormat, nodes: list[NodeSpec], target: Target) -> None:
        files = format.render(nodes, target)
        assert files
        assert len({file.path for file in files}) == len(files)
        for file in files:
            assert posixpath.isabs(file.path)
            assert posixpath.normpath(file.path) == file.path
            assert file.why
            assert file.text.endswith("\n")
            assert "\r" not in file.text
            assert not file.mode & 0o022, "nobody else may write what a manager runs"
            assert set(file.nodes) <= {node.name.short for node in nodes}

    def test_the_same_nodes_give_the_same_files(
        self, format: UnitFormat, nodes: list[NodeSpec], target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = format.render(nodes, target)
        monkeypatch.setenv("HOME", "/elsewhere")
        monkeypatch.setenv("USER", "somebody")
        monkeypatch.chdir("/")
        assert format.render(nodes, target) == before

    def test_rendering_writes_nothing(
        self, format: UnitFormat, nodes: list[NodeSpec], target: Target, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        format.render(nodes, replace(target, unit_dir=str(tmp_path / "units")))
        assert not os.listdir(tmp_path)

    def test_a_secret_stands_only_in_files_that_are_secret(
        self, format: UnitFormat, nodes: list[NodeSpec], target: Target
    ) -> None:
        for file in format.render(nodes, target):
            if PASSWORD in file.text:
                assert file.secret
                assert not file.mode & 0o077
        assert PASSWORD not in str(format.notes(nodes, target))
        assert PASSWORD not in str(format.units(nodes, target))

    def test_where_it_names_units_it_does_so_for_every_node(
        self, format: UnitFormat, nodes: list[NodeSpec], target: Target
    ) -> None:
        units = format.units(nodes, target)
        meanings = format.effective(format.render(nodes, target))
        if units:
            assert [*units] == [node.name.short for node in nodes]
        if meanings:
            assert {*meanings} == {*units.values()}

    def test_what_units_mean_tells_which_nodes_have_changed(
        self, format: UnitFormat, nodes: list[NodeSpec], target: Target, make: Make
    ) -> None:
        units = format.units(nodes, target)
        if not format.effective(format.render(nodes, target)):
            return  # nobody applies it node by node
        assert len(set(units.values())) == len(nodes)
        before = format.effective(format.render(nodes, target))
        changed = [
            make("w2", options={"app": "shop", "concurrency": "7"}) if node is nodes[1] else node for node in nodes
        ]
        after = format.effective(format.render(changed, target))
        assert [name for name in after if after[name] != before.get(name)] == [units["w2"]]
        gone = format.effective(format.render(nodes[:-1], target))
        assert gone == {name: text for name, text in before.items() if name != units["other"]}

    def test_its_own_check_finds_no_error(self, format: UnitFormat, nodes: list[NodeSpec], target: Target) -> None:
        problems = format.check(format.render(nodes, target))
        assert [str(problem) for problem in problems if problem.level == ERROR] == []

    def test_its_check_leaves_nothing_behind(
        self, format: UnitFormat, nodes: list[NodeSpec], target: Target, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        files: list[File] = format.render(nodes, target)
        format.check(files)
        assert not os.listdir(tmp_path)
        assert not any(os.path.exists(file.path) for file in files)
