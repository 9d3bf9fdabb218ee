"""What a worker is started with: environment files, limits, priorities; how programs of other kinds become ready."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from support.nodes import Nodes, is_alive, kill
from support.wait import until


def spec_file(nodes: Nodes, name: str) -> Path:
    """The node's kept specification."""
    return Path(os.path.realpath(nodes.folder(name) / "spec.json"))


def test_environment_files_are_read_afresh_at_every_start(nodes: Nodes) -> None:
    nodes.project.write("one.env", "SHOW_A=first\nSHOW_B='of one'\n")
    nodes.project.write("two.env", "export SHOW_B=of two # the later file counts\n")
    more = ("--env-file", "one.env", "--env-file", "two.env", "--env-file", "-missing.env")
    nodes.start("w1", plan="ready.shows.fragile", more=(*more, "--restart-delay", "0.01"))
    assert "SHOW_A='first'" in nodes.log("w1")
    assert "SHOW_B='of two'" in nodes.log("w1")
    nodes.project.write("one.env", "SHOW_A=second\n")
    nodes.nudge("w1")
    until(lambda: "SHOW_A='second'" in nodes.log("w1"), what="read again after a crash")
    nodes.until_state("w1", "running")
    nodes.project.write("one.env", "SHOW_A=third\n")
    nodes.run("reload", "w1")
    assert "SHOW_A='third'" in nodes.log("w1")
    assert "first" not in spec_file(nodes, "w1").read_text(), "values are not kept"


def test_a_broken_environment_file_fails_the_start_with_its_line(nodes: Nodes) -> None:
    nodes.project.write("one.env", "A=1\nB='x\n")
    done = nodes.start("w1", more=("--env-file", "one.env"), code=None)
    assert done.returncode in (1, 2)
    assert f"{nodes.project.path}/one.env, line 2: the quote ' is not closed" in done.stderr


def test_a_broken_environment_file_at_a_reload_leaves_the_worker_alone(nodes: Nodes) -> None:
    nodes.project.write("one.env", "A=1\n")
    nodes.start("w1", more=("--env-file", "one.env"))
    worker = nodes.worker("w1")
    (nodes.project.path / "one.env").unlink()
    done = nodes.run("reload", "w1", code=2)
    assert "one.env is missing; put - before its name if it may be; nothing was stopped" in done.stderr
    os.kill(nodes.keeper("w1"), signal.SIGHUP)
    until(lambda: "one.env is missing" in nodes.log("w1"), what="the keeper finds it, too")
    assert nodes.worker("w1") == worker
    assert nodes.record("w1")["state"] == "running"


def test_a_crash_while_an_environment_file_is_missing_is_survived(nodes: Nodes) -> None:
    nodes.project.write("one.env", "SHOW_A=1\n")
    nodes.start("w1", plan="ready.fragile.shows", more=("--env-file", "one.env", "--restart-delay", "0.05"))
    (nodes.project.path / "one.env").unlink()
    nodes.nudge("w1")
    until(lambda: "one.env is missing" in nodes.log("w1"), what="told in the log")
    nodes.project.write("one.env", "SHOW_A=back\n")
    until(lambda: "SHOW_A='back'" in nodes.log("w1"), what="it is read again")
    nodes.until_state("w1", "running")


def test_limits_niceness_and_umask(nodes: Nodes) -> None:
    more = ("--limit", "nofile=200:300", "--nice", "5", "--umask", "027")
    nodes.start("w1", plan="ready.shows", more=more)
    assert "nofile=(200, 300) nice=5 umask=027" in nodes.log("w1")


def test_a_limit_that_cannot_be_had_is_told(nodes: Nodes) -> None:
    nodes.start("w1", more=("--limit", "nofile=999999999999"), code=1)
    assert "multi: the limit nofile = 999999999999 can't be set" in nodes.log("w1")
    assert "the most that is allowed here is" in nodes.log("w1")


