"""`multi dlq` and `multi queues` with a worker at work, on each broker."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from support.project import Project
from support.wait import until
from support.workers import bench

from multi.brokers.sqlite import SQLiteBroker


@pytest.fixture(params=["redis", "rabbitmq", "sqlite"])
def place(request: pytest.FixtureRequest, project: Project) -> str:
    """The URL of an empty broker of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{project.path}/queue.db"
    return str(request.getfixturevalue(f"{request.param}_url"))


def test_a_dead_letter_is_found_shown_sent_again_and_dropped(
    place: str, project: Project, request: pytest.FixtureRequest
) -> None:
    backend = request.getfixturevalue("redis_url") if place.startswith("amqp") else place
    with bench(project, place, backend) as made:
        worker = made.start("-c", "1")
        sent = made.tasks.fail_aside.delay()
        made.app.send_task("nobody.knows", [1], {"password": "sesame"})

        def rows(*words: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = json.loads(
                project.multi("dlq", "list", "--json", "-A", made.module, *words).stdout
            )
            return found

        until(lambda: len(made.dead()) == 2, 20, what="two dead letters")
        assert {row["task"] for row in rows()} == {f"{made.module}.fail_aside", "nobody.knows"}
        shown = project.multi("dlq", "show", sent.id, "-A", made.module).stdout
        assert "it failed with ValueError('aside')" in shown
        assert 'raise ValueError("aside")' in shown
        hidden = project.multi("dlq", "show", "--task", "nobody.*", "-A", made.module).stdout
        assert "{'password': ***}" in hidden
        assert "sesame" not in hidden
        # the worker that is still there runs it at once, and it fails again: another letter, which the first was not
        (before,) = [row for row in rows() if row["task_id"] == sent.id]
        assert "1 replayed" in project.multi("dlq", "replay", sent.id, "-A", made.module).stdout
        (again,) = until(
            lambda: [row for row in rows() if row["task_id"] == sent.id and row["time"] > before["time"]],
            20,
            what="the same task once more among the dead letters",
        )
        assert again["starts"] == 1
        (counts,) = [
            row
            for row in json.loads(project.multi("queues", "list", "--json", "-A", made.module).stdout)
            if row["name"] == "celery"
        ]
        assert (counts["waiting"], counts["dead"]) == (0, 2)
        assert counts["consumers"] == (None if place.startswith("sqlite") else 1)
        assert worker.stop() == 0
        assert "2 dropped" in project.multi("dlq", "purge", "--all", "--yes", "-A", made.module).stdout
        assert rows() == []
        made.tasks.add.delay(1, 2)
        assert project.multi("queues", "purge", "celery", "--yes", "-A", made.module).stdout == "celery: 1 dropped\n"
        assert made.depth() == 0


def test_the_interpreter_and_the_variables_of_a_described_node_are_taken(project: Project) -> None:
    """The interpreter is found by a script, as those of version managers are."""
    shim = project.write("shims/python", f'#!/bin/sh\necho "$@" >> {project.path}/asked\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    url = f"sqlite:///{project.path}/queue.db"
    project.write(
        "code/shop.py", "import os\nfrom multi import App\napp = App('shop', broker=os.environ['SHOP_BROKER'])\n"
    )
    project.write("shop.env", f"SHOP_BROKER={url}\n")
    project.write(
        "multi.toml",
        f'[nodes.w1]\napp = "shop"\nqueues = ["emails"]\npython = "{shim}"\ndirectory = "code"\nenv_files = ["shop.env"]\n',
    )
    SQLiteBroker(url, {"create": "all"}).check()
    found = json.loads(project.multi("queues", "list", "--json", timeout=30).stdout)
    assert [row["name"] for row in found] == ["celery", "emails"]
    assert (project.path / "asked").read_text() == "-m multi queues list --json\n"
    project.write("multi.toml", '[nodes.w1]\napp = "shop"\npython = "/nowhere/python"\n')
    assert "/nowhere/python" in project.multi("queues", "list", code=2).stderr
