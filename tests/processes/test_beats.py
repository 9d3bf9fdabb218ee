"""`multi beat`, schedulers as nodes and inside workers, and `multi schedule` while they run: real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.leash import children
from support.nodes import Nodes
from support.project import Project
from support.wait import until

PROJECT = """
    from multi import App, crontab, signals

    app = App("proj")
    app.conf.beat_schedule = {
        "quick": {"task": "proj.note", "schedule": 0.2, "args": ("quick",)},
        "nightly": {"task": "proj.note", "schedule": crontab(hour=3, minute=30), "args": ("nightly",)},
    }

    @app.task
    def note(text):
        with open("notes", "a") as file:
            file.write(f"{text}\\n")

    @signals.beat_init.connect
    @signals.beat_embedded_init.connect
    def begun(sender, signal, **more):
        with open("notes", "a") as file:
            file.write(f"{signal.name}\\n")
"""
SENDING = "Scheduler: Sending due task quick (proj.note)"


@pytest.fixture
def proj(project: Project) -> Project:
    project.write("proj.py", PROJECT)
    return project


def entry(project: Project, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.multi("schedule", "show", name, "-A", "proj", "--json").stdout)
    return found


def test_schedulers_are_nodes_and_when_one_is_killed_the_other_goes_on(nodes: Nodes) -> None:
    # a file that isn't there yet: a scheduler may be the first to come
    nodes.project.write("proj.py", PROJECT.replace('App("proj")', 'App("proj", broker="sqlite:///proj.db")'))
    nodes.run("start", "beat", "-A", "proj", "-l", "INFO")
    nodes.run("start", "b2", "-A", "proj", "-l", "INFO", "--kind", "beat")
    found = [nodes.status(name) for name in ("beat", "b2")]
    assert [(each["state"], each["kind"], each["engine"]) for each in found] == [("running", "beat", "multi")] * 2
    paths = {name: next(nodes.state.glob(f"log/*/{name}@*.log")) for name in ("beat", "b2")}

    def sent(name: str) -> int:
        return paths[name].read_text().count(SENDING)

    until(lambda: sum(map(sent, paths)) > 5, 30, what="something is sent")
    before = {name: sent(name) for name in paths}
    until(lambda: sum(map(sent, paths)) > sum(before.values()) + 5, 30, what="more is sent")
    sender = max(paths, key=lambda name: sent(name) - before[name])
    other = next(name for name in paths if name != sender)
    assert "beat: Starting..." in paths[other].read_text()
    count = sent(other)
    for pid in (nodes.keeper(sender), nodes.worker(sender)):
        os.kill(pid, signal.SIGKILL)
    until(lambda: sent(other) > count, 30, what="the other one has taken over")
    nodes.run("reload", other)
    assert nodes.status(other)["state"] == "running"
    nodes.run("start", "w1", "-A", "proj", "-c", "1", "-B")
    until(lambda: "the scheduler of -B" in nodes.run("ps", "w1").stdout, 30, what="it is shown among the processes")
    nodes.run("stopwait", other, "w1")


def test_a_running_scheduler_is_steered_reloaded_and_stopped(proj: Project) -> None:
    output = proj.path / "beat.log"
    with output.open("w") as file:
        process = proj.popen(
            *("beat", "-A", "proj", "-l", "INFO", "--pidfile", "beat.pid"), stdout=file, stderr=subprocess.STDOUT
        )
    said = output.read_text
    until(lambda: SENDING in said() or process.poll() is not None, 30, what="something is sent")
    assert (proj.path / "beat.pid").read_text() == f"{process.pid}\n"
    assert (proj.path / "notes").read_text() == "beat_init\n"

    proj.multi("schedule", "pause", "quick", "-A", "proj")
    proj.multi("schedule", "set", "mine", "--task", "proj.note", "--every", "0.3s", "-a", '["mine"]', "-A", "proj")
    until(lambda: "Sending due task mine" in said(), 30, what="what was added is sent")
    until(lambda: entry(proj, "mine")["count"] >= 2, 30, what="and counted")
    quiet = said().count(SENDING)
    until(lambda: entry(proj, "mine")["count"] >= 6, 30, what="time has passed")
    assert said().count(SENDING) == quiet
    assert entry(proj, "quick")["paused"] is True

    # another schedule in the code, and the same process with it after a HUP: what was paused and what was added stays
    proj.write("proj.py", PROJECT.replace("0.2", "0.4").replace('"nightly": {', '"monthly": {'))
    os.kill(process.pid, signal.SIGHUP)
    until(lambda: said().count("beat: Ready") == 2 or process.poll() is not None, 30, what="it has begun anew")
    assert sorted(each["name"] for each in json.loads(listed(proj))) == ["mine", "monthly", "quick"]
    assert (entry(proj, "quick")["paused"], entry(proj, "mine")["origin"]) == (True, "added")
    proj.multi("schedule", "resume", "quick", "-A", "proj")
    until(lambda: said().count(SENDING) > quiet, 30, what="what was paused is sent again")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, said()
    assert "beat: Shutting down..." in said()
    assert not (proj.path / "beat.pid").exists()


def listed(project: Project) -> str:
    return project.multi("schedule", "list", "-A", "proj", "--json").stdout


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_keeps_the_scheduler_that_is_in_it(proj: Project, pool: str) -> None:
    output = proj.path / "worker.log"
    with output.open("w") as file:
        process = proj.popen(
            *("worker", "-A", "proj", "-l", "INFO", "-c", "1", "-P", pool, "-B"), stdout=file, stderr=subprocess.STDOUT
        )
    said = output.read_text
    notes = proj.path / "notes"

    def noted() -> list[str]:
        return notes.read_text().split() if notes.exists() else []

    until(lambda: noted().count("quick") >= 2 or process.poll() is not None, 30, what="what is due is sent and run")
    assert "INFO/Beat] beat: Starting..." in said()
    first = noted()
    assert first.count("beat_embedded_init") == 1
    if pool == "prefork":
        (pid,) = {int(line) for line in scheduler_of(process.pid)}
        os.kill(pid, signal.SIGKILL)
        until(lambda: said().count("beat: Ready") == 2, 30, what="another one")
        assert "Beat was killed by SIGKILL" in said()
        count = noted().count("quick")
        until(lambda: noted().count("quick") > count + 1, 30, what="it goes on")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, said()
    assert "beat: Shutting down..." in said()


def scheduler_of(worker: int) -> list[int]:
    """The child of a worker that runs no tasks: it was forked first, or anew last, and is no child of its own numbering."""
    found = []
    for pid in children(worker):
        status = Path(f"/proc/{pid}/comm").read_text().strip()
        if status == "multi beat":
            found.append(pid)
    return found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("beat", "-A", "proj", "-S", "django"), "its entries are rows of Django's database"),
        (("beat", "-A", "proj", "-b", "memory://x"), "lives in a single process"),
        (("beat", "-A", "theirs"), "is Celery's own app, whose schedule multi's scheduler doesn't know"),
        (("beat", "-A", "wrong"), "day_of_week"),
        (("worker", "-A", "wrong", "-B"), "day_of_week"),
        (
            ("schedule", "run", "bad", "-A", "bad"),
            "the entry 'bad' can't be sent: t() takes 0 positional arguments but 1 was",
        ),
        (("beat", "-A", "proj", "-s", "."), "-s . is a folder; name the file in it, as in -s ./celerybeat-schedule"),
        (("worker", "-A", "proj", "-B", "-s", "."), "-s . is a folder"),
        (("schedule", "show", "quik", "-A", "proj"), "did you mean 'quick'?"),
        (("schedule", "set", "x", "-A", "proj", "--every", "1s"), "task is missing"),
        (("schedule", "set", "x", "-A", "proj", "--cron", "99 * * * *", "-t", "proj.note"), "minute"),
        (("schedule", "set", "x", "-A", "proj", "--every", "1s", "--cron", "* * * * *"), "give one of them"),
        (("schedule", "set", "x", "-A", "proj", "--solar", "noon"), "as in sunset,47.37,8.54"),
    ],
    ids=lambda value: "-".join(value[:4]) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_told_before_anything_starts(proj: Project, words: tuple[str, ...], said: str) -> None:
    proj.write("theirs.py", "import celery\napp = celery.Celery('theirs')\n")
    proj.write(
        "wrong.py",
        """
        from multi import App, crontab
        app = App("wrong")
        app.conf.beat_schedule = {"a": {"task": "wrong.t", "schedule": "* * * * monn"}}
        """,
    )
    proj.write(
        "bad.py",
        """
        from multi import App
        app = App("bad")
        app.conf.beat_schedule = {"bad": {"task": "bad.t", "schedule": 5, "args": (1,)}}

        @app.task
        def t(): ...
        """,
    )
    done = proj.multi(*words, code=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schedule_is_told_in_tables_and_json_with_the_next_runs_in_the_projects_zone(proj: Project) -> None:
    proj.write(
        "proj.py",
        PROJECT.replace('App("proj")', 'App("proj", timezone="Asia/Tokyo")'),
    )
    table = proj.multi("schedule", "list", "-A", "proj").stdout
    assert [line.split()[0] for line in table.splitlines()[:3]] == ["ENTRY", "nightly", "quick"]
    assert "not begun" in table
    (run,) = json.loads(proj.multi("schedule", "next", "nightly", "-n", "1", "-A", "proj", "--json").stdout)
    assert run["at"].endswith("T18:30:00+00:00")
    lines = proj.multi("schedule", "next", "nightly", "-n", "3", "-A", "proj").stdout.splitlines()
    assert "Asia/Tokyo" in lines[0]
    assert len(lines) == 4
    assert all("03:30:00 JST" in line and "18:30:00 " in line for line in lines[1:])
    sent = proj.multi("schedule", "run", "nightly", "-A", "proj").stdout.strip()
    waiting = json.loads(proj.multi("queues", "list", "-A", "proj", "--json").stdout)
    assert [queue["waiting"] for queue in waiting if queue["name"] == "celery"] == [1]
    assert len(sent) == 36
    proj.multi("schedule", "remove", "nightly", "-A", "proj")
    completing = {
        **proj.env,
        "_MULTI_COMPLETE": "bash_complete",
        "COMP_LINE": (line := "multi -A proj schedule show q"),
        "COMP_POINT": str(len(line)),
    }
    offered = proj.popen(env=completing).communicate(timeout=60)[0]
    assert offered.splitlines() == ["plain,quick"]


def test_without_the_project_the_schedules_are_told_that_are_kept_in_a_broker(proj: Project) -> None:
    place = proj.multi("schedule", "list", "-A", "proj").stdout.splitlines()[-1].removeprefix("kept in ")
    proj.multi("schedule", "pause", "quick", "-A", "proj")
    assert proj.multi("schedule", "next", "quick", "-A", "proj").stdout == "quick is paused\n"
    told = proj.multi("schedule", "list", "-b", place).stdout
    assert [line.split() for line in told.splitlines()[:2]] == [["SCHEDULE", "ENTRIES"], ["proj", "1"]]
    assert "MULTI_BEAT_SCHEDULE_NAME=proj" in told
    assert json.loads(proj.multi("schedule", "list", "-b", place, "--json").stdout) == [
        {"schedule": "proj", "entries": 1}
    ]
    refused = proj.multi("schedule", "show", "quick", "-b", place, code=2).stderr
    assert "whose schedule?" in refused and refused.rstrip().endswith("MULTI_BEAT_SCHEDULE_NAME: proj")


def test_a_node_that_is_called_beat_is_a_scheduler_unless_it_is_said_to_be_something_else(proj: Project) -> None:
    host = socket.gethostname()

    def shown(*words: str) -> list[str]:
        lines = proj.multi("show", *words, "-A", "proj").stdout.splitlines()
        return [line.partition(" -m multi ")[2].partition(" -f ")[0] for line in lines]

    assert shown("beat") == ["beat -A proj -n beat@" + host]
    assert shown("beat", "--max-interval", "5") == ["beat -A proj --max-interval=5 -n beat@" + host]
    # what is said of all nodes is meant for those that have such an option
    worker = "worker -A proj -c 2 -n w1@" + host
    assert shown("w1", "beat", "-c", "2") == [worker, "beat -A proj -n beat@" + host]
    assert shown("beat", "--kind", "worker", "-c", "2") == ["worker -A proj -c 2 -n beat@" + host]
    told = proj.multi("start", "w1", "beat", "-A", "proj", "-c:beat", "2", code=2).stderr
    assert "a beat has no such option" in told
    told = proj.multi("start", "w1", "beat", "-A", "proj", "--max-interval", "5", code=2).stderr
    assert "only a beat has this option; leave it out, or say it of that alone, as in --max-interval:beat" in told
