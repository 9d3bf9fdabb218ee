"""What a service's manager runs to reload a worker: it waits, and tells how that went."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multi.worker import reloading

#: A worker that answers to HUP by these lines.
WORKER = """
import os, signal, sys
from multi.rundir import RunDir
place = RunDir(sys.argv[1])
def hup(*_):
    {0}
signal.signal(signal.SIGHUP, hup)
print("there", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started = []

    def start(answer: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", WORKER.format(answer), str(tmp_path)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("place.tell_reload()", ""),
        ("place.tell_reload(); os._exit(0)", ""),
        ("place.tell_reload('no such module')", "no such module"),
        ("os._exit(1)", "has ended"),
    ],
)
def test_it_waits_for_the_workers_word(
    worker: Callable[[str], subprocess.Popen[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    expected: str,
) -> None:
    (tmp_path / "reload").write_text("of an earlier one\n")
    monkeypatch.setenv("MULTI_RUN_DIR", str(tmp_path))
    assert reloading.main([str(worker(answer).pid)]) == (1 if expected else 0)
    assert expected in capsys.readouterr().err


def test_a_worker_that_isnt_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert "there is no worker" in reloading.reload(gone.pid, str(tmp_path))
    monkeypatch.delenv("MULTI_RUN_DIR", raising=False)
    assert reloading.main(["1"]) == 2
