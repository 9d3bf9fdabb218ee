"""`multi adopt`: Celery workers that run already become nodes, without a restart."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.project import Project
from support.wait import until

from multi.controller.keeper import proc

PROJECT = """
    import os, time
    from celery import Celery

    app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BROKER"])

    @app.task
    def nap(seconds):
        until = time.time() + seconds
        while time.time() < until and not os.path.exists(os.environ["SHOP_NOTES"] + ".wake"):
            time.sleep(0.02)
        with open(os.environ["SHOP_NOTES"], "a") as file:
            file.write("done\\n")
"""


class Shop:
    """A Celery project with workers that were started by hand."""

    def __init__(self, project: Project, broker: str) -> None:
        self.project = project
        self.notes = project.path / "notes"
        # a name of its own: other tests run Celery workers at the same time
        self.app = f"shop_{uuid.uuid4().hex[:8]}"
        project.write(f"{self.app}.py", PROJECT)
        project.env |= {"SHOP_BROKER": broker, "SHOP_NOTES": str(self.notes), "C_FORCE_ROOT": "1"}
        self.processes: list[subprocess.Popen[str]] = []

    def by_hand(self, *words: str, under: tuple[str, ...] = (), app: bool = True) -> subprocess.Popen[str]:
        """Start a worker as somebody at a shell does, and wait until it is there."""
        log = self.project.path / f"hand{len(self.processes)}.log"
        more = ["--without-mingle", "--without-gossip"] if "worker" in words else []
        named = ["-A", self.app] if app else []
        command = [*under, sys.executable, "-m", "celery", *named, *words, "-l", "INFO", *more]
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=self.project.path,
                env=self.project.env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                text=True,
            )
        self.processes.append(process)
        ready = " ready." if "worker" in words else "beat: Starting"
        until(lambda: ready in log.read_text(), 30, what=f"{command} is ready: {log.read_text()}")
        return process

    def adopt(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.project.multi("adopt", "-A", self.app, *words, code=code)

    def send(self, seconds: float) -> None:
        self.project.python(f"from {self.app} import nap; nap.delay({seconds})")

    def wake(self) -> None:
        """Let the tasks end that nap."""
        self.notes.with_name("notes.wake").touch()

    def done(self) -> int:
        return self.notes.read_text().count("done") if self.notes.exists() else 0

    def status(self, name: str) -> dict[str, Any]:
        (found,) = json.loads(self.project.multi("status", name, "--json", code=None).stdout)
        assert isinstance(found, dict)
        return found

    def running(self, name: str, pid_is_not: int = 0) -> dict[str, Any]:
        """Its status once it runs, with a worker that is not `pid_is_not`."""

        def look() -> dict[str, Any] | None:
            found = self.status(name)
            workers = found["workers"]
            return found if found["state"] == "running" and workers and workers[0]["pid"] != pid_is_not else None

        return until(look, 30, what=f"{name} runs: {self.status(name)}")

    def end(self) -> None:
        self.project.multi("kill", "--all", code=None)
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            process.wait(30)


@pytest.fixture
def shop(project: Project, redis_url: str) -> Iterator[Shop]:
    shop = Shop(project, redis_url)
    yield shop
    shop.end()


def reaped(process: subprocess.Popen[str]) -> Callable[[], bool]:
    """In this test its parent is the test, which has to take note of its end before it is gone."""
    return lambda: process.poll() is not None


def test_a_look_shows_what_would_be_kept_and_changes_nothing(shop: Shop) -> None:
    worker = shop.by_hand("worker", "-n", "w1@here", "-c", "1", "-Q", "one,two")
    said = shop.adopt().stdout
    assert f"w1@here (pid {worker.pid}, worker" in said
    assert f"directory  {shop.project.path}" in said
    assert "-Q one,two" in said
    assert "pid file" not in said
    assert "differs" not in said
    assert "Nothing is changed yet" in said
    assert not shop.project.multi("ls", code=None).stdout.count("w1@here")
    assert worker.poll() is None


def test_an_adopted_worker_is_a_node_until_its_end(shop: Shop) -> None:
    worker = shop.by_hand("worker", "-n", "w1@here", "-c", "1", "-Q", "celery,other")
    shop.send(60)
    assert f"OK (worker {worker.pid}" in shop.adopt("--all").stdout
    found = shop.running("w1")
    assert [one["pid"] for one in found["workers"]] == [worker.pid]
    assert sorted(found["queues"]) == ["celery", "other"]
    assert found["processes"] == 3
    until(lambda: shop.status("w1")["active"] == 1, what="its task is seen")
    assert (found["pool"], found["concurrency"]) == ("prefork", 1)
    assert " prefork:1 " in shop.project.multi("status", "w1").stdout
    # the pool's children and the worker are nobody's any more
    assert f"No Celery workers of the app {shop.app}" in shop.adopt().stdout
    again = shop.adopt("w1").stdout
    assert "w1@here is a node already" in again
    assert "multi status w1" in again
    assert "is a node already" in shop.adopt(str(worker.pid)).stdout
    stop = shop.project.popen("stopwait", "w1")
    # of a worker that is told to stop Celery's remote control tells nothing any more
    assert stop.stdout is not None
    drained = next((line for line in stop.stdout if "draining" in line), "")
    assert "w1@here: draining: 1 active, oldest " in drained
    assert f" s ({shop.app}.nap), as far as was known before the stop" in drained
    assert shop.status("w1")["state"] == "stopping"
    assert [task["name"] for task in shop.status("w1")["tasks"]] == [f"{shop.app}.nap"]
    shop.wake()
    until(reaped(worker), 30, what="the worker has ended")
    assert stop.wait(30) == 0
    stop.communicate()
    assert shop.done() == 1, "a warm stop finishes what runs"
    assert shop.status("w1")["state"] == "stopped"
    # and later it is started as it was
    shop.project.multi("start", "w1")
    found = shop.running("w1", worker.pid)
    with open(f"/proc/{found['workers'][0]['pid']}/cmdline") as file:
        words = file.read().split("\0")
    assert words[words.index("-A") + 1] == shop.app
    assert words[words.index("-Q") + 1] == "celery,other"
    assert os.readlink(f"/proc/{found['workers'][0]['pid']}/cwd") == str(shop.project.path)
    assert "w1@here ready" in shop.project.multi("logs", "w1", "-n", "100").stdout


def test_an_adopted_worker_that_dies_is_started_again_with_its_directory_and_environment(shop: Shop) -> None:
    shop.project.env["SHOP_SECRET"] = "from the shell of its start"
    worker = shop.by_hand("worker", "-n", "w1@here", "-c", "1")
    del shop.project.env["SHOP_SECRET"]
    shop.adopt(str(worker.pid))
    worker.kill()
    worker.wait()
    found = shop.running("w1", worker.pid)
    with open(f"/proc/{found['workers'][0]['pid']}/environ") as file:
        assert "SHOP_SECRET=from the shell of its start" in file.read().split("\0")
    shop.send(0)
    until(lambda: shop.done() == 1, 20, what="it works")


def test_the_keeper_of_an_adopted_worker_may_be_killed(shop: Shop) -> None:
    worker = shop.by_hand("worker", "-n", "w1@here", "-c", "1")
    shop.adopt("w1")
    keeper = shop.running("w1")["pid"]
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not proc.start_time(keeper), what="the keeper is gone")
    found = shop.running("w1")
    assert found["pid"] != keeper
    assert [one["pid"] for one in found["workers"]] == [worker.pid]
    assert worker.poll() is None


def test_an_adopted_worker_is_paused_through_its_broker_and_stays_so_over_a_restart(shop: Shop) -> None:
    worker = shop.by_hand("worker", "-n", "w1@here", "-c", "1", "-Q", "celery,other")
    shop.adopt("w1")
    shop.project.multi("pause", "w1", "-Q", "celery")
    assert shop.status("w1")["queues"] == ["other"]
    shop.send(0)
    worker.kill()
    worker.wait()
    until(lambda: shop.running("w1", worker.pid)["queues"] == ["other"], 20, what="it stays away from the queue")
    assert shop.done() == 0
    shop.project.multi("resume", "w1")
    until(lambda: shop.done() == 1, 20, what="the task runs")


def test_those_that_celery_multi_has_started_are_found_with_their_files(shop: Shop) -> None:
    files = (f"--pidfile={shop.project.path}/%n.pid", f"--logfile={shop.project.path}/%n%I.log")
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", shop.app, "multi", "start", "a", "b", *files, "-c", "1"],
        cwd=shop.project.path,
        env=shop.project.env,
        check=True,
        capture_output=True,
    )
    both = [shop.project.path / "a.pid", shop.project.path / "b.pid"]
    until(lambda: all(file.exists() for file in both), 30, what="both run")
    pids = [int(file.read_text()) for file in both]
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in both)
    said = shop.adopt().stdout
    for name, file in zip("ab", both, strict=True):
        assert f"pid file   {file} will hold the pid of its keeper" in said
        assert f"--logfile={shop.project.path}/{name}%I.log" in said or f"-f {shop.project.path}/{name}%I.log" in said
        assert f"--pidfile={file}" in said
    assert [one["differences"] for one in json.loads(shop.adopt("--json").stdout)] == [[], []]
    shop.adopt("--all")
    # whoever could read them still can
    assert [(int(file.read_text()), file.stat().st_mode & 0o777) for file in both] == [
        (shop.running(name)["pid"], 0o644) for name in ("a", "b")
    ]
    assert [shop.running(name)["workers"][0]["pid"] for name in ("a", "b")] == pids
    shop.project.multi("restart", "a")
    assert shop.running("a")["workers"][0]["pid"] != pids[0]
    assert shop.running("b")["workers"][0]["pid"] == pids[1]
    shop.project.multi("stopwait", "a", "b")
    assert not proc.start_time(pids[1])


def test_a_beat_is_adopted_as_one(shop: Shop) -> None:
    beat = shop.by_hand("beat")
    shop.adopt("--all")
    assert shop.running("beat")["workers"][0]["pid"] == beat.pid
    stop = shop.project.popen("stopwait", "beat")
    until(reaped(beat), 30, what="the beat has ended")
    assert stop.wait(30) == 0
    stop.communicate()


def test_what_another_manager_looks_after_stays_with_it(shop: Shop, tmp_path: Path) -> None:
    # a supervisor by its name, which is what a process list tells
    supervisor = tmp_path / "supervisord"
    supervisor.write_text(f"#!{sys.executable}\nimport subprocess, sys\nsys.exit(subprocess.call(sys.argv[1:]))\n")
    supervisor.chmod(0o755)
    shop.project.env |= {"SUPERVISOR_PROCESS_NAME": "w_01", "SUPERVISOR_GROUP_NAME": "shop"}
    parent = shop.by_hand("worker", "-n", "w1@here", "-c", "1", under=(str(supervisor),))
    for words in (("--all",), ("w1",), ("w1@here",)):
        done = shop.adopt(*words, code=1)
        assert "w1@here (pid" in done.stdout
        assert "supervisorctl stop shop:w_01" in done.stdout
    assert not shop.project.multi("ls", code=None).stdout.count("w1@here")
    (worker,) = [pid for pid in proc.all_pids() if proc.stat(pid) and int(proc.stat(pid)[1]) == parent.pid]
    os.kill(worker, signal.SIGTERM)
    parent.wait(30)


def test_what_systemd_has_started_stays_with_it(shop: Shop) -> None:
    # to each main process of a unit systemd tells its own pid
    worker = shop.by_hand(
        "worker", "-n", "w1@here", "-c", "1", under=("sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh")
    )
    # and a shell that it starts for one line of ExecStart is not what it looks after
    behind = shop.by_hand(
        "worker", "-n", "w2@here", "-c", "1", under=("sh", "-c", 'export SYSTEMD_EXEC_PID=$$; "$@"; exit 0', "sh")
    )
    # what a person starts from a terminal that is a unit has the terminal's
    shop.project.env["SYSTEMD_EXEC_PID"] = str(os.getpid())
    free = shop.by_hand("worker", "-n", "w3@here", "-c", "1")
    found = {one["node"]: one for one in json.loads(shop.adopt("--json").stdout)}
    for name in ("w1", "w2"):
        assert found[f"{name}@here"]["refusal"].startswith("systemd looks after it")
        assert "systemctl disable --now" in shop.adopt(name, code=1).stdout
    assert found["w3@here"]["refusal"] is None
    assert worker.poll() is behind.poll() is free.poll() is None
    os.kill(found["w2@here"]["pid"], signal.SIGTERM)  # its shell ends with it


def test_a_worker_that_is_not_there_is_named_with_those_that_are(shop: Shop) -> None:
    worker = shop.by_hand("worker", "-n", "w1@here", "-c", "1")
    done = shop.adopt("w2", code=4)
    assert "'w2'" in done.stderr
    assert "w1@here" in done.stderr
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert f"there is no process {ended.pid}" in shop.adopt(str(ended.pid), code=4).stderr
    assert f"the process {os.getpid()} (" in shop.adopt(str(os.getpid()), code=4).stderr
    (child, *_) = [pid for pid in proc.all_pids() if (fields := proc.stat(pid)) and int(fields[1]) == worker.pid]
    assert f"is a child of the worker {worker.pid}" in shop.adopt(str(child), code=4).stderr


def test_nothing_to_adopt_is_no_error(shop: Shop) -> None:
    assert f"No Celery workers of the app {shop.app}" in shop.adopt().stdout
    assert json.loads(shop.adopt("--json").stdout) == []


def test_of_two_workers_of_one_name_neither_is_taken_over_and_the_others_are(shop: Shop) -> None:
    alike = [shop.by_hand("worker", "-n", "dup@here", "-c", "1", "-P", "solo") for _ in range(2)]
    shop.by_hand("worker", "-n", "w1@here", "-c", "1", "-P", "solo")
    pids = ", ".join(str(one.pid) for one in sorted(alike, key=lambda one: one.pid))
    refusal = f"2 workers have this name (pids {pids}); stop all but one of them, then adopt that"
    found = {one["pid"]: one["refusal"] for one in json.loads(shop.adopt("--json").stdout)}
    assert [found[one.pid] for one in alike] == [refusal, refusal]
    said = shop.adopt("--all").stdout
    assert said.count(refusal) == 2
    assert "w1@here: OK" in said


def test_a_worker_whose_directory_is_gone_stays(shop: Shop) -> None:
    release, folder = shop.project.path / "release", shop.project.path
    release.mkdir()
    (folder / f"{shop.app}.py").rename(release / f"{shop.app}.py")
    shop.project.path = release
    worker = shop.by_hand("worker", "-n", "w1@here", "-c", "1", "-P", "solo")
    shop.project.path = folder
    shutil.rmtree(release)
    said = shop.adopt("w1", code=1).stdout
    assert f"its directory {release} is gone" in said
    assert "OK" not in said
    assert worker.poll() is None


def test_the_app_may_come_from_the_environment_and_what_is_replaced_is_shown(shop: Shop) -> None:
    words = ("start", "w1@here", "-A", shop.app, "--engine", "celery", "-c", "1", "-Q", "one", "-P", "solo")
    shop.project.multi(*words)
    shop.project.multi("stopwait", "w1@here")
    shop.project.env["CELERY_APP"] = shop.app
    shop.by_hand("worker", "-n", "w1@here", "-c", "1", "-Q", "two", "-P", "solo", app=False)
    said = shop.adopt("w1").stdout  # with -A, which it was not started with
    assert "replaces   queues: one -> two (as the stopped node w1@here had it)" in said
    assert "w1@here: OK" in said
    found = shop.status("w1@here")
    assert found["queues"] == ["two"], found
    done = shop.project.multi("stack", "w1@here", code=None)
    assert "was adopted while it ran, and can't be asked: the worker that follows it can" in done.stdout


def test_an_empty_app_is_none(shop: Shop) -> None:
    done = shop.project.multi("adopt", "-A", "", "--all", code=2)
    assert "-A: its value is empty (a variable that is not set?)" in done.stderr
    assert f"No Celery workers of the app {shop.app} (as they were started with) run here" in shop.adopt().stdout
