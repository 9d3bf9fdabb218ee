"""`multi worker` as a user runs it: from the command line to a worker that is ready, or to an error that helps."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.project import Project
from support.wait import until


@contextmanager
def running(project: Project, *words: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A worker that is ready, and the file its output goes to; it is told to stop at the end."""
    output = project.path / "output"
    with output.open("w") as file:
        process = project.popen(*words, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: " ready." in everything(project) or process.poll() is not None, 20, what="the worker to be ready")
        assert process.poll() is None, everything(project)
        yield process, output
    finally:
        process.terminate()
        process.wait(20)


def everything(project: Project) -> str:
    return "".join(file.read_text() for file in [project.path / "output", *project.path.glob("*.log")])


@pytest.fixture
def quickstart(project: Project) -> Project:
    return project.quickstart()


def refused(project: Project, *words: str, code: int = 2) -> str:
    """The error of a worker that can't start; none of our own code may show in it."""
    done = project.multi(*words, code=code)
    assert "multi/cli" not in done.stderr
    assert "multi/worker" not in done.stderr
    return done.stderr


def test_a_worker_shows_its_banner_says_that_it_is_ready_and_stops_when_told(quickstart: Project) -> None:
    with running(quickstart, "worker", "-A", "proj", "-n", "w1@%h", "-l", "INFO", "-c", "1") as (process, output):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    text = output.read_text()
    host = os.uname().nodename
    assert f" -------------- w1@{host} v" in text
    assert ".> transport:   sqlite://" in text
    assert ".> concurrency: 1 (prefork)" in text
    assert "[tasks]\n  . proj.tasks.add\n  . proj.tasks.mul\n  . proj.tasks.xsum\n" in text
    assert text.index("Connected to sqlite://") < text.index(f"w1@{host} ready.")
    assert ": INFO/MainProcess] " in text


@pytest.mark.parametrize("words", [("-A", "proj", "worker"), ("worker", "-A", "proj.celery:app")])
def test_the_app_may_be_named_before_or_after_the_command(quickstart: Project, words: tuple[str, ...]) -> None:
    with running(quickstart, *words, "-c", "1", "-l", "info", "-q") as (_, output):
        assert "[config]" not in output.read_text()


def test_a_task_leaves_the_lines_that_celerys_users_know(project: Project) -> None:
    project.write(
        "proj.py",
        """
        from multi import Celery, get_task_logger
        app = Celery("proj")
        logger = get_task_logger(__name__)
        @app.task
        def add(x, y):
            print("adding")
            logger.info("carefully")
            return x + y
        @app.task
        def fail():
            raise ValueError("bad", 1)
        """,
    )
    with running(project, "worker", "-A", "proj", "-l", "INFO", "-c", "1") as (_, output):
        ids = project.python(
            """
            import proj
            added, failed = proj.add.delay(4, 4), proj.fail.delay()
            assert added.get(timeout=20) == 8
            failed.get(timeout=20, propagate=False)
            print(added.id, failed.id)
            """
        ).stdout.split()
        until(lambda: "raised unexpected" in output.read_text())
        text = output.read_text()
    added, failed = ids
    assert f"INFO/ForkPoolWorker-1] Task proj.add[{added}] received\n" in text
    assert "WARNING/ForkPoolWorker-1] adding\n" in text
    assert f"INFO/ForkPoolWorker-1] proj.add[{added}]: carefully\n" in text
    assert f"Task proj.add[{added}] succeeded in 0." in text
    assert (
        f"ERROR/ForkPoolWorker-1] Task proj.fail[{failed}] raised unexpected: ValueError('bad', 1)\nTraceback" in text
    )


def test_the_settings_of_the_log_are_followed(project: Project) -> None:
    project.write(
        "proj.py",
        """
        import logging, sys
        from multi import App
        app = App("proj")
        app.conf.update(
            worker_log_format="%(levelname)s %(processName)s: %(message)s",
            worker_redirect_stdouts=False,
            worker_concurrency=1,
        )
        @app.task
        def speak():
            print("to the screen", flush=True)
            logging.getLogger("proj").warning("to the log")
        """,
    )
    with running(project, "worker", "-A", "proj", "-l", "INFO") as (_, output):
        project.python("import proj; proj.speak.delay().get(timeout=20)")
        text = output.read_text()
    assert "\nto the screen\n" in text
    assert "\nWARNING ForkPoolWorker-1: to the log\n" in text


def test_options_without_use_are_told_at_the_start(quickstart: Project) -> None:
    words = ("worker", "-A", "proj", "-l", "INFO", "-c", "1", "-O", "fair", "--without-gossip", "--without-mingle")
    with running(quickstart, *words) as (_, output):
        text = output.read_text()
    assert "--optimization: this worker hands a task only to a child that is free" in text
    assert "--without-gossip: " in text
    assert "--without-mingle: " in text


