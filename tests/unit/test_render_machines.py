"""`multi render` for other machines than this one: what is known of them, and what is said where it isn't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import Shop

CELERY = """
    name = "shop"
    [nodes.c]
    app = "proj"
    user = "shop"
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


@pytest.mark.parametrize("form", ["systemd", "supervisord", "compose", "kubernetes", "runit"])
def test_without_multi_there_its_own_worker_is_said_to_need_the_package(project: Shop, form: str) -> None:
    project.describe(
        '[nodes.m]\napp = "proj"\nuser = "shop"\n[nodes.c]\napp = "proj"\nengine = "celery"\nuser = "shop"'
    )
    assert "note: m: runs multi's own worker" in project.multi("render", form, "--agentless").stderr
    assert "multi's own worker" not in project.multi("render", form).stderr
    assert "multi's own worker" not in project.multi("render", form, "--agentless", "--node", "c").stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("w1", "-A", "proj", "-P", "nonsense"), "w1: will not start: "),
        (
            ("w1", "w2", "-A", "proj", "-P:w2", "threads", "--time-limit:w2", "5"),
            "w2: will not start: --time-limit can't be enforced in the pool 'threads'",
        ),
        (("b1", "b2", "-A", "proj", "--engine", "celery", "--kind", "beat"), "b1, b2: each run a beat of proj"),
        (("w1", "w2", "-A", "proj"), "w1, w2: nothing says as whom"),
    ],
)
def test_what_goes_wrong_under_every_manager_is_said_when_it_is_written_down(
    project: Shop, words: tuple[str, ...], expected: str
) -> None:
    assert f"note: {expected}" in project.multi("render", "systemd", *words).stderr
    assert expected in "".join(json.loads(project.multi("render", "supervisord", *words, "--json").stdout)["notes"])


def test_nothing_is_said_where_nothing_goes_wrong(project: Shop) -> None:
    for words in (("systemd", "--uid", "shop"), ("systemd", "--user", "-q"), ("compose", "--broker", "redis://h")):
        assert "note:" not in project.multi("render", words[0], "w1", "-A", "proj", *words[1:]).stderr
    assert "as whom" not in project.multi("render", "logrotate", "w1", "-A", "proj").stderr


def test_there_is_no_version_below_one(project: Shop) -> None:
    assert "-5" in project.multi("render", "systemd", "w1", "-A", "proj", "--manager-version", "-5", code=2).stderr
