"""`multi call`, `result`, `revoke` and `tasks` with a worker at work: one for all tests, on a file."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project
from support.terminal import Terminal
from support.wait import until
from support.workers import Bench, bench

from multi.brokers.sqlite import SQLiteBroker
from multi.outcome import Publication
from multi.testing.rig import message


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("shell")
    project = Project(folder, "a worker for several tests")
    url = f"sqlite:///{folder}/queue.db"
    SQLiteBroker(url, {"create": "all"}).check()
    with bench(project, url, url) as found:
        found.start("-c", "2", name="w1")
        yield found


def test_a_call_waits_for_the_result_when_asked(made: Bench) -> None:
    done = made.project.multi("call", "-A", made.module, f"{made.module}.add", "-a", "[2, 3]", "--wait")
    sent, result = done.stdout.splitlines()
    assert result == "5"
    assert made.project.multi("result", "-A", made.module, sent).stdout == "5\n"
    told = json.loads(made.project.multi("result", "-A", made.module, sent, "--json").stdout)
    assert (told["state"], told["result"]) == ("SUCCESS", 5)


def test_the_exit_code_tells_how_the_task_has_ended(made: Bench) -> None:
    failed = made.project.multi("call", "-A", made.module, f"{made.module}.fail", "--wait", code=1)
    (sent,) = failed.stdout.splitlines()
    assert "ValueError('bad', 1)" in failed.stderr
    shown = made.project.multi("result", "-A", made.module, sent, "--traceback", code=1).stdout
    assert 'raise ValueError("bad", 1)' in shown
    waits = ("call", "-A", made.module, f"{made.module}.hold", "-a", '["long"]', "--wait", "--timeout", "0.2", "--json")
    told = json.loads(made.project.multi(*waits, code=3).stdout)
    made.let_go("long")
    assert made.project.multi("result", "-A", made.module, told["id"], "--wait", "--timeout", "30").stdout == "long\n"


def test_progress_is_shown_on_a_terminal_while_it_is_waited_for(made: Bench) -> None:
    words = ("call", "-A", made.module, f"{made.module}.steps", "-a", '[2, "shown"]', "--wait")
    with Terminal(made.project, *words, columns=100) as terminal:

        def shows(text: str) -> bool:
            terminal.read(0.05)
            return text in terminal.text

        for step, shown in enumerate(("0/2 (0 %) steps", "1/2 (50 %) steps")):
            until(lambda shown=shown: shows(shown), 30, what=f"{shown} is shown")  # type: ignore[misc]
            (made.project.path / f"shown-go-{step}").touch()
        assert terminal.process.wait(30) == 0
        assert shows("\n2")


def test_a_worker_tells_its_tasks_and_checks_calls_of_others(made: Bench) -> None:
    rows = json.loads(made.project.multi("tasks", "-A", made.module, "w1@test", "--json").stdout)
    assert {"name": f"{made.module}.add", "signature": "(x, y)", "options": {}} in rows
    paced = next(row for row in rows if row["name"] == f"{made.module}.paced")
    assert paced["options"] == {"rate_limit": "20/s"}
    short = made.project.multi("tasks", "-A", made.module, "w1", "--task", "*.add").stdout
    assert "(x, y)" in short
    wrong = made.project.multi("call", "-b", made.broker, f"{made.module}.add", "-a", "[1]", code=2).stderr
    assert f"{made.module}.add(x, y), as w1@test has it: missing a required argument: 'y'" in wrong
    unknown = made.project.multi("call", "-b", made.broker, f"{made.module}.ad", "-a", "[1]", code=2).stderr
    assert f"did you mean '{made.module}.add'?" in unknown
    done = made.project.multi("call", "-b", made.broker, f"{made.module}.add", "-a", "[1, 1]", "--wait")
    assert done.stdout.splitlines()[1] == "2"
    assert done.stderr == ""
    forced = made.project.multi("call", "-b", made.broker, "no.such", "--force")
    assert "sent all the same" in forced.stderr
    until(lambda: [one for one in made.dead() if one.task == "no.such"], 30, what="it is set aside")


def test_a_running_task_is_ended_by_revoke(made: Bench) -> None:
    sent = made.tasks.hold.delay("revoked")
    made.wait_begun("revoked", timeout=30)
    first = made.project.multi("revoke", "-A", made.module, sent.id).stdout
    assert first.startswith(f"{sent.id}: revoked")
    ended = made.project.multi("revoke", "-A", made.module, sent.id, "--terminate", "--signal", "KILL")
    assert sent.id in ended.stdout
    waited = made.project.multi("result", "-A", made.module, sent.id, "--wait", "--timeout", "30", code=1)
    assert f"{sent.id} was revoked" in waited.stderr
    assert "has ended already: REVOKED" in made.project.multi("revoke", "-A", made.module, sent.id).stdout


def test_purging_asks_on_a_terminal_and_drops_nothing_without_a_yes(made: Bench) -> None:
    for _ in range(2):
        made.app.send_task("any", queue="to-purge")
    words = ("purge", "-A", made.module, "-Q", "to-purge")
    for answer, said, left in (
        ("n\n", "nothing is dropped", 2),
        ("\n", "nothing is dropped", 2),
        ("y\n", "2 dropped", 0),
    ):
        with Terminal(made.project, *words, columns=100) as terminal:
            terminal.until("(2 of to-purge) for good? [y/N]:", 30)
            terminal.press(answer)
            terminal.until(said, 30)
            assert terminal.process.wait(30) == (0 if answer == "y\n" else 1)
        assert made.app.broker.depth("to-purge") == left
    refused = made.project.multi(*words, "--dry-run").stdout
    assert refused == "to-purge: 0 would be dropped\n"


def test_a_wait_that_is_interrupted_leaves_the_task_alone(made: Bench) -> None:
    waiting = made.project.popen("call", "-A", made.module, f"{made.module}.hold", "-a", '["left"]', "--wait")
    made.wait_begun("left", timeout=30)
    waiting.send_signal(signal.SIGINT)
    sent, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert f"the task goes on: multi result {sent.strip()} --wait" in said
    made.let_go("left")
    assert made.project.multi("result", "-A", made.module, sent.strip(), "--wait", "--timeout", "30").stdout == "left\n"


def test_a_migration_for_ever_brings_what_comes_until_it_is_interrupted(project: Project) -> None:
    here, there = (SQLiteBroker(f"sqlite:///{project.path}/{name}.db", {"create": "all"}) for name in ("here", "there"))
    here.check()
    moving = project.popen("migrate", "-a", "-F", here.url, there.url, "--json")
    for number in range(1, 4):
        here.publish([Publication("celery", message())])
        until(lambda number=number: there.depth("celery") == number, 30, what=f"message {number} came")  # type: ignore[misc]
    moving.send_signal(signal.SIGINT)
    told, said = moving.communicate(timeout=30)
    assert moving.returncode == 0, said
    assert json.loads(told)["migrated"] == 3
    assert here.depth("celery") == 0
    for broker in (here, there):
        broker.close()
