"""What a fabfile gets of the deploy toolkit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fabric")


def listed(folder: Path, text: str) -> dict[str, str]:
    """The tasks that fab finds in a fabfile, with their words."""
    (folder / "fabfile.py").write_text(text)
    program = "from fabric.main import program; program.run(['fab', '--list', '--list-format=json'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    )
    return {one["name"]: one["help"] for one in json.loads(done.stdout)["tasks"]}


def test_one_line_of_import_gives_a_fabfile_all_tasks_and_its_own_win(tmp_path: Path) -> None:
    text = "from multi.deploy import tasks\nfrom fabric import task\n@task\ndef audit(c):\n    'My own.'\n"
    found = listed(tmp_path, text)
    assert sorted(found) == ["audit", "push", "reload", "restart"]
    assert found["audit"] == "My own."


def test_tasks_that_are_named_come_alone(tmp_path: Path) -> None:
    assert list(listed(tmp_path, "from multi.deploy.tasks import push\n")) == ["push"]


def test_elsewhere_the_import_puts_nothing_anywhere() -> None:
    program = "from multi.deploy import tasks; assert 'push' not in globals(), globals()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
