"""The clock of the machine is set back by an hour under nodes that run: nothing waits for the hour to pass again."""

from __future__ import annotations

import glob
import json
import re
import time

import pytest
from conftest import in_ci
from support.nodes import HOST, Nodes, is_alive
from support.wait import until

HOUR = 3600.0


class Clock:
    """The clock as all processes of the project see it; the one that counts since the boot goes on as it was."""

    def __init__(self, nodes: Nodes, library: str) -> None:
        self._file = nodes.project.path / "clock"
        self.set(0.0)
        nodes.project.env |= {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: float) -> None:
        self._file.write_text(f"{offset:+.0f}s\n")


@pytest.fixture
def clock(nodes: Nodes) -> Clock:
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not found:
        if in_ci():
            pytest.fail("libfaketime is missing: apt-get install libfaketime", pytrace=False)
        pytest.skip("libfaketime is not installed (apt-get install libfaketime)")
    return Clock(nodes, found[0])


def test_a_pause_before_the_next_start_lasts_no_longer(nodes: Nodes, clock: Clock) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart-delay", "2", "--max-crashes", "9"))
    first = nodes.worker("w1")
    nodes.nudge("w1")
    nodes.until_state("w1", "backoff")
    clock.set(-HOUR)
    told = nodes.run("why", "w1", "--lines", "0").stdout
    begun = time.monotonic()
    nodes.until_state("w1", "running")
    assert time.monotonic() - begun < 6
    assert not is_alive(first)
    assert "it is started again in 60" not in told
    assert "; it is started again in " in told


def test_what_is_told_of_ages_and_loads_stays_true(nodes: Nodes, clock: Clock) -> None:
    nodes.start("w1", plan="ready.busy")
    until(lambda: nodes.status("w1")["uptime"] > 0.2, what="it is some age")
    clock.set(-HOUR)
    found = nodes.status("w1")
    assert 0.2 < found["uptime"] < 120
    clock.set(HOUR)
    found = nodes.status("w1")
    assert 0.2 < found["uptime"] < 120
    clock.set(-HOUR)
    for words in (("describe",), ("ps",), ("why",), ("status",), ("logs",)):
        done = nodes.run(*words, "w1")
        assert not re.search(r"(?<!\S)-\d", done.stdout), f"{words} tells of less than nothing: {done.stdout}"
    nodes.run("restart", "w1")
    nodes.run("stopwait", "w1")
    history = next(nodes.state.glob("nodes/*/*/history.jsonl")).read_text()
    events = [json.loads(line)["event"] for line in history.splitlines()]
    assert events == ["starting", "ready", "stopping", "exit", "stopped"] * 2


def test_logs_are_rotated_by_size_and_time_as_before(nodes: Nodes, clock: Clock) -> None:
    nodes.start("w1", plan="ready.chatty", more=("--log-size", "20kB", "--log-keep", "2"))
    nodes.start("w2", more=("--log-every", "2s", "--log-keep", "9"))

    def copies(name: str) -> int:
        return len(list(nodes.state.glob(f"log/*/{name}@{HOST}.log.*")))

    until(lambda: copies("w1") == 2, what="rotated by size")
    clock.set(-HOUR)
    log = next(nodes.state.glob(f"log/*/w1@{HOST}.log"))
    inode = log.stat().st_ino
    until(lambda: log.stat().st_ino != inode, what="rotated again")
    nodes.run("kill", "w1")
    # by time: once for each period in which something was written, and not at each look
    before = copies("w2")
    begun = time.monotonic()
    while copies("w2") < before + 2:
        assert time.monotonic() - begun < 20, "it is rotated no more"
        with next(nodes.state.glob(f"log/*/w2@{HOST}.log")).open("a") as file:
            file.write("a line\n")
        time.sleep(0.05)
    assert time.monotonic() - begun > 1.5, "two periods have passed"
