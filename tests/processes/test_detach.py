"""Going to the background: success means ready, and a failure is told with the end of the log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.wait import until

PROGRAM = """
import os, sys
from multi.notify import Notifier
from multi.worker.detach import detach
code = detach(sys.argv[1], lambda text: print("said:", text, flush=True))
if code is None:
    print("output of", os.getsid(0) == os.getpid(), sys.stdin.read() == "", flush=True)
    notifier = Notifier.from_env()
    notifier.status("waiting for the broker")
    {then}
sys.exit(code)
"""


def run(tmp_path: Path, then: str) -> tuple[subprocess.CompletedProcess[str], str]:
    log = tmp_path / "w1.log"
    log.write_text("a line of an earlier run\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(then=then), str(log)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done, log.read_text()


def test_it_returns_when_the_worker_is_ready(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    done, log = run(tmp_path, f"notifier.ready(); open({str(go)!r}).read(); print('later'); sys.exit(0)")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "said: waiting for the broker"
    pid = int(done.stdout.partition("running in the background: pid ")[2].partition(",")[0])
    os.kill(pid, 0)
    assert log == "a line of an earlier run\noutput of True True\n"
    go.write_text("")  # lets it end
    until(lambda: (tmp_path / "w1.log").read_text().endswith("later\n"), what="the worker to end by itself")


def test_a_worker_that_ends_first_is_told_with_its_status_and_its_last_lines(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "print('no such broker', file=sys.stderr); sys.exit(2)")
    assert done.returncode == 2
    assert "the worker has ended before it was ready (exit status 2); the end of" in done.stdout
    assert "no such broker" in done.stdout
    assert "an earlier run" not in done.stdout


def test_a_worker_that_is_killed_first_is_told_too(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "os.kill(os.getpid(), 9)")
    assert done.returncode == 1
    assert "(signal 9)" in done.stdout


def test_children_of_the_worker_do_not_keep_the_caller_waiting(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    then = f"os.fork() or (open({str(go)!r}).read(), os._exit(0)); sys.exit(3)"
    done, _ = run(tmp_path, then)
    assert done.returncode == 3
    go.write_text("")
