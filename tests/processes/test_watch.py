"""`start --watch` and `status --watch`: looking again and again, in the foreground, until Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess

from support.nodes import HOST, Nodes
from support.terminal import Terminal
from support.wait import until


def watching(nodes: Nodes, *words: str) -> subprocess.Popen[str]:
    """A command that stays, once it watches; what it says from then on is in the file `said`."""
    file = nodes.project.path / "said"
    with file.open("w") as out:
        process = nodes.project.popen(*words, stdout=out, stderr=out)

    def begun() -> bool:
        assert process.poll() is None, said(nodes)
        return "> Watching " in said(nodes)

    until(begun, 20, what="it watches")
    return process


def said(nodes: Nodes) -> str:
    return (nodes.project.path / "said").read_text()


def expect(nodes: Nodes, text: str) -> None:
    until(lambda: text in said(nodes), 15, what=f"{text!r} was said")


def end(nodes: Nodes, process: subprocess.Popen[str], *names: str) -> None:
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0, said(nodes)
    assert [nodes.record(name)["state"] for name in names] == ["stopped"] * len(names)


def test_code_that_changes_is_loaded_and_the_nodes_lines_are_shown(nodes: Nodes) -> None:
    nodes.project.write("src/tasks.py", "one = 1\n")
    process = watching(nodes, "start", "w1", "w2", "-A", "ready", "--executable", str(nodes.python), "--watch", "src")
    before = nodes.worker("w1"), nodes.worker("w2")
    nodes.project.write("src/tasks.py", "one = 2\n")
    expect(nodes, "> Changed: tasks.py")
    until(lambda: nodes.worker("w1") != before[0] and nodes.worker("w2") != before[1], what="both are reloaded")
    expect(nodes, f"w2@{HOST} | fake worker {nodes.worker('w2')} generation 2")
    expect(nodes, f"w1@{HOST}: OK (pid")
    end(nodes, process, "w1", "w2")


def test_code_with_a_syntax_error_changes_nothing_and_is_shown(nodes: Nodes) -> None:
    nodes.project.write("src/tasks.py", "one = 1\n")
    process = watching(nodes, "start", "w1", "-A", "ready", "--executable", str(nodes.python), "--watch=src")
    before = nodes.worker("w1")
    nodes.project.write("src/tasks.py", "one = = 1\n")
    expect(nodes, "tasks.py:1: SyntaxError: invalid syntax\n    one = = 1")
    expect(nodes, "Not reloaded; the nodes go on with the code before")
    assert nodes.worker("w1") == before
    nodes.project.write("src/data.db", "no code")
    nodes.project.write("src/tasks.py", "one = 1\n")
    until(lambda: nodes.worker("w1") != before, what="it is reloaded")
    assert "data.db" not in said(nodes)
    end(nodes, process, "w1")


def test_a_program_without_overlap_is_stopped_and_started(nodes: Nodes) -> None:
    nodes.project.write("src/tasks.py", "one = 1\n")
    process = watching(nodes, "start", "c1", "--cmd", "sleep 600", "--ready-after", "0.1", "--watch", "src")
    before = nodes.worker("c1")
    nodes.project.write("src/tasks.py", "one = 2\n")
    until(lambda: nodes.record("c1")["state"] == "running" and nodes.worker("c1") != before, 20, what="it runs anew")
    expect(nodes, f"c1@{HOST}: OK (pid")
    end(nodes, process, "c1")


def test_a_path_that_is_not_there_is_refused_before_anything_starts(nodes: Nodes) -> None:
    done = nodes.start("w1", more=("--watch=nowhere",), code=2)
    assert "--watch nowhere: there is no " in done.stderr
    assert nodes.record("w1") == {}


def test_status_repeats_its_table_where_there_is_no_terminal(nodes: Nodes) -> None:
    nodes.start("w1")
    process = nodes.project.popen("status", "--watch", "0.2", "w1")
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(7)]
    assert sum(line.startswith(f"w1@{HOST}") for line in seen) == 2, seen
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_status_as_json_is_a_line_a_look_and_tells_rates(nodes: Nodes) -> None:
    nodes.start("w1")
    process = nodes.project.popen("status", "--watch", "0.2", "--json")
    assert process.stdout is not None
    looks = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert looks[0][0]["tasks_per_second"] is None
    assert looks[1][0]["tasks_per_second"] == 0.0
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_status_stays_in_place_on_a_terminal_and_ends_with_its_code(nodes: Nodes) -> None:
    nodes.start("w1")
    with Terminal(nodes.project, "status", "--watch", "0.2", columns=120) as terminal:
        terminal.until("running")
        nodes.run("stopwait", "w1")
        text = terminal.until("stopped")
        assert "running" not in text
        terminal.press("\x03")
        assert terminal.end() == 3


def test_a_file_of_variables_that_has_changed_since_shows_as_drift(nodes: Nodes) -> None:
    nodes.project.write("w.env", "COLOUR=blue\n")
    nodes.start("w1", more=("--env-file", "w.env"))
    assert nodes.status("w1")["drift"] is None
    nodes.project.write("w.env", "COLOUR=red\n")
    assert "w.env has changed" in nodes.status("w1")["drift"]
    assert "drift, restart needed:" in nodes.run("status").stdout
    nodes.run("restart", "w1")
    assert nodes.status("w1")["drift"] is None


def test_the_nodes_stop_when_the_terminal_is_closed(nodes: Nodes) -> None:
    nodes.project.write("src/tasks.py", "one = 1\n")
    process = watching(nodes, "start", "w1", "-A", "ready", "--executable", str(nodes.python), "--watch=src")
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == 0, said(nodes)
    assert nodes.record("w1")["state"] == "stopped"


def test_a_word_behind_watch_that_is_neither_a_path_nor_surely_a_node_is_asked_about(nodes: Nodes) -> None:
    done = nodes.start("w1", more=("--watch", "nosuch"), code=2)
    assert "--watch nosuch: is this to be watched, or a node? There is no file or folder nosuch" in done.stderr
    assert nodes.record("w1") == {}
