"""`ps`, `describe` and `why` of real nodes, and `logs` of several at once."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes, kill
from support.wait import until


def test_ps_shows_all_processes_of_a_node_as_a_tree(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy.sleeps")
    nodes.start("w2")
    nodes.run("stopwait", "w2")
    (first, second) = json.loads(nodes.run("ps", "--json").stdout)
    assert [(one["role"], one["depth"]) for one in first["processes"]] == [("keeper", 0), ("worker", 1), ("program", 2)]
    keeper, worker, program = first["processes"]
    assert (keeper["pid"], worker["pid"]) == (nodes.keeper("w1"), nodes.worker("w1"))
    assert (worker["parent"], program["parent"]) == (keeper["pid"], worker["pid"])
    assert program["about"] == "sleep 600"
    assert all(one["memory"] > 100_000 for one in first["processes"])
    assert (second["state"], second["processes"]) == ("stopped", [])
    lines = nodes.run("ps", "w1").stdout.splitlines()
    tree = ["process", f"w1@{HOST}: keeper", "└─ worker (generation 1)", "   └─ sleep 600"]
    assert [line[: len(text)] for line, text in zip(lines, tree, strict=True)] == tree
    kill(nodes.keeper("w1"))
    (orphan,) = json.loads(nodes.run("ps", "w1", "--json").stdout)
    assert worker["pid"] in [one["pid"] for one in orphan["processes"]]


def test_ps_of_a_real_worker_tells_the_task_that_runs_in_each_child(nodes: Nodes) -> None:
    nodes.project.write(
        "app.py",
        """
        import os, time
        from multi import App
        app = App("app")

        @app.task
        def wait(path, token=None):
            while not os.path.exists(path):
                time.sleep(0.01)
        """,
    )
    nodes.run("start", "w1", "-A", "app", "-c", "2", "-l", "WARNING")
    end = nodes.project.path / "end"
    nodes.project.python(f"import app; app.wait.delay({str(end)!r}, token='geheim')")

    def running() -> list[str]:
        (found,) = json.loads(nodes.run("ps", "w1", "--json").stdout)
        return [one["task"]["name"] for one in found["processes"] if one["task"]]

    until(lambda: running() == ["app.wait"], what="the task runs")
    text = nodes.run("ps", "w1").stdout
    assert re.search(r"├─ child 1 .*\n.*└─ child 2 ", text)
    assert re.search(r"app\.wait\[[0-9a-f-]{36}\] for \d+s", text)
    told = nodes.run("describe", "w1").stdout
    assert "app.wait" in told
    assert "geheim" not in told + nodes.run("describe", "w1", "--json").stdout
    end.write_text("")
    nodes.run("stopwait", "w1")


def test_describe_tells_everything_in_sections_and_no_secrets(nodes: Nodes) -> None:
    env_file = nodes.project.write("secrets.env", "TOKEN=geheim\n")
    more = (
        *("--env", "API_KEY=geheim", "--env", "DB=postgres://u:geheim@h/x", "--env", "COLOR=blue"),
        *(
            "--broker",
            "redis://u:geheim@h/0",
            "--env-file",
            str(env_file),
            "--limit",
            "nofile=512:1024",
            "--kill-after",
            "9",
        ),
        *("--hook", "crashed=https://hooks.example.com/geheim", "--nice", "3"),
    )
    nodes.start("w1", plan="ready.busy", more=more)
    text = nodes.run("describe", "w1").stdout
    for section in ("Specification", "Policy", "State", "Processes", "Work", "Files", "History"):
        assert f"\n{section}" in text
    for wanted in (
        "engine           multi worker",
        "limits           nofile 512:1024",
        "nice             3",
        "API_KEY=***",
        "DB=postgres://u:**@h/x",
        "COLOR=blue",
        "MULTI_BROKER_URL=redis://u:**@h/0",
        f"variable files   {env_file}",
        "crashed: https://hooks.example.com/…",
        "kill-after       9 s *",
        "max-crashes      5\n",
        "tasks            proj.tasks.resize[the-id]('photo.jpg',)",
        "generation 1 was ready",
    ):
        assert wanted in text, wanted
    whole = nodes.run("describe", "w1", "--json").stdout
    assert "geheim" not in text + whole
    (value,) = json.loads(whole)
    assert value["policy"]["kill_after"] == 9
    assert value["state"]["keeper"] == nodes.keeper("w1")
    assert value["files"]["pidfile"] == str(nodes.folder("w1") / "pid")
    nodes.run("stopwait", "w1")
    assert "w1" in nodes.run("describe", "w1").stdout
    assert nodes.run("describe", "w7", code=4).stderr.startswith("multi: no node 'w7'")


def test_describe_tells_that_a_link_has_been_moved_under_the_node(nodes: Nodes) -> None:
    for release in ("one", "two"):
        (nodes.project.path / release).mkdir()
    link = nodes.project.path / "current"
    link.symlink_to("one")
    nodes.start("w1", more=("--workdir", "current"))
    assert "Drift" not in nodes.run("describe", "w1").stdout
    link.unlink()
    link.symlink_to("two")
    root = nodes.project.path
    assert f"it runs in {root}/one, and {link} now leads to {root}/two" in nodes.run("describe", "w1").stdout
    (value,) = json.loads(nodes.run("describe", "w1", "--json").stdout)
    assert len(value["drift"]) == 1


def test_why_tells_crashes_who_asked_for_what_and_the_log_around_the_last_trouble(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.busy", more=("--restart-delay", "0.1", "--env", "TOKEN=geheim"))
    first = nodes.worker("w1")
    kill(first)
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="restarted")
    text = nodes.run("why", "w1").stdout
    head, *rest = text.splitlines()
    assert re.fullmatch(rf"w1@{HOST} - running: it has been running for [\d.]+ s", head)
    assert f"  the worker (pid {first}) ended: killed by KILL" in rest[0]
    assert "its keeper did not do that: somebody else sent KILL" in text
    assert "it was running proj.tasks.resize[the-id]('photo.jpg',) for" in text
    assert ": multi start w1 -A ready.busy" in text
    assert "its keeper waits 0.1 s before it starts the next one" in text
    assert "\nThe log around " in text
    assert f"  fake worker {first} generation 1 " in text
    assert "ERROR/Keeper]" in text
    assert "geheim" not in text
    nodes.run("stopwait", "w1")
    down = nodes.run("why", "w1", "-n", "3").stdout
    assert re.match(rf"w1@{HOST} - stopped: it has been stopped for [\d.]+ s, by .+: multi stopwait w1\n", down)
    assert "earlier events; -n shows more" in down
    (value,) = json.loads(nodes.run("why", "w1", "--since", "1h", "--json").stdout)
    assert [one["event"] for one in value["events"]][:4] == ["starting", "ready", "exit", "crashed"]
    assert value["log"]
    assert nodes.run("why", "w1", "--since", "2020-13-01", code=2).stderr.startswith(
        "multi: --since '2020-13-01' is no time"
    )
    assert "nothing is on record of that time" in nodes.run("why", "w1", "--since", "now").stdout


def test_why_of_a_node_that_never_came_up_tells_what_it_said_itself(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    nodes.run("restart", "w1", "-A", "die", code=1)
    text = nodes.run("why", "w1").stdout
    assert "it was given up" in text.splitlines()[0]
    assert "exit status 3" in text.splitlines()[0]
    assert "it was never ready" in text
    assert "  cannot live" in text


def test_logs_of_several_nodes_are_chosen_and_merged(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    (folder,) = (nodes.state / "log").iterdir()
    for name, second in (("w1", 1), ("w2", 2)):
        with (folder / f"{name}@{HOST}.log").open("a") as file:
            file.write(f"[2099-01-01 10:00:0{second},000: ERROR/MainProcess] bad of {name}\nTraceback\n  of {name}\n")
            file.write(f"[2099-01-01 10:00:0{second + 3},000: INFO/MainProcess] fine\n")
    found = nodes.run("logs", "--grep", "^  of w", "--no-prefix").stdout.splitlines()
    assert [line.rpartition("] ")[2] for line in found] == [
        "bad of w1",
        "Traceback",
        "  of w1",
        "bad of w2",
        "Traceback",
        "  of w2",
    ]
    assert nodes.run("logs", "--level", "error", "--no-prefix", "--since", "2098-01-01").stdout.splitlines() == found
    last = nodes.run("logs", "w1", "w2", "-n", "1").stdout.splitlines()
    assert [line.partition(" | ")[0] for line in last] == [f"w1@{HOST}", f"w2@{HOST}"]
    entries = [json.loads(line) for line in nodes.run("logs", "--level", "ERROR", "--json").stdout.splitlines()]
    assert [(one["node"], one["message"]) for one in entries] == [
        (f"{name}@{HOST}", f"bad of {name}\nTraceback\n  of {name}") for name in ("w1", "w2")
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--grep", "("), "--grep '(' is no regular expression: missing ), unterminated subpattern at character 1"),
        (("--since", "soon"), "--since 'soon' is no time; write it as 10m"),
        (("--level", "loud"), "--level: 'loud' is no log level: use DEBUG"),
    ],
)
def test_what_logs_does_not_understand_is_told(nodes: Nodes, words: tuple[str, str], error: str) -> None:
    nodes.start("w1")
    assert error in nodes.run("logs", "w1", *words, code=2).stderr


def test_logs_of_unknown_nodes_and_of_none(nodes: Nodes) -> None:
    assert "no nodes are known here" in nodes.run("logs", code=1).stderr
    nodes.start("w1")
    assert "no node 'w9'" in nodes.run("logs", "w9", code=4).stderr
    (folder,) = (nodes.state / "log").iterdir()
    nodes.run("stopwait", "w1")
    (folder / f"w1@{HOST}.log").unlink()
    assert "has written no log yet" in nodes.run("logs", "w1").stderr


def test_json_lines_of_a_worker_and_its_keeper_are_shown_readably(nodes: Nodes) -> None:
    nodes.project.write("app.py", "from multi import App\napp = App('app')\n")
    nodes.run("start", "w1", "-A", "app", "-c", "1", "-l", "INFO", "--log-format", "json", "--restart-delay", "0.1")
    kill(nodes.worker("w1"))
    until(lambda: nodes.record("w1")["restarts"] == 1 and nodes.record("w1")["state"] == "running", what="restarted")
    kept = [json.loads(line) for line in nodes.log("w1").splitlines() if line.startswith("{")]
    assert {one["process"] for one in kept} >= {"MainProcess", "Keeper"}
    assert "MULTI_LOG_FORMAT" not in nodes.log("w1")  # the keeper sets it, not the user
    assert all({"time", "level", "logger", "message"} <= {*one} for one in kept)
    shown = nodes.run("logs", "w1", "-n", "100").stdout
    assert re.search(r"^\[[\d-]+ [\d:,]+: INFO/MainProcess\] w1@\S+ ready", shown, re.MULTILINE)
    assert re.search(r"^\[[\d-]+ [\d:,]+: ERROR/Keeper\] w1@\S+: the worker has ended", shown, re.MULTILINE)
    assert '{"time"' in nodes.run("logs", "w1", "-n", "100", "--raw").stdout
    nodes.run("stopwait", "w1")


def test_names_have_their_own_colours_on_a_terminal(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    main, side = pty.openpty()
    env = {name: value for name, value in nodes.project.env.items() if name not in ("NO_COLOR", "TERM")}
    try:
        subprocess.run(
            [sys.executable, "-m", "multi", "logs", "-n", "1"], check=True, cwd=nodes.project.path, stdout=side, env=env
        )
        text = os.read(main, 65536).decode()
    finally:
        os.close(main)
        os.close(side)
    assert f"\033[36mw1@{HOST} | \033[0m" in text
    assert f"\033[33mw2@{HOST} | \033[0m" in text


def test_following_ends_quietly_when_its_reader_has_enough(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.chatty")
    reader = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m multi logs -f w1 | head -n 50 | wc -l"],
        check=True,
        cwd=nodes.project.path,
        env=nodes.project.env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (reader.stdout.strip(), reader.stderr) == ("50", "")
    nodes.run("stopwait", "w1")


def test_a_follower_waits_for_a_log_that_is_not_there_yet(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    (folder,) = (nodes.state / "log").iterdir()
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    follower = nodes.project.popen("logs", "-f", "w1")
    assert follower.stdout is not None
    assert follower.stderr is not None
    assert "has written no log yet" in follower.stderr.readline()
    nodes.run("start", "w1")
    assert "fake worker" in follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 0
    follower.stdout.close()
    follower.stderr.close()


def test_the_history_of_a_node_is_not_for_others(nodes: Nodes) -> None:
    nodes.start("w1")
    (history,) = nodes.state.glob(f"nodes/*/w1@{HOST}/history.jsonl")
    assert Path(history).stat().st_mode & 0o077 == 0


def test_one_unknown_name_hides_no_known_one(nodes: Nodes) -> None:
    nodes.start("w1")
    done = nodes.run("status", "w1", "w9", "--json", code=4)
    assert [one["node"] for one in json.loads(done.stdout)] == [f"w1@{HOST}"]
    assert "no node 'w9'" in done.stderr
    done = nodes.run("status", "w9", "w1", code=4)
    assert f"w1@{HOST}" in done.stdout
    assert "no node 'w9'" in done.stderr
    assert nodes.run("status", "w9", code=4).stdout == ""


@pytest.mark.parametrize("command", ["ps", "describe", "why", "logs", "probe"])
def test_an_unknown_name_hides_no_known_one_from_the_other_looks(nodes: Nodes, command: str) -> None:
    nodes.start("w1")
    for words in (("w1", "w9", "w8"), ("w9", "w8", "w1")):
        done = nodes.run(command, *words, code=4)
        assert ("fake worker" if command == "logs" else f"w1@{HOST}") in done.stdout
        assert "no node 'w9'" in done.stderr
        assert "no node 'w8'" in done.stderr
    done = nodes.run(command, "w1", "w9", "--json", code=4)
    assert all(json.loads(line) for line in ([done.stdout] if command != "logs" else done.stdout.splitlines()))
    assert f"w1@{HOST}" in done.stdout
    done = nodes.run(command, "w9", code=4)
    assert done.stdout == ""
    assert done.stderr.count("no node 'w9'") == 1
    assert "no nodes are known" not in done.stderr


def test_a_paused_node_is_described_in_words(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "a,b"))
    nodes.run("pause", "w1")
    assert re.search(r"^  paused +all queues$", nodes.run("describe", "w1").stdout, re.MULTILINE)
    assert json.loads(nodes.run("describe", "w1", "--json").stdout)[0]["state"]["paused"] == ["*"]


def test_nodes_of_several_projects_are_told_apart(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.project.write("other/multi.toml", 'name = "other"\n')
    nodes.run("start", "w1", "-A", "ready", "--executable", str(nodes.python), "--workdir", "other")
    head, *rows = nodes.run("status", "--all").stdout.splitlines()
    assert head.split()[-1] == "project"
    assert sorted(row.split()[-1] for row in rows) == [str(nodes.project.path), str(nodes.project.path / "other")]
    assert "project" not in nodes.run("status").stdout.splitlines()[0]
    nodes.run("kill", "w1", "--workdir", "other")


def test_stacks_of_all_nodes_are_asked_for_as_the_error_says(nodes: Nodes) -> None:
    nodes.project.write("proj.py", "from multi import App\n\napp = App('proj')\n")
    nodes.run("start", "w1", "w2", "-A", "proj", "-c", "1")
    assert "Name them: w1 w2, or --all" in nodes.run("stack", code=2).stderr
    told = json.loads(nodes.run("stack", "--all", "--json").stdout)
    assert {one["node"] for one in told} == {f"w1@{HOST}", f"w2@{HOST}"}
    done = nodes.run("stack", "w9", "w1", code=4)
    assert f"w1@{HOST}: " in done.stdout
    assert "no node 'w9'" in done.stderr
    assert "--all" not in nodes.run("forget", code=2).stderr, "it has no such option"


def test_of_restarts_at_the_same_moment_none_tells_that_nothing_was_done(nodes: Nodes) -> None:
    nodes.start("w1")
    worker = nodes.worker("w1")
    commands = [nodes.project.popen("restart", "w1") for _ in range(3)]
    said = [command.communicate(timeout=60)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0]
    assert "already running" not in "".join(said)
    assert all(re.search(r"w1@.*: (OK \(pid|restarted by another command)", text) for text in said), said
    assert nodes.worker("w1") != worker
