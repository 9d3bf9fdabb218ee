"""Units of projects and nodes whose names are written in any script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from multi.controller import units
from multi.controller.project import of
from multi.deploy.hosts.facts import NodeFact
from multi.deploy.planning.managers import node_of
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units import find
from multi.units.base import Target
from multi.units.checks import check_systemd
from multi.units.unit_names import escaped, unescaped

NODES = [
    NodeSpec(NodeName(name, "host"), executable="/bin/true", cwd="/", options={"app": "a"}) for name in ("w", "wörk")
]


@pytest.mark.parametrize("name", ["shop", "Ünï-shop", "店", "a.b_c-d", "x\\y", "50% off"])
def test_a_name_is_escaped_and_found_again(name: str) -> None:
    assert escaped(name).isascii()
    assert unescaped(escaped(name)) == name


def test_systemd_takes_the_units_of_a_project_whose_name_isnt_ascii(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = of("Ünï shop", str(tmp_path))
    assert project.key == "Ünï-shop"
    target = Target(project.key, "host", manager_version=252)
    files = find("systemd").render(NODES, target)
    assert [str(one) for one in check_systemd(files) if one.level == "error"] == []
    folder = tmp_path / "units"
    folder.mkdir()
    for file in find("systemd").render(NODES, replace(target, unit_dir=str(folder))):
        Path(file.path).write_text(file.text)
    names = [path.name for path in folder.iterdir()]
    assert r"multi-\xc3\x9cn\xc3\xaf-shop.target" in names
    assert r"multi-\xc3\x9cn\xc3\xaf_shop.slice" in names
    monkeypatch.setattr(units, "_SYSTEM", (str(folder),))
    assert project.key in units.projects()
    found = dict(units._in_folders(project, [str(folder)], only_wanted=True))
    assert found == {unit: node for node, unit in find("systemd").units(NODES, target).items()}
    for unit, node in found.items():
        fact = NodeFact(unit, "systemd", "running")
        assert node_of(project.key, fact) == node
        assert node_of("other", fact) is None
