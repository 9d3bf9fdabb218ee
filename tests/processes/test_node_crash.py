"""Workers that die, and keepers that die: who starts what again, and when it ends."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes, is_alive, kill
from support.wait import until

from multi.stats import StatsPage


def test_a_crashed_worker_is_started_again(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.sleeps", more=("--restart-delay", "0.05"))
    first = nodes.worker("w1")
    (child,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    kill(first)
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="restarted")
    assert nodes.worker("w1") != first
    assert not is_alive(int(child)), "a child whose worker is gone ends with it"
    assert nodes.status("w1")["last_end"]["text"] == "killed by KILL"
    assert nodes.status("w1")["restarts"] == 1


def test_the_pauses_between_crashes_double(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart-delay", "0.1", "--max-crashes", "4"))
    for restarts in range(1, 4):
        nodes.nudge("w1")
        until(lambda wanted=restarts: nodes.record("w1")["restarts"] == wanted, what="counted")  # type: ignore[misc]
        nodes.until_state("w1", "running")
    assert [line.rpartition(" in ")[2] for line in nodes.log("w1").splitlines() if "started again" in line] == [
        "0.1 s",
        "0.2 s",
        "0.4 s",
    ]


def test_a_crash_loop_is_given_up_and_told(nodes: Nodes) -> None:
    done = nodes.start("w1", plan="ready.crash", more=("--restart-delay", "0.01", "--max-crashes", "3"), code=None)
    assert done.returncode in (0, 1)  # it was ready, for a moment
    record = nodes.until_state("w1", "failed")
    assert record["message"] == ("the worker has ended: exit status 3; given up after 3 crashes without 60 s of health")
    assert record["message"] in nodes.log("w1")
    said = nodes.run("status", "w1", code=1).stdout
    assert "failed" in said
    assert "given up after 3 crashes" in said
    nodes.project.write("plan", "")
    nodes.run("restart", "w1", "-A", "ready")
    assert nodes.record("w1")["crashes"] == 0


def test_health_forgives_earlier_crashes(nodes: Nodes) -> None:
    more = ("--restart-delay", "0.01", "--max-crashes", "2", "--healthy-after", "0")
    nodes.start("w1", plan="ready.fragile", more=more)
    for restarts in range(1, 4):
        nodes.nudge("w1")
        until(lambda wanted=restarts: nodes.record("w1")["restarts"] == wanted, what="counted")  # type: ignore[misc]
        nodes.until_state("w1", "running")


def test_an_error_that_a_restart_would_not_cure_is_not_tried_again(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready fragile")
    nodes.start("w1", plan="file", more=("--restart-delay", "0.01"))
    nodes.project.write("plan", "usage")
    nodes.nudge("w1")
    record = nodes.until_state("w1", "failed")
    assert "exit status 2, which a restart won't change" in record["message"]


def test_restart_never_means_never(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart", "never"))
    nodes.nudge("w1")
    assert nodes.until_state("w1", "failed")["restarts"] == 0


def test_a_start_during_the_pause_after_a_crash_does_not_wait_for_its_end(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart-delay", "60"))
    nodes.nudge("w1")
    record = nodes.until_state("w1", "backoff")
    assert nodes.status("w1")["next_start"] > record["since"] + 50
    assert "already running" in nodes.run("start", "w1").stdout
    assert nodes.record("w1")["state"] == "running"


def test_a_stop_during_the_pause_after_a_crash_is_a_stop(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart-delay", "60"))
    nodes.nudge("w1")
    nodes.until_state("w1", "backoff")
    nodes.run("stopwait", "w1")
    assert nodes.status("w1")["state"] == "stopped"


# ---- the keeper's death


@pytest.mark.parametrize("action", ["start", "status", "stopwait", "restart", "kill"])
def test_the_next_command_adopts_the_worker_of_a_dead_keeper(nodes: Nodes, action: str) -> None:
    nodes.start("w1", plan="ready.sleeps")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    everybody = [worker, *map(int, Path(f"/proc/{worker}/task/{worker}/children").read_text().split())]
    kill(keeper)
    assert is_alive(worker)
    said = nodes.run(action, "w1").stdout
    if action in ("start", "status"):
        assert str(nodes.keeper("w1")) in said
        assert nodes.worker("w1") == worker
        assert nodes.record("w1")["state"] == "running"
        assert "has adopted the worker" in nodes.log("w1")
        nodes.run("stopwait", "w1")
    if action != "kill":
        assert "stopping for SIGTERM" in nodes.log("w1")
    assert not [pid for pid in everybody if is_alive(pid)]


def test_an_adopted_worker_is_watched_like_another(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.sleeps", more=("--restart-delay", "0.05"))
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    worker = nodes.worker("w1")
    (child,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    kill(worker)
    until(lambda: nodes.record("w1")["state"] == "running" and nodes.worker("w1") != worker, what="restarted")
    assert not is_alive(int(child))
    assert nodes.record("w1")["last_end"]["kind"] == "unknown"
    assert f"the worker (pid {worker}) ended: in a way that nobody saw" in nodes.run("why", "w1").stdout


def test_an_adopted_worker_tells_by_itself_that_it_was_stopped(nodes: Nodes) -> None:
    nodes.start("w1")
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    kill(nodes.worker("w1"), signal.SIGQUIT)
    record = nodes.until_state("w1", "stopped")
    assert (record["last_end"]["text"], record["last_end"]["reason"]) == ("exit status 1", "SIGQUIT")


def test_readiness_that_nobody_heard_is_read_from_the_stats_page(nodes: Nodes) -> None:
    starting = nodes.popen_start("w1", plan="later")
    nodes.until_state("w1", "starting")
    until(lambda: "fake worker" in nodes.log("w1"), what="the worker has begun")
    kill(nodes.keeper("w1"))
    # the start itself notices, and has a new keeper adopt the worker; stopped, that one can't hear the worker either
    until(lambda: "has adopted the worker" in nodes.log("w1"), what="the worker is adopted")
    os.kill(nodes.keeper("w1"), signal.SIGSTOP)
    page = nodes.folder("w1") / f"stats.{nodes.record('w1')['generation']}"
    nodes.nudge("w1")
    until(lambda: (found := StatsPage.read(str(page))) is not None and found.state == "ready", what="ready, unheard")
    kill(nodes.keeper("w1"))
    out, _ = starting.communicate(timeout=30)
    assert f"OK (pid {nodes.keeper('w1')}, " in out
    assert nodes.log("w1").count("has adopted the worker") == 2


def test_a_worker_whose_record_is_lost_is_found_by_its_lock(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.forks")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    kill(keeper)
    (nodes.folder("w1") / "status.json").unlink()
    assert nodes.status("w1")["state"] == "running"
    assert nodes.worker("w1") == worker
    nodes.run("stopwait", "w1")
    assert not is_alive(worker)


def test_both_dead_means_crashed_and_a_start_begins_anew(nodes: Nodes) -> None:
    nodes.start("w1")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    kill(keeper)
    kill(worker)
    assert nodes.run("status", "w1", code=1).stdout.splitlines()[1].split()[1] == "crashed"
    assert "OK (pid" in nodes.run("start", "w1").stdout


@pytest.mark.parametrize("seed", range(6))
def test_a_keeper_killed_at_any_moment_leaves_no_second_worker_and_none_unknown(nodes: Nodes, seed: int) -> None:
    """Start, and kill the keeper somewhere on the way; whatever there is then, one command brings it into order."""
    chance = random.Random(seed)
    for _ in range(4):
        starting = nodes.popen_start("w1", plan="ready.sleeps")
        looks = chance.randrange(1, 40)
        pid = 0
        for _ in range(20_000):
            pid = (nodes.record("w1").get("keeper") or {}).get("pid", 0)
            if pid and is_alive(pid):
                looks -= 1
                if looks <= 0:
                    break
        if pid and is_alive(pid):
            os.kill(pid, signal.SIGKILL)
        starting.communicate(timeout=30)
        nodes.run("start", "w1")
        record = nodes.record("w1")
        assert record["state"] == "running"
        sessions = {os.getsid(int(one)) for one in fakes(nodes)}
        assert sessions == {nodes.worker("w1")}, (sessions, record)
        nodes.run("stopwait", "w1")
        assert not fakes(nodes)


def fakes(nodes: Nodes) -> list[str]:
    """The workers of this test's nodes, by command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if f"w1@{HOST}" in words and "worker" in words and str(nodes.state) in "".join(words):
            found.append(entry.name)
    return found
