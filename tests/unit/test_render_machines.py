"""`multi render` for other machines than this one: what is known of them, and what is said where it isn't."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import Shop

CELERY = """
    name = "shop"
    [nodes.c]
    app = "proj"
    engine = "celery"
    python = "/srv/venv/bin/python"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTI_STATE_DIR", str(tmp_path / "state"))
    return Shop(tmp_path, capsys)


def test_multi_of_another_environment_has_its_launcher_beside_it(project: Shop, tmp_path: Path) -> None:
    project.describe(CELERY)
    launcher = tmp_path / "venv/lib/python3.12/site-packages/multi/nodes/engines/celery_node.py"
    launcher.parent.mkdir(parents=True)
    launcher.touch()
    multi = tmp_path / "venv/bin/multi"
    done = project.multi("render", "systemd", "--multi", str(multi))
    assert "\nType=notify\n" in done.stdout
    assert f"ExecStart=/srv/venv/bin/python {launcher} -A proj worker" in done.stdout
    assert not done.stderr


def test_where_the_launcher_of_another_machine_is_can_be_said(project: Shop) -> None:
    project.describe(CELERY)
    done = project.multi("render", "systemd", "--multi", "/no/such/bin/multi")
    assert "\nType=exec\n" in done.stdout
    assert "c: where the package of /no/such/bin/multi lies on that machine can't be seen from here" in done.stderr
    assert "--launcher" in done.stderr
    done = project.multi("render", "systemd", "--multi", "/no/such/bin/multi", "--launcher", "/l/celery_node.py")
    assert "ExecStart=/srv/venv/bin/python /l/celery_node.py -A proj worker" in done.stdout
    assert not done.stderr
    assert "without multi on that machine" in project.multi("render", "systemd", "--agentless").stderr


@pytest.mark.parametrize("option", ["-o", "--eject", "--templates", "--log-dir"])
def test_a_variable_without_a_value_is_no_directory(project: Shop, option: str) -> None:
    project.describe(CELERY)
    done = project.multi("render", "systemd", option, "", code=2)
    assert "is empty: name a directory" in done.stderr
    assert [one.name for one in project.path.iterdir()] == ["multi.toml"]