def test_a_program_is_ready_when_it_has_lived_for_a_while(nodes: Nodes) -> None:
    done = nodes.run("start", "c1", "--cmd", "sleep 600", "--ready-after", "0.3")
    assert "c1@" in done.stdout
    record = nodes.record("c1")
    worker = record["workers"][0]
    assert worker["ready"] - worker["started"] >= 0.29
    nodes.run("stopwait", "c1")
    assert not is_alive(worker["pid"])
    assert nodes.record("c1")["last_end"]["text"] == "killed by TERM"


def test_a_program_that_ends_at_once_was_never_ready(nodes: Nodes) -> None:
    done = nodes.run("start", "c1", "--cmd", "sh -c 'echo broken; exit 3'", code=1)
    assert "exit status 3" in done.stderr
    assert "broken" in done.stderr


def test_a_program_is_told_only_what_it_understands(nodes: Nodes) -> None:
    nodes.project.write("program.sh", "trap 'echo wound down; exit 0' INT\necho begun\nwhile :; do sleep 0.05; done\n")
    nodes.run("start", "c1", "--cmd", "sh program.sh", "--stop-signal", "INT", "--ready-after", "0.1")
    until(lambda: "begun" in nodes.log("c1"), what="it has begun")
    keeper, worker = nodes.keeper("c1"), nodes.worker("c1")
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(keeper, number)  # any of them would end it
    nodes.run("reload", "c1")
    assert nodes.worker("c1") != worker
    assert nodes.log("c1").count("wound down") == 1
    nodes.run("stopwait", "c1")
    assert nodes.log("c1").count("wound down") == 2
    assert nodes.record("c1")["last_end"]["text"] == "exit status 0"


def test_its_ladder_goes_from_its_stop_signal_to_the_kill(nodes: Nodes) -> None:
    nodes.project.write("deaf.sh", "trap '' TERM QUIT\necho begun\nwhile :; do sleep 0.05; done\n")
    more = ("--ready-after", "0.1", "--quit-after", "0.05", "--kill-after", "0.2")
    nodes.run("start", "c1", "--cmd", "sh deaf.sh", *more)
    until(lambda: "begun" in nodes.log("c1"), what="it has begun")
    nodes.run("stopwait", "c1", code=5)
    assert "sending KILL" in nodes.log("c1")
    assert "sending QUIT" not in nodes.log("c1")


def test_a_reload_without_overlap_stops_first_and_has_the_same_keeper(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow", more=("--singleton",))
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    os.kill(keeper, signal.SIGHUP)
    until(lambda: nodes.record("w1")["state"] == "reloading", what="it stops first")
    os.kill(keeper, signal.SIGHUP)  # a second one changes nothing
    assert len(nodes.record("w1")["workers"]) == 1
    nodes.nudge("w1")
    until(lambda: nodes.record("w1")["state"] == "running" and nodes.worker("w1") != worker, what="replaced")
    assert nodes.keeper("w1") == keeper
    assert nodes.record("w1")["reload"]["state"] == "done"
    assert nodes.record("w1")["restarts"] == 0
    assert nodes.log("w1").count("fake worker") == 2


def test_a_keeper_killed_in_the_middle_of_that_is_followed_by_one_that_goes_on(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow", more=("--singleton",))
    worker = nodes.worker("w1")
    os.kill(nodes.keeper("w1"), signal.SIGHUP)
    until(lambda: nodes.record("w1")["state"] == "reloading", what="it stops first")
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    assert nodes.record("w1")["state"] == "reloading"
    nodes.nudge("w1")
    until(lambda: nodes.record("w1")["state"] == "running" and nodes.worker("w1") != worker, what="replaced")


def test_a_worker_that_turns_out_to_be_of_another_engine_is_kept_as_that(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.engine")
    assert nodes.record("w1")["workers"][0]["engine"] == "other"
    path = spec_file(nodes, "w1")
    spec = json.loads(path.read_text())
    spec["engines"] = {"other": {"signals": {**spec["signals"], "warm": int(signal.SIGINT)}, "overlap": False}}
    path.write_text(json.dumps(spec))
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    assert nodes.record("w1")["workers"][0]["engine"] == "other"
    nodes.run("stopwait", "w1")
    assert nodes.log("w1").rstrip().rpartition("stopping for ")[2].startswith("SIGINT")
