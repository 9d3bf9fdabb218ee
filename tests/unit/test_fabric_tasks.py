"""The tasks for a fabfile: what is said to those who use them wrongly is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

fabric = pytest.importorskip("fabric")
tasks = pytest.importorskip("multi.deploy.tasks")


@pytest.mark.parametrize("name", ["push", "restart", "reload", "audit"])
def test_without_hosts_it_is_told_how_they_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("multi.toml").write_text("[nodes.w]\napp = 'proj'\n[hosts.s1]\n")
    Path("fabfile.py").write_text("from multi.deploy.tasks import *\n")
    from fabric.main import program

    with pytest.raises(SystemExit) as end:
        program.run(["fab", name])
    assert end.value.code == 2
    assert capsys.readouterr().err.strip() == f"on which hosts? Name them: fab -H app1,app2 {name}"
