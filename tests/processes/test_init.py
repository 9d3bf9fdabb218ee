"""multi init."""

from __future__ import annotations

from support.nodes import Nodes


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
