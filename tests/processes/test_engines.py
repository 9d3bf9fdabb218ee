"""Nodes of other engines than multi's: any command, and what there is to be one of in a project."""

from __future__ import annotations

import os
import signal
import sys

from support.nodes import Nodes, is_alive
from support.wait import until

DAEMON = """
    import os, sys, time

    if os.fork():
        os._exit(0)
    if sys.argv[1] == "session":
        os.setsid()
        if os.fork():
            os._exit(0)
    with open(f"{sys.argv[0]}.pid", "w") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(600)
"""


def test_a_command_is_kept_as_a_worker_is(nodes: Nodes) -> None:
    nodes.run("start", "c1", "--cmd", "sleep 600", "--ready-after", "0.1", "--restart-delay", "0.05")
    first = nodes.worker("c1")
    os.kill(first, signal.SIGKILL)
    until(lambda: nodes.record("c1").get("restarts") == 1, what="a restart")
    nodes.until_state("c1", "running")
    assert nodes.worker("c1") != first
    # what means something to multi's worker would end a program that never heard of it
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN):
        os.kill(nodes.keeper("c1"), number)
    second = nodes.worker("c1")
    nodes.run("restart", "c1")
    assert not is_alive(second)
    nodes.run("stopwait", "c1")
    assert nodes.record("c1")["last_end"]["kind"] == "stop"


def test_a_command_that_ends_well_stays_down_unless_it_is_always_to_run(nodes: Nodes) -> None:
    nodes.run("start", "c1", "--cmd", "sh -c 'sleep 0.3'", "--ready-after", "0.05")
    nodes.until_state("c1", "stopped")
    nodes.run(
        "start", "c2", "--cmd", "sleep 0.3", "--ready-after", "0.05", "--restart", "always", "--restart-delay", "0.05"
    )
    until(lambda: nodes.record("c2").get("generation", 0) >= 3, what="it runs for the third time")


def test_a_command_that_puts_itself_into_the_background_is_told_to_stay(nodes: Nodes) -> None:
    daemon = nodes.project.write("daemon.py", DAEMON)
    for how in ("session", "simply"):
        done = nodes.run("start", "c1", "--cmd", f"{sys.executable} {daemon} {how}", code=1)
        assert "put itself into the background" in done.stderr
        assert "stay in the foreground" in done.stderr
    pid = nodes.project.path / "daemon.py.pid"
    if pid.exists() and (text := pid.read_text().strip()):
        until(lambda: not is_alive(int(text)), what="nothing of it runs on")


def test_a_program_that_is_not_there_is_refused(nodes: Nodes) -> None:
    assert "there is no program nosuch on the PATH" in nodes.run("start", "c1", "--cmd", "nosuch --x", code=2).stderr
    assert "options of a worker" in nodes.run("start", "c1", "--cmd", "sleep 1", "-c", "2", code=2).stderr


def test_a_singleton_is_one_of_its_kind_in_the_project(nodes: Nodes) -> None:
    words = ("--cmd", "sleep 600", "--ready-after", "0.05", "--singleton")
    nodes.run("start", "c1", *words)
    said = nodes.run("start", "c2", *words, code=1).stderr
    assert "c1@" in said
    assert "multi stopwait c1" in said
    first = nodes.worker("c1")
    nodes.run("reload", "c1")
    assert not is_alive(first)
    nodes.run("start", "c3", "--cmd", "sleep 600", "--ready-after", "0.05")  # no singleton
    nodes.run("stopwait", "c1")
    nodes.run("start", "c2", *words)
    assert "c2@" in nodes.run("start", "c1", code=1).stderr


def test_singletons_of_different_programs_or_tables_run_side_by_side(nodes: Nodes) -> None:
    words = ("--ready-after", "0.05", "--singleton")
    nodes.run("start", "c1", "--cmd", "sleep 600", *words)
    nodes.run("start", "c2", "--cmd", "sleep 700", *words)
    assert "c2@" in nodes.run("start", "c3", "--cmd", "sleep 700", *words, code=1).stderr
    nodes.run("stopwait", "c1", "c2")
    nodes.project.write(
        "multi.toml",
        """
        [defaults]
        ready_after = 0.05
        [nodes.flower]
        command = "sleep 800"
        singleton = true
        [nodes.web]
        command = "tail -f /dev/null"
        singleton = true
        """,
    )
    nodes.run("up")
    assert {nodes.record(name)["state"] for name in ("flower", "web")} == {"running"}
    assert "flower@" in nodes.run("start", "c4", "--cmd", "sleep 800", *words, code=1).stderr


def test_of_two_singletons_that_start_at_once_one_is_left(nodes: Nodes) -> None:
    words = ("--cmd", "sleep 600", "--ready-after", "0.05", "--singleton")
    both = [nodes.project.popen("start", name, *words) for name in ("c1", "c2")]
    for one in both:
        one.communicate(timeout=30)
    assert sorted(one.returncode for one in both) == [0, 1]


ENGINE = """
    from multi.nodes.engines.base import Engine


    class Sleeper(Engine):
        name = "sleeper"

        def argv(self, spec, log_pattern):
            return ["sleep", "600"]

        def keeping(self, spec):
            signals = dict.fromkeys(("cold", "dump", "reopen", "grow", "shrink"))
            return {
                "ready": {"by": "alive", "after": 0.05},
                "signals": {"warm": 15, **signals},
                "overlap": False,
                "log_rotation": "in_place",
                "watchdog": None,
            }
"""


def test_what_the_engine_of_somebody_else_cannot_do_is_said_of_it(nodes: Nodes) -> None:
    folder = nodes.project.path / "installed"
    nodes.project.write("installed/sleeper_eng.py", ENGINE)
    nodes.project.write("installed/sleeper_eng-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: sleeper-eng\n")
    points = "[multi.engines]\nsleeper = sleeper_eng:Sleeper\n"
    nodes.project.write("installed/sleeper_eng-1.0.dist-info/entry_points.txt", points)
    nodes.project.env["PYTHONPATH"] = str(folder)
    nodes.run("start", "r1", "--engine", "sleeper")
    done = nodes.run("pause", "r1", "--force", code=1)
    assert "r1@" in done.stderr
    assert "not paused: the engine 'sleeper' that runs it takes no such request" in done.stderr
    assert "reload" not in done.stderr
    assert not nodes.record("r1").get("paused")
    said = nodes.run("stack", "r1", code=None).stdout
    assert "the engine 'sleeper' that runs it tells nothing of stacks" in said
