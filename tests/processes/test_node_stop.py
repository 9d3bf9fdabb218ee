"""Stopping nodes: gone means every process, nothing is forced unasked, and nobody else is hit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes, is_alive, kill
from support.wait import until


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_stopwait_returns_when_keeper_worker_and_children_are_gone(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.sleeps.forks")
    worker = nodes.worker("w1")
    everybody = [nodes.keeper("w1"), worker, *children(worker)]
    assert len(everybody) == 4
    said = nodes.run("stopwait", "w1", "-A", "ready.sleeps.forks", "-l", "INFO").stdout
    assert not [pid for pid in everybody if is_alive(pid)]
    assert said.splitlines() == [
        "multi v0.1.0",
        "> Stopping nodes...",
        f"    > w1@{HOST}: TERM -> {everybody[0]}",
        f"> Waiting for 1 node -> {everybody[0]}...",
        f"    > w1@{HOST}: DOWN",
    ]
    assert not (nodes.folder("w1") / "pid").exists()
    assert nodes.status("w1")["state"] == "stopped"


def test_stop_does_not_wait_and_a_running_task_is_not_cut_short(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    nodes.run("stop", "w1")
    nodes.until_state("w1", "stopping")
    assert is_alive(worker)
    done = nodes.run("stopwait", "w1", "--timeout", "0.3", code=1)
    assert f"w1@{HOST} (pid {keeper}) still runs after 0.3 s" in done.stderr
    nodes.nudge("w1")
    nodes.run("stopwait", "w1")
    assert "stopping for SIGTERM" in nodes.log("w1")


def test_nodes_are_stopped_all_at_once(nodes: Nodes) -> None:
    names = [f"celery{number}" for number in range(1, 7)]
    nodes.start("6", plan="ready.slow")
    keepers = [nodes.keeper(name) for name in names]
    waiting = nodes.project.popen("stopwait", *names)
    for name in reversed(names):
        nodes.until_state(name, "stopping")
    for name in names:
        nodes.nudge(name)
    out, _ = waiting.communicate(timeout=30)
    assert out.count("DOWN") == 6
    assert not [pid for pid in keepers if is_alive(pid)]


@pytest.mark.parametrize("word", ["-9", "-KILL", "-SIGKILL", "--signal=9", "--signal=kill"])
def test_a_signal_is_given_by_name_and_by_number(nodes: Nodes, word: str) -> None:
    nodes.start("w1", plan="ready.deaf")
    keeper = nodes.keeper("w1")
    assert f"w1@{HOST}: KILL -> {keeper}" in nodes.run("stop", word, "w1").stdout
    until(lambda: not is_alive(keeper), what="it is down")


@pytest.mark.parametrize("words", [("-10", "w1"), ("w1", "-USR1"), ("w1", "--signal", "USR1")])
def test_a_signal_that_is_no_end_is_passed_on_and_said_so(nodes: Nodes, words: tuple[str, ...]) -> None:
    nodes.start("w1", plan="ready.busy")  # its task is over when USR1 comes
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    assert nodes.status("w1")["active"] == 1
    said = nodes.run("stop", *words).stdout
    assert said.splitlines()[1:] == [
        "> Passing USR1 on...",
        f"    > w1@{HOST}: USR1 -> {worker} (the worker; it goes on)",
    ]
    until(lambda: nodes.status("w1")["active"] == 0, what="it has got it")
    assert (nodes.keeper("w1"), nodes.worker("w1")) == (keeper, worker)
    for command in ("stopwait", "restart"):
        assert "to pass USR1 on to a worker: multi stop NODE -USR1" in nodes.run(command, "w1", "-USR1", code=2).stderr
    nodes.run("stopwait", "w1")
    assert "DOWN, nobody to pass it on to" in nodes.run("stop", *words, code=1).stdout


def test_a_signal_that_a_program_does_not_understand_is_not_sent(nodes: Nodes) -> None:
    nodes.run("start", "c1", "--cmd", "sleep 600", "--ready-after", "0.1")
    worker = nodes.worker("c1")
    said = nodes.run("stop", "c1", "-USR1", code=1).stdout
    assert "its program understands no USR1, so it was not sent" in said
    assert is_alive(worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("whom", ["keeper", "worker"])
def test_an_end_by_term_int_or_quit_is_a_stop_whoever_sent_it(nodes: Nodes, whom: str, number: int) -> None:
    nodes.start("w1")
    kill(getattr(nodes, whom)("w1"), number)
    nodes.until_state("w1", "stopped")
    assert f"stopping for {signal.Signals(number).name}" in nodes.log("w1")
    assert nodes.run("status", "w1", code=3)


def test_a_worker_that_dies_of_the_signal_itself_has_been_stopped_too(nodes: Nodes) -> None:
    nodes.python.write_text("#!/bin/sh\nsleep 600\n")
    starting = nodes.popen_start("w1")
    until(lambda: nodes.record("w1").get("workers"), what="the worker is on record")
    kill(nodes.worker("w1"), signal.SIGTERM)
    _, err = starting.communicate(timeout=30)
    assert starting.returncode == 1
    assert "it was stopped before it was ready: the worker has stopped: killed by TERM" in err
    assert nodes.status("w1")["state"] == "stopped"


def test_the_ladder_is_climbed_only_after_the_times_that_were_given(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.deaf")
    nodes.run("stop", "w1")
    nodes.until_state("w1", "stopping")
    assert nodes.run("stopwait", "w1", "--timeout", "0.3", code=1)
    begun = time.monotonic()
    nodes.run("stopwait", "w1", "--quit-after", "0.2")
    assert time.monotonic() - begun > 0.2
    assert "still running, sending QUIT" in nodes.log("w1")
    assert "stopping for SIGQUIT" in nodes.log("w1")


def test_a_node_that_took_a_kill_is_down_with_its_own_exit_code(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow.sleeps")
    worker = nodes.worker("w1")
    everybody = [worker, *children(worker)]
    done = nodes.run("stopwait", "w1", "--kill-after", "0.2", code=5)
    assert f"w1@{HOST}: DOWN, killed" in done.stdout
    assert not [pid for pid in everybody if is_alive(pid)]
    assert nodes.status("w1")["state"] == "stopped"


def test_times_of_the_ladder_can_be_kept_with_the_node(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.deaf", more=("--quit-after", "0.1"))
    kill(nodes.keeper("w1"), signal.SIGTERM)
    nodes.until_state("w1", "stopped")
    assert "stopping for SIGQUIT" in nodes.log("w1")


@pytest.mark.parametrize("word", ["-QUIT", "-3", "--signal=SIGQUIT", "--signal=quit"])
def test_a_stop_takes_another_signal_in_every_spelling(nodes: Nodes, word: str) -> None:
    nodes.start("w1")
    assert f"QUIT -> {nodes.keeper('w1')}" in nodes.run("stopwait", "w1", word).stdout
    assert "stopping for SIGQUIT" in nodes.log("w1")


def test_kill_ends_a_node_that_listens_to_nothing(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow.sleeps")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    everybody = [keeper, worker, *children(worker)]
    os.kill(keeper, signal.SIGSTOP)
    os.kill(worker, signal.SIGSTOP)
    nodes.run("kill", "w1")
    assert not [pid for pid in everybody if is_alive(pid)]


def test_a_process_that_left_the_session_has_left_the_node(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.away")
    (away,) = children(nodes.worker("w1"))
    try:
        nodes.run("stopwait", "w1")
        assert is_alive(away)
    finally:
        kill(away)


def test_a_stopped_node_stays_stopped_and_a_stop_of_it_is_fine(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    done = nodes.run("stopwait", "w1")
    assert done.stdout.splitlines()[1:] == ["> Stopping nodes...", f"    > w1@{HOST}: DOWN"]


def test_a_node_that_was_never_started_is_unknown(nodes: Nodes) -> None:
    nodes.start("w1")
    for action in ("stop", "stopwait", "kill", "status", "logs"):
        done = nodes.run(action, "w7", code=4)
        assert "no node 'w7'" in done.stderr
        assert "known are w1" in done.stderr


def test_restart_needs_nothing_but_the_name(nodes: Nodes) -> None:
    nodes.start("w1", "w2", more=("-l", "INFO", "-c", "2"))
    before = nodes.keeper("w1"), nodes.keeper("w2")
    elsewhere = nodes.project.home
    done = subprocess.run(
        [nodes.project.env["PATH"].split(":")[0] + "/multi", "restart", "w1", "w2"],
        cwd=elsewhere,
        env=nodes.project.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"> Restarting node w1@{HOST}: OK (pid {nodes.keeper('w1')}, ready in" in done.stdout
    after = nodes.keeper("w1"), nodes.keeper("w2")
    assert not {*before} & {*after}
    command = Path(f"/proc/{nodes.worker('w1')}/cmdline").read_text().split("\0")
    assert "ready" in command
    assert command[command.index("-l") + 1] == "INFO"
    assert os.readlink(f"/proc/{nodes.worker('w1')}/cwd") == str(nodes.project.path)


def test_restart_with_an_option_changes_that_alone_and_says_so(nodes: Nodes) -> None:
    nodes.start("w1", more=("-l", "INFO", "-c", "2", "-b", "redis://:old@h/0", "--env", "SECRET=one"))
    done = nodes.run("restart", "w1", "-c", "8", "-b", "redis://:new@h/1", "--env", "SECRET=two")
    assert "concurrency: 2 -> 8" in done.stdout
    assert "broker: redis://:**@h/0 -> redis://:**@h/1" in done.stdout
    assert "environment: SECRET\n" in done.stdout
    command = Path(f"/proc/{nodes.worker('w1')}/cmdline").read_text().split("\0")
    assert command[command.index("-c") + 1] == "8"
    assert command[command.index("-l") + 1] == "INFO"
    environment = Path(f"/proc/{nodes.worker('w1')}/environ").read_text().split("\0")
    assert "SECRET=two" in environment


def test_restart_starts_a_node_that_is_down(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    assert f"    > w1@{HOST}: OK (pid " in nodes.run("restart", "w1").stdout


def test_the_kept_specification_is_for_its_owner_alone(nodes: Nodes) -> None:
    nodes.start("w1", more=("--env", "SECRET=one"))
    (spec,) = nodes.state.glob("nodes/*/*/spec.json")
    assert spec.stat().st_mode & 0o777 == 0o600
    for folder in (spec.parent, spec.parent.parent, nodes.folder("w1")):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_stop_right_after_the_begin_of_a_start_stops_the_node(nodes: Nodes) -> None:
    for pause in range(0, 60, 4):
        starting = nodes.popen_start("w1")
        until(lambda: list(nodes.state.glob("nodes/*/*/spec.json")), what="the node is known")
        for _ in range(pause):
            nodes.record("w1")  # as good a way as any to let a moment pass
        nodes.run("stopwait", "w1")
        starting.communicate(timeout=30)
        # either order is right; in none of them may anything be left that nobody knows of
        nodes.run("stopwait", "w1")
        assert nodes.status("w1")["state"] in ("stopped", "failed")