def test_at_warning_they_are_told_on_the_screen(quickstart: Project) -> None:
    words = (
        "worker",
        "-A",
        "proj",
        "-n",
        "w1@%h",
        "-c",
        "1",
        "-O",
        "fair",
        "--pidfile",
        "w1.pid",
        "-D",
        "-f",
        "w1.log",
    )
    quickstart.multi(*words)
    os.kill(int((quickstart.path / "w1.pid").read_text()), signal.SIGTERM)
    until(lambda: not (quickstart.path / "w1.pid").exists(), 20, what="the worker to end")
    assert "\n--optimization: this worker hands a task only to" in (quickstart.path / "w1.log").read_text()


def test_log_and_pid_file_are_where_they_are_asked_for(quickstart: Project) -> None:
    words = ("worker", "-A", "proj", "-n", "w1@%h", "-l", "INFO", "-c", "1", "--umask", "077")
    with running(quickstart, *words, "-f", "%n%I.log", "--pidfile", "%n.pid") as (process, output):
        log, pid = quickstart.path / "w1.log", quickstart.path / "w1.pid"
        assert pid.read_text() == f"{process.pid}\n"
        assert " ready." in log.read_text()
        assert " ready." not in output.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        said = refused(quickstart, *words, "--pidfile", "%n.pid", code=1)
        assert f"belongs to process {process.pid}, which is running: this node runs already" in said
        assert pid.read_text() == f"{process.pid}\n"
    assert not pid.exists()


def test_a_stale_pid_file_is_taken_over(quickstart: Project) -> None:
    pid = quickstart.write("w1.pid", f"{os.getpid()}\n")
    os.utime(pid, (1, 1))
    with running(quickstart, "worker", "-A", "proj", "-l", "INFO", "-c", "1", "--pidfile", "w1.pid") as (process, _):
        assert pid.read_text() == f"{process.pid}\n"


def test_the_working_directory_is_where_the_project_is_looked_for(quickstart: Project) -> None:
    elsewhere = quickstart.path / "elsewhere"
    elsewhere.mkdir()
    (quickstart.path / "proj").rename(elsewhere / "proj")
    with running(quickstart, "worker", "-A", "proj", "--workdir", "elsewhere", "-l", "INFO", "-c", "1") as (process, _):
        assert os.readlink(f"/proc/{process.pid}/cwd") == str(elsewhere)
    assert "No such file or directory" in refused(quickstart, "worker", "-A", "proj", "--workdir", "nowhere")


def test_included_modules_bring_their_tasks(quickstart: Project) -> None:
    quickstart.write(
        "more.py",
        """
        from multi import shared_task
        @shared_task
        def extra():
            return 1
        """,
    )
    with running(quickstart, "worker", "-A", "proj", "-I", "more", "-l", "INFO", "-c", "1") as (_, output):
        assert "  . more.extra\n" in output.read_text()
    assert "the module 'nothere'" in refused(quickstart, "worker", "-A", "proj", "-I", "nothere")


def test_the_broker_of_the_command_line_is_the_one(quickstart: Project) -> None:
    broker = f"sqlite:///{quickstart.path}/other.db"
    words = ("worker", "-A", "proj", "-b", broker, "-l", "INFO", "-c", "1")
    with running(quickstart, *words, "-Q", "a,b", "-X", "b") as (_, output):
        text = output.read_text()
    assert f".> transport:   {broker}" in text
    assert ".> a                exchange=a(direct) key=a" in text
    assert "exchange=b(direct)" not in text


def test_waiting_messages_are_purged_on_wish(quickstart: Project) -> None:
    quickstart.python("from proj.tasks import add; [add.delay(1, 1) for _ in range(3)]")
    words = ("worker", "-A", "proj", "-l", "INFO", "-c", "1", "--purge")
    with running(quickstart, *words) as (_, output):
        text = output.read_text()
    assert "Purged 3 messages from celery" in text
    assert "received" not in text


def test_a_program_can_start_its_worker_itself(project: Project) -> None:
    project.write(
        "proj.py",
        """
        from multi import App
        app = App("proj")
        @app.task
        def add(x, y):
            return x + y
        if __name__ == "__main__":
            app.start()
        """,
    )
    output = project.path / "output"
    with output.open("w") as file:
        command = [sys.executable, "proj.py", "worker", "-l", "INFO", "-c", "1"]
        process = subprocess.Popen(command, cwd=project.path, env=project.env, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: " ready." in output.read_text() or process.poll() is not None, 20)
        assert "  . proj.add\n" in output.read_text()
    finally:
        process.terminate()
        assert process.wait(20) == 0
    project.python("from proj import app; app.worker_main(['worker', '-c', 'none'])", code=2)


def test_told_to_stop_while_the_project_is_imported_it_stops(project: Project) -> None:
    project.write("proj.py", "import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    process = project.popen("worker", "-A", "proj")
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == ""


def test_in_the_background_success_means_that_it_is_ready(quickstart: Project) -> None:
    done = quickstart.multi("worker", "-A", "proj", "-n", "w1@%h", "-l", "INFO", "-c", "1", "-D", "--pidfile", "%n.pid")
    pid = int((quickstart.path / "w1.pid").read_text())
    try:
        assert f"running in the background: pid {pid}, log " in done.stdout
        assert " ready." in (quickstart.path / "w1.log").read_text()
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not (quickstart.path / "w1.pid").exists(), 20, what="the worker to end")


