"""The lines of the log that `why` shows are those around the trouble, not those of the start that follows."""

from __future__ import annotations

import json
import os
import signal

from support.nodes import Nodes, kill
from support.wait import until

TASKS = """
import time

from multi import App

app = App("proj")

@app.task
def slow(seconds):
    print("slow begins", seconds, flush=True)
    time.sleep(seconds)
"""


def log_of(nodes: Nodes, *words: str) -> list[str]:
    (found,) = json.loads(nodes.run("why", "w1", "--json", *words).stdout)
    log = found["log"]
    assert isinstance(log, list)
    return log


def test_they_are_from_before_a_kill_and_the_first_after_it(nodes: Nodes) -> None:
    nodes.project.write("proj.py", TASKS)
    nodes.run("start", "w1", "-A", "proj", "-c", "1", "-l", "INFO", "--restart-delay", "0.05")
    nodes.project.python("import proj; proj.slow.delay(600)")
    until(lambda: "slow begins" in nodes.log("w1"), 15, what="it runs")
    os.kill(nodes.worker("w1"), signal.SIGKILL)
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", 20, what="again")
    until(lambda: nodes.log("w1").count("ready.") == 2, what="the banner of the next start is in the log")
    log = log_of(nodes)
    assert 10 <= len(log) <= 12
    begins = next(number for number, line in enumerate(log) if "slow begins 600" in line)
    verdict = next(number for number, line in enumerate(log) if "killed by KILL" in line)
    assert begins < verdict
    assert len(log) - 1 - verdict <= 3, "a quarter of them is from after it"
    assert any("killed by KILL" in line for line in log_of(nodes, "--lines", "2"))


def test_of_an_end_that_nobody_saw_they_are_those_from_before_it(nodes: Nodes) -> None:
    nodes.project.write("proj.py", TASKS)
    nodes.run("start", "w1", "-A", "proj", "-c", "1", "-l", "INFO")
    nodes.project.python("import proj; proj.slow.delay(600)")
    until(lambda: "slow begins" in nodes.log("w1"), 15, what="it runs")
    worker = nodes.worker("w1")
    kill(nodes.keeper("w1"))
    kill(worker)
    nodes.run("start", "w1")
    until(lambda: nodes.log("w1").count("ready.") == 2, what="the banner of the next start is in the log")
    log = log_of(nodes, "--lines", "4")
    assert "slow begins 600" in log[-3], log
    assert "found gone without a word" in log[-2]


def test_the_words_of_a_program_that_tells_no_times_are_shown_too(nodes: Nodes) -> None:
    nodes.project.write("program.sh", "echo born\necho last words\nread line < fifo\nexit 3\n")
    os.mkfifo(nodes.project.path / "fifo")
    more = ("--ready-after", "0.1", "--restart-delay", "0.05")
    nodes.run("start", "c1", "--cmd", "sh program.sh", *more)
    (nodes.project.path / "fifo").write_text("end\n")
    until(lambda: nodes.record("c1")["restarts"] == 1 and nodes.record("c1")["state"] == "running", what="again")
    (found,) = json.loads(nodes.run("why", "c1", "--json", "--lines", "4").stdout)
    assert [line for line in found["log"] if line.startswith(("born", "last"))][:2] == ["born", "last words"]
