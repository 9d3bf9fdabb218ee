"""Starting nodes: OK means ready, and every other outcome is told with its reason."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from pathlib import Path

from support.nodes import HOST, Nodes, is_alive, kill


def test_a_start_says_ok_with_the_pid_of_the_pidfile_when_the_worker_is_ready(nodes: Nodes) -> None:
    said = nodes.start("w1", "w2").stdout
    assert said.startswith("multi v0.1.0\n> Starting nodes...\n")
    pids = dict(
        re.findall(rf"^    > (w\d)@{re.escape(HOST)}: OK \(pid (\d+), ready in \d+\.\d s\)$", said, re.MULTILINE)
    )
    assert pids.keys() == {"w1", "w2"}
    for name, pid in pids.items():
        assert (nodes.folder(name) / "pid").read_text() == f"{pid}\n"
        assert nodes.record(name)["state"] == "running"
        assert is_alive(int(pid))
        assert is_alive(nodes.worker(name))


def test_a_number_starts_as_many_nodes_and_the_prefix_names_them(nodes: Nodes) -> None:
    nodes.start("2", more=("--range-prefix", "mail"))
    assert {folder.name for folder in nodes.state.glob("run/*/*")} == {f"mail1@{HOST}", f"mail2@{HOST}"}


def test_a_worker_that_ends_before_it_is_ready_is_a_failure_with_its_last_words(nodes: Nodes) -> None:
    done = nodes.start("w1", plan="die", code=1)
    assert f"    > w1@{HOST}: FAILED\n" in done.stdout
    assert "the worker has ended before it was ready: exit status 3" in done.stderr
    assert "    cannot live\n" in done.stderr
    assert nodes.run("status", "w1", code=1).stdout.splitlines()[1].split()[:2] == [f"w1@{HOST}", "failed"]


def test_of_several_nodes_the_good_ones_run_though_one_fails(nodes: Nodes) -> None:
    nodes.start("w1")
    done = nodes.start("w1", "w2", plan="die", code=1)
    assert f"w1@{HOST}: already running (pid {nodes.keeper('w1')}, since " in done.stdout
    assert f"w2@{HOST}: FAILED" in done.stdout
    assert nodes.record("w1")["state"] == "running"


def test_an_already_running_node_is_told_and_left_alone(nodes: Nodes) -> None:
    nodes.start("w1")
    before = nodes.record("w1")
    done = nodes.start("w1", plan="die")
    assert f"already running (pid {before['keeper']['pid']}, since " in done.stdout
    assert nodes.record("w1") == before


def test_a_worker_that_takes_too_long_is_told_with_what_it_says_itself_and_goes_on(nodes: Nodes) -> None:
    done = nodes.start("w1", plan="wait", more=("--timeout", "0.5"), code=1)
    assert "not ready after 0.5 s, still starting" in done.stdout
    assert "waiting for the broker" in done.stderr
    assert "multi stop w1" in done.stderr
    assert nodes.status("w1")["state"] == "starting"
    nodes.run("stopwait", "w1")


def test_an_interpreter_that_is_not_there_is_named(nodes: Nodes) -> None:
    done = nodes.run("start", "w1", "-A", "ready", "--executable", "/nonexistent/python", code=1)
    assert "'/nonexistent/python' can't be run: No such file or directory" in done.stderr


def test_two_starts_at_once_make_one_node_and_both_are_content(nodes: Nodes) -> None:
    for _ in range(3):
        both = [nodes.popen_start("w1"), nodes.popen_start("w1")]
        said = [process.communicate(timeout=30) for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert sorted("already running" in out for out, _ in said) == [False, True], said
        assert len(nodes.record("w1")["workers"]) == 1
        assert not list((nodes.folder("w1")).glob("spec.json.*"))
        nodes.run("stopwait", "w1")


def test_a_start_during_another_waits_for_the_same_readiness(nodes: Nodes) -> None:
    first = nodes.popen_start("w1", plan="later")
    nodes.until_state("w1", "starting")
    second = nodes.popen_start("w1")
    nodes.nudge("w1")
    assert "OK (pid" in first.communicate(timeout=30)[0]
    assert "already running" in second.communicate(timeout=30)[0]


def test_a_start_after_a_stop_that_is_not_over_yet_waits_for_it(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow")
    first = nodes.keeper("w1")
    nodes.run("stop", "w1")
    nodes.until_state("w1", "stopping")
    starting = nodes.popen_start("w1")
    nodes.nudge("w1")  # lets the slow one go
    out, _ = starting.communicate(timeout=30)
    assert "OK (pid" in out
    assert nodes.keeper("w1") != first


def test_a_stale_pidfile_with_the_number_of_another_process_harms_nobody(nodes: Nodes) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        nodes.start("w1", more=("--pidfile", "run/%n.pid"))
        keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
        kill(keeper)
        kill(worker)
        pidfile = nodes.project.path / "run/w1.pid"
        assert pidfile.read_text() == f"{keeper}\n"
        pidfile.write_text(f"{bystander.pid}\n")
        record = nodes.folder("w1") / "status.json"
        record.write_text(record.read_text().replace(str(keeper), str(bystander.pid)))
        assert nodes.status("w1")["state"] == "crashed"
        assert f"w1@{HOST}: DOWN" in nodes.run("stop", "w1").stdout
        nodes.run("kill", "w1")
        nodes.run("restart", "w1")
        assert pidfile.read_text() == f"{nodes.keeper('w1')}\n"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_node_holds_nothing_of_the_command_that_started_it(nodes: Nodes) -> None:
    # the pipes of `multi` end although the node goes on, and no descriptor that it was given lives on in the node
    nodes.start("w1")
    for pid in (nodes.keeper("w1"), nodes.worker("w1")):
        links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert not [link for link in links if link.startswith("pipe:") and pid == nodes.worker("w1")]
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert os.getsid(nodes.keeper("w1")) == nodes.keeper("w1")
    assert os.getsid(nodes.worker("w1")) == nodes.worker("w1")


def test_the_keeper_is_small_and_the_worker_alone_holds_its_lock(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.forks")
    with open(f"/proc/{nodes.keeper('w1')}/smaps_rollup") as file:
        anonymous = next(int(line.split()[1]) for line in file if line.startswith("Pss_Anon:"))
    assert anonymous < 5000  # KiB; the rest is the interpreter's file, shared by all
    worker = nodes.worker("w1")
    (child,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    links = [os.readlink(f"/proc/{child}/fd/{fd}") for fd in os.listdir(f"/proc/{child}/fd")]
    assert not [link for link in links if link.endswith("worker.lock")]


def test_foreground_runs_the_keeper_itself_and_logs_to_standard_error(nodes: Nodes) -> None:
    process = nodes.popen_start("w1", more=("--foreground",))
    nodes.until_state("w1", "running")
    assert nodes.keeper("w1") == process.pid
    assert "is running already" in nodes.start("w1", more=("--foreground",), code=1).stderr
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "fake worker" in said
    assert "stopping for SIGTERM" in said


def test_on_a_terminal_ctrl_c_and_the_end_of_the_terminal_stop_the_node(nodes: Nodes) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        terminal, its_end = pty.openpty()
        words = ("-A", "ready", "--executable", str(nodes.python), "--foreground")
        process = nodes.project.popen("start", "w1", *words, stdin=its_end)
        nodes.until_state("w1", "running")
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == 0
        assert nodes.status("w1")["state"] == "stopped"
        os.close(terminal)
        os.close(its_end)


def test_all_nodes_are_started_again_and_where_there_are_none_it_is_told(nodes: Nodes) -> None:
    assert "no node is known here that could be started" in nodes.run("start", "--all", code=1).stderr
    nodes.start("w1", "w2")
    nodes.run("stopwait", "--all")
    assert "either nodes' names or --all" in nodes.run("start", "w1", "--all", code=2).stderr
    nodes.run("start", "--all")
    assert [nodes.record(name)["state"] for name in ("w1", "w2")] == ["running", "running"]
