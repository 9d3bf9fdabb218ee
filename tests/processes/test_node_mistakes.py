"""What goes wrong at the command line costs no running node, leaves nothing behind, and says what is the case."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes, is_alive, kill
from support.project import Project
from support.wait import until


def kept(nodes: Nodes) -> set[str]:
    return {folder.parent.name.partition("@")[0] for folder in nodes.state.glob("nodes/*/*/spec.json")}


def options(nodes: Nodes, name: str) -> dict[str, str]:
    (path,) = nodes.state.glob(f"nodes/*/{name}@{HOST}/spec.json")
    found: dict[str, str] = json.loads(path.read_text())["kept"]["options"]
    return found


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-c", "x"), "'x' is no number from 1 on"),
        (("--time-limit", "soon"), "Invalid value for '--time-limit'"),
        (("-P", "gevent"), "gevent"),
        (("-l", "LOUD"), "LOUD"),
        (("-s", "file"), "give -B, too"),
    ],
)
def test_a_restart_with_a_value_that_the_worker_refuses_stops_nothing(
    nodes: Nodes, words: tuple[str, ...], text: str
) -> None:
    nodes.start("w1")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    assert text in nodes.run("restart", "w1", *words, code=2).stderr
    assert (nodes.keeper("w1"), nodes.worker("w1")) == (keeper, worker)
    assert is_alive(worker)
    assert "concurrency" not in options(nodes, "w1")


def test_a_start_of_a_running_node_with_a_value_that_the_worker_refuses_is_refused(nodes: Nodes) -> None:
    nodes.start("w1")
    assert "'-3' is no number" in nodes.start("w1", more=("-c", "-3"), code=2).stderr


def test_a_password_is_not_in_the_list_of_processes(nodes: Nodes) -> None:
    url, backend = "redis://:hunter2@localhost/1", "redis://u:hunter3@localhost/2"
    nodes.start("w1", more=("-b", url, "--result-backend", backend, "-c", "2"))
    worker = Path(f"/proc/{nodes.worker('w1')}")
    assert "hunter" not in worker.joinpath("cmdline").read_text()
    variables = worker.joinpath("environ").read_text().split("\0")
    assert {f"MULTI_BROKER_URL={url}", f"MULTI_RESULT_BACKEND={backend}"} <= set(variables)
    shown = nodes.run("show", "w1").stdout
    assert shown.startswith("MULTI_BROKER_URL=redis://:**@localhost/1 MULTI_RESULT_BACKEND=redis://u:**@localhost/2 ")
    for words in (("show", "w1", "--json"), ("status", "w1", "--json"), ("restart", "w1", "-b", "redis://:hunter4@h")):
        assert "hunter" not in nodes.run(*words).stdout
    assert "MULTI_BROKER_URL=redis://:hunter4@h" in Path(f"/proc/{nodes.worker('w1')}/environ").read_text()


def test_a_restart_with_an_app_that_is_not_there_stops_nothing(project: Project) -> None:
    project.quickstart()
    project.multi("start", "w1", "-A", "proj", "-c", "1")
    try:
        assert "-A nosuch: there is no such module" in project.multi("restart", "w1", "-A", "nosuch", code=2).stderr
        project.multi("status", "w1")
    finally:
        project.multi("stopwait", "w1")


def test_a_change_that_a_node_cannot_start_with_is_not_kept(nodes: Nodes) -> None:
    nodes.start("w1", more=("-c", "2"))
    said = nodes.run("restart", "w1", "-A", "usage", "-c", "3", code=2).stderr
    assert "what it could not start with is not kept; `multi start w1` starts it as it was before" in said
    assert (options(nodes, "w1")["app"], options(nodes, "w1")["concurrency"]) == ("ready", "2")
    nodes.run("start", "w1")
    assert options(nodes, "w1")["concurrency"] == "2"


def test_a_change_that_failed_comes_back_neither_after_a_kill_on_the_way(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    starting = nodes.popen_start("w1", plan="later")
    nodes.until_state("w1", "starting")
    starting.send_signal(signal.SIGINT)
    starting.communicate()
    worker = nodes.worker("w1")
    kill(nodes.keeper("w1"))
    kill(worker)
    nodes.start("w1", plan="usage", code=2)
    assert options(nodes, "w1")["app"] == "ready"


def test_a_restart_of_an_unknown_name_makes_no_node(nodes: Nodes) -> None:
    nodes.start("w1")
    assert "no node 'nosuch'" in nodes.run("restart", "nosuch", code=4).stderr
    assert kept(nodes) == {"w1"}


def test_a_node_that_never_could_run_is_not_kept(nodes: Nodes) -> None:
    said = nodes.start("w1", plan="usage", code=2).stderr
    assert f"w1@{HOST} is not kept, since it never ran" in said
    assert f"The last lines of {nodes.state}/log/" in said
    assert kept(nodes) == set()
    nodes.run("status", "w1", code=4)
    # but for its story: why it never ran can still be looked up, as its log can
    assert not list(nodes.state.glob("nodes/*/*/*.json"))


def test_a_node_that_failed_for_another_reason_is_kept_with_it(nodes: Nodes) -> None:
    nodes.start("w1", plan="die", code=1)
    assert "before it was ready: exit status 3" in nodes.run("status", "w1", code=1).stdout


def test_a_node_is_forgotten_once_it_is_down(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    assert "w1@" in nodes.run("forget", "w1", code=1).stderr
    assert kept(nodes) == {"w1", "w2"}
    nodes.run("stopwait", "w1")
    assert "forgotten; its log stays: " in nodes.run("forget", "w1").stdout
    assert kept(nodes) == {"w2"}
    nodes.run("status", "w1", code=4)
    nodes.start("w1")
    assert nodes.record("w1")["restarts"] == 0


def test_a_node_that_waits_for_its_next_start_does_not_count_as_running(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.fragile", more=("--restart-delay", "30"))
    nodes.nudge("w1")
    nodes.until_state("w1", "backoff")
    assert "backoff" in nodes.run("status", "w1", code=1).stdout


def test_a_node_that_stops_does_not_say_that_it_is_ready(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow")
    nodes.run("stop", "w1")
    nodes.until_state("w1", "stopping")
    assert "consuming" not in nodes.run("status", "w1").stdout
    nodes.nudge("w1")
    nodes.run("stopwait", "w1")


def test_a_crashed_node_that_is_stopped_is_stopped(nodes: Nodes) -> None:
    pidfile = nodes.project.path / "pid"
    nodes.start("w1", more=("--pidfile", str(pidfile)))
    worker = nodes.worker("w1")
    kill(nodes.keeper("w1"))
    kill(worker)
    nodes.run("status", "w1", code=1)
    nodes.run("stop", "w1")
    nodes.run("status", "w1", code=3)
    assert not pidfile.exists()


def test_a_name_with_all_means_the_nodes_of_that_name_in_every_project(nodes: Nodes) -> None:
    nodes.start("same", "w2")
    other = nodes.project.path.parent / "other"
    other.mkdir()
    for folder in (other, nodes.project.path):
        done = subprocess.run(
            [sys.executable, "-m", "multi", "start", "same", "-A", "ready", "--executable", str(nodes.python)],
            cwd=folder,
            env={**nodes.project.env, "PWD": str(folder)},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
    told = json.loads(nodes.run("status", "same", "--all", "--json").stdout)
    assert sorted(one["project"] for one in told) == sorted([str(other), str(nodes.project.path)])
    for one in told:
        os.kill(one["pid"], signal.SIGTERM)
    until(lambda: not any(is_alive(one["pid"]) for one in told), what="both are down")


@pytest.mark.parametrize(("device", "code"), [("/dev/full", 1), ("/dev/zero", 0), ("/dev/null", 0)])
def test_a_log_that_is_a_device_is_never_read_back(nodes: Nodes, device: str, code: int) -> None:
    nodes.start("w1", more=("--logfile", device), code=code)  # the full one keeps the worker from speaking
    assert "is no plain file" in nodes.run("logs", "w1", code=1).stderr
    nodes.run("stopwait", "w1")
    nodes.start("w2", plan="die", more=("--logfile", device), code=1)


def test_a_pipe_as_log_is_refused(nodes: Nodes) -> None:
    os.mkfifo(nodes.project.path / "fifo")
    said = nodes.start("w1", more=("--logfile", "fifo"), code=2).stderr
    assert "--logfile" in said
    assert "is a pipe" in said


def test_a_percent_sign_in_the_way_to_a_file_is_only_that(nodes: Nodes) -> None:
    there = nodes.project.path / "100%n %p"
    there.mkdir()
    nodes.state = there / "state%i"
    nodes.project.env["MULTI_STATE_DIR"] = str(nodes.state)
    nodes.start("w1", more=("--workdir", str(there)))
    assert "fake worker" in nodes.log("w1")
    nodes.start("w2", more=("--workdir", str(there), "-f", "%n.log", "--pidfile", "%n.pid"))
    assert sorted(path.name for path in there.iterdir()) == ["state%i", "w2.log", "w2.pid"]
    nodes.start("w3", more=("--workdir", str(there), "-f", "%%-%n%I.log"))
    words = Path(f"/proc/{nodes.worker('w3')}/cmdline").read_text().split("\0")
    assert words[words.index("-f") + 1] == f"{there}/%%-w3%I.log".replace("100%n %p", "100%%n %%p")
    assert (there / "%-w3.log").exists()


@pytest.mark.parametrize("option", ["--pidfile", "--logfile"])
def test_two_nodes_do_not_share_a_file(nodes: Nodes, option: str) -> None:
    path = str(nodes.project.path / "shared")
    said = nodes.start("w1", "w2", more=(option, path), code=2).stderr
    assert "would both use" in said
    nodes.start("w1", more=(option, path))
    said = nodes.start("w2", more=(option, path), code=2).stderr
    assert f"{path} is in use by w1@{HOST}, which runs" in said
    nodes.run("stopwait", "w1")
    nodes.start("w2", more=(option, path))
    nodes.start("w3", "w4", more=(option, "/dev/null") if option == "--logfile" else ())


@pytest.mark.parametrize(
    ("option", "what"), [("--pidfile", "the pid file"), ("--logfile", "the log")], ids=["pidfile", "logfile"]
)
def test_a_file_that_cannot_be_written_is_told_with_the_way_out(nodes: Nodes, option: str, what: str) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    place = nodes.project.path / "place"
    place.mkdir()
    said = nodes.run("start", "w1", option, str(place), code=1).stderr
    assert f"{what} {place} can't be written: Is a directory; name another with {option}" in said
    shown = nodes.run("status", "w1", code=1).stdout
    assert "failed" in shown
    assert f"name another with {option}" in shown
    nodes.run("start", "w1")


def test_two_restarts_at_the_same_moment_both_tell_that_the_node_runs(nodes: Nodes) -> None:
    nodes.start("w1")
    for _ in range(3):
        both = [nodes.project.popen("restart", "w1") for _ in range(3)]
        for one in both:
            out, err = one.communicate(timeout=60)
            assert one.returncode == 0, (out, err)
        assert nodes.record("w1")["state"] == "running"
        assert is_alive(nodes.worker("w1"))


def test_ctrl_c_in_a_restart_lets_go_of_the_terminal_and_not_of_the_node(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.slow")
    keeper, worker = nodes.keeper("w1"), nodes.worker("w1")
    restart = nodes.project.popen("restart", "w1")
    nodes.until_state("w1", "stopping")
    assert restart.stdout is not None
    while not restart.stdout.readline().startswith("> Waiting for 1 node"):
        pass
    restart.send_signal(signal.SIGINT)
    _, err = restart.communicate(timeout=30)
    assert restart.returncode == 130
    assert f"interrupted; w1@{HOST}: still stopping, and started again in the background when that is done" in err
    os.kill(worker, signal.SIGUSR1)
    until(lambda: nodes.record("w1")["state"] == "running" and nodes.keeper("w1") != keeper, what="started again")


@pytest.mark.parametrize("action", ["start", "stopwait"])
def test_ctrl_c_tells_what_goes_on(nodes: Nodes, action: str) -> None:
    if action == "stopwait":
        nodes.start("w1", plan="ready.slow")
        command = nodes.project.popen("stopwait", "w1")
        nodes.until_state("w1", "stopping")
    else:
        command = nodes.popen_start("w1", plan="later")
        nodes.until_state("w1", "starting")
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=30)
    assert command.returncode == 130
    assert "multi: interrupted; nodes go on with what they were told, see `multi status`" in err


def test_a_reload_returns_when_the_new_generation_works(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    before = nodes.worker("w1")
    done = nodes.run("reload", "w1", "w2")
    assert done.stdout.count(": OK (pid ") == 2
    assert nodes.worker("w1") != before
    assert nodes.record("w1")["generation"] == 2


def test_a_reload_that_fails_says_so_and_the_old_worker_goes_on(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", plan="file")
    nodes.project.write("plan", "die")
    before = nodes.worker("w1")
    said = nodes.run("reload", "w1", code=1)
    assert "FAILED, the present worker goes on" in said.stdout
    assert "generation 2 ended before it was ready: exit status 3" in said.stderr
    assert nodes.worker("w1") == before
    nodes.run("stopwait", "w1")
    assert "w1" in nodes.run("reload", "w1", code=1).stderr


def test_an_empty_word_does_not_mean_all_nodes(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    for command in ("status", "logs", "ps", "top", "stop", "why"):
        assert "'' names no node: is a variable empty?" in nodes.run(command, "", code=2).stderr
    assert nodes.run("status", "w1", "").stdout.count("running") == 1
    assert nodes.run("stopwait", "--all", "").stdout.count(": DOWN") == 2


@pytest.fixture
def told(nodes: Nodes) -> Nodes:
    """A node that was started with an option of the project's own, as Celery's workers may have them."""
    nodes.start("w1", more=("--engine", "celery", "--tenant=acme"))
    return nodes


def test_words_that_neither_the_command_nor_the_worker_knows_are_refused_and_nothing_is_done(told: Nodes) -> None:
    worker = told.worker("w1")
    for words in (
        *("kill w1 --dry-run", "kill --dry-run w1", "stop w1 --dryrun --force", "stopwait w1 --timeoutt=3 --force"),
        *("reload w1 --dry-run", "pause w1 --dry-run --force", "resume w1 --foo", "status w1 --foo", "stack w1 -Z"),
    ):
        assert "there is no option" in told.run(*words.split(), code=2).stderr, words
    assert told.worker("w1") == worker
    assert told.record("w1")["state"] == "running"
    assert not told.record("w1").get("paused")
    assert "was started with no such word" in told.run("kill", "w1", "--", "--dry-run", code=2).stderr
    assert told.worker("w1") == worker
    told.run("status", "w1", "--tenant=acme", "-c", "3")
    told.run("stopwait", "w1", "--tenant=acme", "-c", "3")
    assert told.record("w1")["state"] == "stopped"


def test_a_restart_looks_for_the_directory_before_anything_stops(nodes: Nodes) -> None:
    folder = nodes.project.path / "release"
    folder.mkdir()
    nodes.start("w1", more=("--workdir", str(folder)))
    worker = nodes.worker("w1")
    folder.rmdir()
    done = nodes.run("restart", "w1", code=2)
    assert f"its directory {folder} is not there; nothing was stopped" in done.stderr
    assert nodes.worker("w1") == worker


@pytest.mark.parametrize("words", [("--queues=",), ("-Q", ""), ("-X", ""), ("--include=",), ("--hostname=",)])
def test_an_empty_value_of_a_list_is_refused(nodes: Nodes, words: tuple[str, ...]) -> None:
    done = nodes.start("w1", more=words, code=2)
    assert "its value is empty (a variable that is not set?)" in done.stderr
    assert not kept(nodes)


def test_a_program_that_ends_by_itself_was_not_stopped_by_anybody(nodes: Nodes) -> None:
    done = nodes.run("start", "w1", "-A", "x", "--engine", "celery", "--executable", "/bin/true", code=1)
    assert (
        "its worker has ended by itself before it was ready: exit status 0; is /bin/true the right one?" in done.stderr
    )


def test_messages_name_what_was_typed(nodes: Nodes) -> None:
    done = nodes.run("names", "w1", "--hostname=foo@bar", code=2)
    assert "--hostname=foo@bar: here nodes are named by themselves" in done.stderr
    if os.geteuid() == 0:
        done = nodes.run("show", "nobody-of-that-name", "-A", "x", "--uid=%n", code=2)
        assert "nobody-of-that-name: there is no such user" in done.stderr
        assert "--uid" in done.stderr