def test_in_the_background_a_failure_is_told_in_front(quickstart: Project) -> None:
    done = quickstart.multi("worker", "-A", "nothere", "-D", "-f", "w1.log", code=2)
    assert "the worker has ended before it was ready (exit status 2)" in done.stdout
    assert "no app is found at -A nothere" in done.stdout


def test_another_interpreter_is_used_on_wish(quickstart: Project) -> None:
    wrapper = quickstart.write("python", f'#!/bin/sh\necho "instead: $*"\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    words = ("worker", "-A", "proj", "-l", "INFO", "-c", "1", "--executable", str(wrapper))
    with running(quickstart, *words) as (_, output):
        assert output.read_text().startswith("instead: -m multi worker -A proj -l INFO -c 1\n")
    quickstart.env["MULTI_WORKER_EXECUTABLE"] = str(wrapper)
    with running(quickstart, "worker", "-A", "proj", "-l", "INFO", "-c", "1") as (_, output):
        assert output.read_text().count("instead: ") == 1
    assert "No such file or directory" in refused(quickstart, "worker", "-A", "proj", "--executable", "/nothere/python")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--concurency", "2"], "--concurrency"),
        (["-c", "none"], "no number from 1 on"),
        (["-P", "processs"], "no pool has the name 'processs'; there are:"),
        (["-P", "threads", "--time-limit", "5"], "--time-limit can't be enforced in the pool 'threads'"),
        (["-b", "rediss//host"], "is no URL"),
        (["-b", "kafka://host"], "kafka"),
        (["-b", "memory://"], "memory:// lives in a single process"),
        (["-X", "celery"], "no queue is left to consume from"),
        (["-f", "nowhere/w1.log"], "--logfile nowhere/w1.log: No such file or directory"),
        (["-f", "%x.log"], "'%x' is no field"),
        (["--pidfile", "nowhere/w1.pid"], "w1.pid can't be written"),
        (["--umask", "abc"], "--umask takes octal digits"),
        (["--uid", "nobody-here"], "no user is called 'nobody-here'"),
        (["-n", "a b"], "is no node's name"),
    ],
)
def test_what_cannot_be_ends_with_a_message_before_anything_starts(
    quickstart: Project, words: list[str], said: str
) -> None:
    code = 1 if "--pidfile" in words else 2
    assert said in refused(quickstart, "worker", "-A", "proj", "-l", "INFO", *words, code=code)


def test_a_project_that_cannot_be_imported_shows_its_own_traceback(project: Project) -> None:
    project.write("proj/__init__.py", "")
    project.write("proj/celery.py", "import json\n\nlimit = 1 / 0\n")
    # another time it may well be: who looks after the worker is to try again
    said = refused(project, "worker", "-A", "proj", code=1)
    assert "the project can't be imported: " in said
    assert "proj/celery.py" in said
    assert "limit = 1 / 0" in said
    assert said.count("ZeroDivisionError") == 2


def test_tasks_that_cannot_be_imported_show_their_own_traceback(project: Project) -> None:
    project.write("proj.py", "from multi import App\napp = App('proj', include=['jobs'])\n")
    project.write("jobs.py", "raise RuntimeError('no jobs today')\n")
    said = refused(project, "worker", "-A", "proj", code=1)
    assert "the project can't be imported: RuntimeError: no jobs today" in said
    assert 'jobs.py", line 1' in said


@pytest.mark.parametrize("line", ["import no_such_library", "limit = ("])
def test_what_can_not_be_imported_another_time_either_is_a_wrong_configuration(project: Project, line: str) -> None:
    project.write("proj.py", f"from multi import App\napp = App('proj', include=['jobs'])\n{line}\n")
    assert "the project can't be imported: " in refused(project, "worker", "-A", "proj", code=2)


def test_an_app_that_is_not_there_is_answered_with_what_was_tried(project: Project) -> None:
    project.write("proj.py", "x = 1\n")
    said = refused(project, "worker", "-A", "proj")
    assert "no app is found at -A proj; tried" in said
    assert "proj.app: there is no such attribute" in said
    assert "no app is named: say where it is with -A" in refused(project, "worker")


def test_what_only_this_worker_has_is_refused_for_an_app_of_celerys(project: Project) -> None:
    pytest.importorskip("celery")
    project.write("proj.py", "from celery import Celery\napp = Celery('proj')\n")
    said = refused(project, "worker", "-A", "proj", "-P", "asyncio")
    assert "-P asyncio: Celery has no asyncio pool; use -P threads or -P gevent, or multi's own worker" in said
    assert "--drain-timeout: Celery's worker has no such option" in refused(
        project, "worker", "-A", "proj", "--drain-timeout", "5"
    )


def test_a_password_is_printed_nowhere(quickstart: Project) -> None:
    for url in ("kafka://user:s3cret@host", "redis:''user:s3cret@host''", "redis://user:s3cret@host:port/0"):
        assert "s3cret" not in refused(quickstart, "worker", "-A", "proj", "-l", "DEBUG", "-b", url)
