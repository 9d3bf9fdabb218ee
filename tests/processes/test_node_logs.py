"""The log of a node: whole over rotations and deaths, shown and followed."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from support.nodes import HOST, Nodes, kill
from support.wait import until

LINE = re.compile(r"^line (\d+) (\d+)$", re.MULTILINE)


def log_files(nodes: Nodes) -> list[Path]:
    """Oldest first."""
    found = nodes.state.glob(f"log/*/w1@{HOST}.log*")
    return sorted(found, key=lambda path: -int(path.name.rpartition(".log")[2].removeprefix(".") or 0))


def counts(nodes: Nodes) -> list[int]:
    return [int(count) for path in log_files(nodes) for _, count in LINE.findall(path.read_text())]


def test_rotation_loses_no_line_and_keeps_as_many_files_as_wanted(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.chatty", more=("--log-size", "100k", "--log-keep", "500"))
    until(lambda: len(log_files(nodes)) >= 4, 20, what="three rotations")
    nodes.run("stopwait", "w1")
    found = counts(nodes)
    assert found == list(range(1, len(found) + 1))
    assert all(path.stat().st_size >= 100 * 1024 for path in log_files(nodes)[:-1])


def test_old_logs_beyond_the_wanted_number_go(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.chatty", more=("--log-size", "20k", "--log-keep", "2"))
    until(lambda: (counts(nodes) or [0])[0] > 1, 30, what="the first lines are gone")
    nodes.run("stopwait", "w1")
    assert [path.name for path in log_files(nodes)] == [f"w1@{HOST}.log{end}" for end in (".2", ".1", "")]
    found = counts(nodes)
    assert found == list(range(found[0], found[0] + len(found)))


def test_no_line_is_lost_when_the_keeper_is_killed_and_the_worker_is_adopted(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.chatty", more=("--log-size", "100k", "--log-keep", "500"))
    until(lambda: len(log_files(nodes)) >= 2, 20, what="a rotation")
    kill(nodes.keeper("w1"))
    before = len(counts(nodes))
    until(lambda: len(counts(nodes)) > before + 1000, what="the worker goes on writing")
    nodes.run("start", "w1")
    files = len(log_files(nodes))
    until(lambda: len(log_files(nodes)) > files, 20, what="a rotation by the new keeper")
    nodes.run("stopwait", "w1")
    found = counts(nodes)
    assert found == list(range(1, len(found) + 1))


def test_usr2_reopens_a_log_that_somebody_else_has_moved(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.chatty")
    (log,) = log_files(nodes)
    log.rename(f"{log}.1")
    os.kill(nodes.keeper("w1"), signal.SIGUSR2)
    until(lambda: log.exists() and LINE.search(log.read_text()), what="lines in the new file")
    nodes.run("stopwait", "w1")
    found = counts(nodes)
    assert found == list(range(1, len(found) + 1))


def test_a_silent_log_wakes_nobody(nodes: Nodes) -> None:
    nodes.start("w1")
    keeper = nodes.keeper("w1")

    def switches() -> int:
        text = Path(f"/proc/{keeper}/status").read_text()
        return sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", text))

    def has_passed(seconds: float) -> bool:
        return time.monotonic() > begun + seconds

    # the line of the start is looked at once, a second later; from then on nothing may happen
    begun = time.monotonic()
    until(lambda: has_passed(1.5), what="the time of that look is over")
    before = switches()
    until(lambda: has_passed(3.5), what="two seconds of silence are over")
    assert switches() == before


def test_logs_shows_the_last_lines_and_names_the_node_when_there_are_several(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    pids = {name: nodes.worker(name) for name in ("w1", "w2")}
    one = nodes.run("logs", "w1", "-n", "1").stdout
    assert one.startswith(f"fake worker {pids['w1']} ")
    both = nodes.run("logs", "w1", "w2").stdout
    for name, pid in pids.items():
        assert f"{name}@{HOST} | fake worker {pid} " in both
    assert nodes.run("logs").stdout == both


def test_following_shows_what_is_added_over_a_rotation(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    follower = nodes.project.popen("logs", "-f", "-n", "1", "w1", "w2")
    assert follower.stdout is not None
    assert "fake worker" in follower.stdout.readline()
    assert "fake worker" in follower.stdout.readline()
    (log,) = log_files(nodes)
    with log.open("a") as file:
        file.write("before\n")
        file.flush()
        assert follower.stdout.readline() == f"w1@{HOST} | before\n"
        log.rename(f"{log}.1")
        file.write("to the renamed file\n")
        file.flush()
    os.kill(nodes.keeper("w1"), signal.SIGUSR2)
    until(log.exists, what="a new file")
    with log.open("a") as file:
        file.write("after\n")
    assert follower.stdout.readline() == f"w1@{HOST} | to the renamed file\n"
    assert follower.stdout.readline() == f"w1@{HOST} | after\n"
    follower.send_signal(signal.SIGINT)
    out, err = follower.communicate(timeout=10)
    assert (follower.returncode, out, err) == (0, "", "")


def test_the_log_file_pattern_is_filled_in_and_its_folder_made(nodes: Nodes) -> None:
    nodes.start("w1", "w2", more=("--logfile=logs/%n%I.log", "--pidfile", "run/%p-%d.pid"))
    for name in ("w1", "w2"):
        assert "fake worker" in (nodes.project.path / f"logs/{name}.log").read_text()
        assert (nodes.project.path / f"run/{name}@{HOST}-{HOST}.pid").exists()
        assert f"-f {nodes.project.path}/logs/{name}%I.log" in (nodes.project.path / f"logs/{name}.log").read_text()


def test_two_nodes_may_not_share_a_log_or_a_pidfile(nodes: Nodes) -> None:
    for option in ("--logfile", "--pidfile"):
        done = nodes.start("w1", "w2", more=(option, "shared"), code=2)
        assert f"{option}: w1@{HOST} and w2@{HOST} would both use" in done.stderr
        assert "put %n into it" in done.stderr
