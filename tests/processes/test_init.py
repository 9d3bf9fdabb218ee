"""multi init."""

from __future__ import annotations

import sys

from support.nodes import HOST, Nodes


def test_from_nothing_a_commented_file_that_is_never_written_over(nodes: Nodes) -> None:
    nodes.project.write("shop/__init__.py", "")
    nodes.project.write("shop/tasks.py", "")
    said = nodes.run("init").stdout
    assert "describes w1 and w2 of the app shop.tasks" in said
    path = nodes.project.path / "multi.toml"
    assert nodes.run("check").stdout.endswith("OK, 2 nodes\n")
    path.write_text('name = "mine"\n')
    assert "is there already" in nodes.run("init", code=2).stderr
    assert path.read_text() == 'name = "mine"\n'
    nodes.run("init", "--force", "-A", "proj")
    assert 'app = "proj"' in path.read_text()


def test_the_description_of_running_nodes_is_one_for_which_up_has_nothing_to_do(nodes: Nodes) -> None:
    nodes.python.write_text(
        nodes.python.read_text().replace("exec", 'case "$1" in -c) exec python "$@";; esac\nexec', 1)
    )
    nodes.project.write("ready.py", "")
    nodes.start("w1", "w2", more=("-Q", "a", "-c", "3", "--max-memory", "1GB"))
    nodes.start("v", more=("--env", "SECRET=redis://:pw@h", "--restart", "always"))
    before = {name: nodes.keeper(name) for name in ("w1", "w2", "v")}
    done = nodes.run("init", "--from-nodes")
    assert done.stdout.count(": as it is") == 3
    assert f"holds a variable of v@{HOST} with what it was set to (SECRET): keep what it needs" in done.stderr
    assert "pw@h" not in done.stdout + done.stderr
    path = nodes.project.path / "multi.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "[nodes.w]\ncount = 2\n" in path.read_text()
    assert "Nothing to do: all 3 nodes run" in nodes.run("up").stdout
    assert {name: nodes.keeper(name) for name in before} == before
    nodes.run("down")
    assert nodes.record("v")["state"] == "stopped"


def test_from_another_tool_s_file_the_command_lines_are_compared(nodes: Nodes) -> None:
    nodes.project.write("s.conf", "[program:w1]\ncommand=/v/bin/celery -A proj worker -n w1@%%h -c 3\npriority=1\n")
    done = nodes.run("init", "--from", "s.conf")
    assert "> w1: the same command line" in done.stdout
    assert "not taken over: [program:w1] priority 1" in done.stdout
    printed = nodes.run("init", "--from", "s.conf", "-o", "-")
    assert printed.stdout == (nodes.project.path / "multi.toml").read_text()
    assert "the same command line" in printed.stderr


def test_nodes_that_are_down_for_a_reason_are_left_out_and_told(nodes: Nodes) -> None:
    nodes.python.write_text(
        nodes.python.read_text().replace("exec", 'case "$1" in -c) exec python "$@";; esac\nexec', 1)
    )
    nodes.project.write("ready.py", "")
    bare = nodes.project.path / "bare-python"  # an interpreter without multi
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    nodes.start("w1", more=("--env", "TOK=secret123"))
    failed = nodes.run("start", "w2", "-A", "ready", "--executable", str(bare), code=1)
    assert f"{bare} has no multi. Where it is a Celery project's: multi start w2 --engine celery;" in failed.stderr
    done = nodes.run("init", "--from-nodes", code=1)
    assert f"w1@{HOST}: as it is\n" in done.stdout
    assert f"w2@{HOST}: as it is" not in done.stdout
    assert f"w2@{HOST} is failed, and is left out; `multi check` would say: nodes.w2" in done.stderr
    assert f"multi is not installed for {bare}" in done.stderr
    path = nodes.project.path / "multi.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "(TOK)" in done.stderr
    assert "secret123" not in done.stdout + done.stderr
    assert f"# Left out: w2@{HOST} (failed): nodes.w2" in path.read_text()
    assert nodes.run("check").stdout.endswith("OK, 1 node\n")
    assert "Nothing to do" in nodes.run("up").stdout
    nodes.run("stopwait", "w1")
    again = nodes.run("init", "--from-nodes", "--force", code=1)
    assert f"w1@{HOST}: as it is (stopped now: `multi up` starts it)" in again.stdout


def test_a_compose_file_of_another_folder_keeps_its_env_files(nodes: Nodes) -> None:
    text = "services:\n  w:\n    command: celery -A proj worker\n    env_file: [.env]\n"
    nodes.project.write("co/compose.yaml", text)
    (nodes.project.path / "co/.env").write_text("A=1\n")
    (nodes.project.path / "sub").mkdir()
    nodes.run("init", "--from", "co/compose.yaml")
    assert 'env_files = ["co/.env"]' in (nodes.project.path / "multi.toml").read_text()
    nodes.run("init", "--from", "co/compose.yaml", "-o", "sub/multi.toml")
    assert f'env_files = ["{nodes.project.path}/co/.env"]' in (nodes.project.path / "sub/multi.toml").read_text()


def test_an_empty_name_of_a_file_is_no_wish_for_a_template(nodes: Nodes) -> None:
    assert "--from: its value is empty" in nodes.run("init", "--from", "", code=2).stderr
    assert not (nodes.project.path / "multi.toml").exists()


def test_beside_a_description_in_pyproject_toml_none_is_written(nodes: Nodes) -> None:
    nodes.project.write("pyproject.toml", '[tool.multi.nodes.w]\napp = "tasks"\n')
    said = nodes.run("init", "--force", code=2).stderr
    assert "pyproject.toml describes this project already, in [tool.multi]" in said
    assert not (nodes.project.path / "multi.toml").exists()
    assert "[nodes.w]" in nodes.run("init", "-o", "-").stdout
