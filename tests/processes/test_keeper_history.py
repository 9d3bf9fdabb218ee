"""What has happened to a node is on record: who asked for what, how each worker ended and what it was doing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.nodes import Nodes, is_alive, kill
from support.wait import until


def folder(nodes: Nodes, name: str = "w1") -> Path:
    """Where the node is kept."""
    return Path(os.path.realpath(nodes.folder(name) / "spec.json")).parent


def history(nodes: Nodes, name: str = "w1") -> list[dict[str, Any]]:
    path = folder(nodes, name) / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def events(nodes: Nodes, name: str = "w1") -> list[str]:
    return [one["event"] for one in history(nodes, name)]


def last(nodes: Nodes, event: str, name: str = "w1") -> dict[str, Any]:
    return [one for one in history(nodes, name) if one["event"] == event][-1]


def test_the_story_of_a_node(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy.fragile", more=("--restart-delay", "0.01"))
    kill(nodes.worker("w1"))
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="restarted")
    nodes.run("reload", "w1")
    until(lambda: len(nodes.record("w1")["workers"]) == 1, what="the old worker is gone")
    nodes.run("stopwait", "w1")
    assert events(nodes) == [
        *("starting", "ready", "exit", "crashed", "backoff", "starting", "ready"),
        *("reload", "starting", "ready", "reloaded", "exit"),
        *("stopping", "exit", "stopped"),
    ]
    assert (folder(nodes) / "history.jsonl").stat().st_mode & 0o777 == 0o600
    story = history(nodes)
    assert story == sorted(story, key=lambda one: one["at"])
    assert ": multi start w1 -A ready.busy.fragile" in story[0]["by"]
    crash = story[2]
    assert (crash["kind"], crash["text"], crash["code"]) == ("crash", "killed by KILL", -9)
    (task,) = crash["tasks"]
    assert (task["name"], task["id"], task["args"]) == ("proj.tasks.resize", "the-id", "('photo.jpg',)")
    assert ": multi reload w1" in last(nodes, "reload")["by"]
    assert ": multi stopwait w1" in last(nodes, "stopping")["by"]
    assert last(nodes, "exit")["kind"] == "stop"


def test_who_asks_is_told_without_secrets(nodes: Nodes) -> None:
    more = ("--env", "DB_PASSWORD=hush", "--broker", "redis://u:hush@127.0.0.1:1/0", "--env", "A=hush")
    nodes.start("w1", more=more)
    text = (folder(nodes) / "history.jsonl").read_text()
    assert "hush" not in text
    assert "--env DB_PASSWORD=***" in text


def test_a_signal_tells_who_sent_it(nodes: Nodes) -> None:
    nodes.start("w1")
    first = nodes.worker("w1")
    subprocess.run(["sh", "-c", f"kill -HUP {nodes.keeper('w1')}; exit"], check=True)
    until(lambda: nodes.record("w1")["state"] == "running" and nodes.worker("w1") != first, what="reloaded")
    os.kill(nodes.keeper("w1"), signal.SIGTERM)
    nodes.until_state("w1", "stopped")
    assert last(nodes, "reload")["by"].startswith("signal HUP from ")
    assert last(nodes, "stopping")["by"].startswith("signal TERM from ")
    assert f"(pid {os.getpid()}, user {os.getuid()})" in last(nodes, "stopping")["by"]


def test_the_ladder_the_pause_and_the_verdict_are_in_it(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.deaf", more=("--kill-after", "0.1"))
    nodes.run("stopwait", "w1", code=5)
    assert last(nodes, "climbing")["step"] == "kill"
    nodes.start("w2", plan="ready.crash", more=("--restart-delay", "0.01", "--max-crashes", "2"), code=None)
    nodes.until_state("w2", "failed")
    assert "given up after 2 crashes" in last(nodes, "gave_up", "w2")["message"]
    assert events(nodes, "w2").count("crashed") == 2


def test_an_adoption_is_in_it(nodes: Nodes) -> None:
    nodes.start("w1")
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    assert last(nodes, "adopted")["pid"] == nodes.worker("w1")


@pytest.mark.timeout(300)
def test_a_thousand_crashes_leave_bounded_files_and_a_keeper_as_it_was(nodes: Nodes) -> None:
    nodes.project.write("crash.sh", "exit 3\n")
    # ready as soon as it lives, and gone at once
    more = ("--ready-after", "0", "--restart-delay", "0", "--max-crashes", "1000000", "--log-size", "0")
    nodes.run("start", "c1", "--cmd", "sh crash.sh", *more, code=None)
    keeper = nodes.keeper("c1")

    def looks() -> tuple[int, int]:
        with open(f"/proc/{keeper}/status") as file:
            own = sum(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
        return own, len(os.listdir(f"/proc/{keeper}/fd"))

    until(lambda: nodes.record("c1").get("restarts", 0) > 100, 120, what="a hundred crashes")
    memory, descriptors = looks()
    until(lambda: nodes.record("c1")["restarts"] > 1000, 120, what="a thousand crashes")
    assert nodes.keeper("c1") == keeper
    later, descriptors_later = looks()
    assert descriptors_later <= descriptors + 2  # one pipe more or less, depending on the moment
    assert later < memory + 200, "kB"
    nodes.run("stopwait", "c1")
    kept = {path.name: path.stat().st_size for path in folder(nodes, "c1").iterdir()}
    assert {*kept} <= {"spec.json", "history.jsonl", "history.1.jsonl"}
    assert all(size < 260 * 1024 for size in kept.values()), kept
    left = sorted(path.name for path in nodes.folder("c1").iterdir())
    assert left == ["keeper.lock", "spec.json", "status.json", "worker.lock"]


def test_the_log_tells_nothing_of_arguments(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy", more=("--restart", "never"))
    kill(nodes.worker("w1"))
    nodes.until_state("w1", "failed")
    assert "photo.jpg" not in nodes.log("w1")


# ---- the machine, and others on it


def test_after_a_boot_nothing_of_the_last_one_is_believed(nodes: Nodes) -> None:
    nodes.start("w1")
    kill(nodes.keeper("w1"))
    kill(nodes.worker("w1"))
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        # the numbers, and even the start time in ticks, belong to somebody else now
        from multi.controller.keeper import proc

        path = nodes.folder("w1") / "status.json"
        value = json.loads(path.read_text())
        for one in (value["keeper"], *value["workers"]):
            one.update(pid=stranger.pid, start=proc.start_time(stranger.pid))
        value["boot"] = value["keeper"]["boot"] = "another"
        path.write_text(json.dumps(value))
        assert nodes.status("w1")["state"] == "crashed"
        nodes.run("start", "w1")
        assert nodes.worker("w1") != stranger.pid
        nodes.run("stopwait", "w1")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_recycled_number_is_not_taken_for_the_worker(nodes: Nodes) -> None:
    nodes.start("w1")
    kill(nodes.keeper("w1"))
    kill(nodes.worker("w1"))
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        path = nodes.folder("w1") / "status.json"
        value = json.loads(path.read_text())
        value["workers"][0]["pid"] = value["keeper"]["pid"] = stranger.pid
        path.write_text(json.dumps(value))
        assert nodes.status("w1")["state"] == "crashed"
        nodes.run("stopwait", "w1")
        nodes.run("start", "w1")
        nodes.run("kill", "w1", code=None)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_log_directory_that_is_removed_comes_back(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart-delay", "0.01"))
    (log,) = nodes.state.glob("log/*/w1@*.log")
    log.unlink()
    log.parent.rmdir()
    nodes.nudge_unseen("w1")
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="restarted")
    until(lambda: log.exists() and "fake worker" in log.read_text(), what="the log is there again")


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="no control group of memory to be had here")
def test_a_kill_for_want_of_memory_is_called_that(nodes: Nodes) -> None:
    with open("/proc/self/cgroup") as file:
        mine = next(line.rstrip("\n").split(":", 2)[2] for line in file if ":memory:" in line)
    group = Path(f"/sys/fs/cgroup/memory{mine}/multi-test-{os.getpid()}")
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(100 << 20))
        nodes.start("w1", plan="ready.fat", more=("--restart-delay", "0.05"))
        # a new keeper in there, with a worker of its own
        nodes.run("stopwait", "w1")
        words = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        import sys

        command = ["sh", "-c", words, "sh", sys.executable, "-m", "multi", "start", "w1"]
        subprocess.run(command, check=True, env=nodes.project.env, cwd=nodes.project.path, capture_output=True)
        first = nodes.worker("w1")
        nodes.nudge("w1")
        nodes.nudge("w1")
        until(lambda: not is_alive(first), 20, what="the kernel has ended it")
        until(
            lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="restarted"
        )
        assert nodes.record("w1")["last_end"]["text"] == "killed by KILL, for want of memory"
        assert last(nodes, "exit")["oom"] is True
        nodes.run("stopwait", "w1")
    finally:
        nodes.stop_all()
        until(lambda: not (group / "cgroup.procs").read_text(), what="the group is empty")
        group.rmdir()
