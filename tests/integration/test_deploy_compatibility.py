"""What an app tells of the messages that wait for it, asked of real queues with the apps of both libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multi.deploy.releases.compatibility import App, answer, compare, question
from multi.nodes.description import describe

_APP = """
import {library} as library
app = library.{name}("proj", broker={url!r})
app.conf.task_default_queue = "main"
@app.task
def add(a, b=1): pass
@app.task(bind=True)
def bound(self, a, *, k): pass
@app.task
def gone(a): pass
"""
_SEND = """
import proj
proj.add.delay(1)
proj.add.apply_async((1,), {"b": 2}, countdown=1000)
proj.bound.apply_async((1,), {"k": 2}, queue="other", priority=3)
proj.gone.delay(1)
proj.gone.delay(2)
"""


def told(folder: Path) -> App:
    nodes = [
        node.spec for node in describe("[nodes.w]\napp = 'proj'\nqueues = ['other']\n", f"{folder}/multi.toml").nodes
    ]
    command = question(nodes, str(folder), sys.executable)
    assert command is not None
    done = subprocess.run(
        list(map(str, command.argv)), cwd=folder, input=command.stdin, capture_output=True, timeout=60, check=False
    )
    found = answer(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert found.error is None, found.error
    return found


@pytest.mark.parametrize(
    ("kind", "library", "name"), [("redis", "celery", "Celery"), ("redis", "multi", "App"), ("sqlite", "multi", "App")]
)
def test_what_waits_is_compared_with_the_release(
    kind: str, library: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(request.getfixturevalue("redis_url")) if kind == "redis" else f"sqlite:///{tmp_path}/queue.db"
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    text = _APP.format(library=library, name=name, url=url)
    if kind == "sqlite":
        text += "app.conf.broker_transport_options = {'create': 'all'}\n"
    (old / "proj.py").write_text(text)
    subprocess.run([sys.executable, "-c", _SEND], cwd=old, check=True, timeout=60)
    before = told(old)
    assert before.not_looked is None
    assert {task: one["count"] for task, one in before.waiting["tasks"].items()} == {
        "proj.add": 2,
        "proj.bound": 1,
        "proj.gone": 2,
    }
    assert compare(None, before) == []
    changed = text.replace("def gone(a)", "def other(a)").replace("def add(a, b=1)", "def add(a)")
    (new / "proj.py").write_text(changed)
    found = compare(before, told(new))
    assert [(one.task, one.messages) for one in found if one.stops] == [("proj.add", 2), ("proj.gone", 2)]
    if kind == "redis":
        assert before.redis["maxmemory_policy"] == "noeviction"
