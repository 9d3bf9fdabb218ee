"""Projects on one machine that have nodes of the same names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes
from support.project import Project


@pytest.fixture
def nodes(project: Project) -> Iterator[Nodes]:
    """Those of all the projects here."""
    found = Nodes(project)
    yield found
    for folder in sorted(project.path.parent.glob("x*")):
        project.path = folder
        found.stop_all()


def here(nodes: Nodes, name: str, text: str = "") -> Path:
    """Go to another folder, with a multi.toml if there is text for it."""
    nodes.project.path = nodes.project.path.parent / name
    nodes.project.path.mkdir(exist_ok=True)
    if text:
        nodes.project.write("multi.toml", text)
    return nodes.project.path


def described(name: str, seconds: int) -> str:
    return f'name = "{name}"\n[nodes.a]\ncommand = "sleep {seconds}"\nready_after = 0\n'


def known(nodes: Nodes) -> dict[str, str]:
    """The states of the nodes that status tells of here."""
    found = nodes.run("status", "--json", code=None).stdout
    return {one["node"]: one["state"] for one in json.loads(found)}


def command(nodes: Nodes, key: str) -> list[str]:
    (kept,) = nodes.state.glob(f"nodes/{key}/a@{HOST}/spec.json")
    argv = json.loads(kept.read_text())["argv"]
    assert isinstance(argv, list)
    return argv


def test_up_makes_a_projects_own_node_whatever_another_project_has_under_its_name(nodes: Nodes) -> None:
    here(nodes, "x1", described("x1", 1001))
    nodes.run("up")
    here(nodes, "x2", described("x2", 1002))
    said = nodes.run("up").stdout  # while the other one is up
    assert "start   a  (it is new)" in said
    assert "already running" not in said
    assert known(nodes) == {f"a@{HOST}": "running"}
    assert "Nothing to do" in nodes.run("up").stdout
    here(nodes, "x1")
    nodes.run("down")
    assert "Nothing to do" not in nodes.run("up", "--dry-run").stdout
    here(nodes, "x2")
    assert known(nodes) == {f"a@{HOST}": "running"}
    assert (command(nodes, "x1"), command(nodes, "x2")) == (["sleep", "1001"], ["sleep", "1002"])


def test_up_leaves_the_node_of_a_project_that_is_down_alone(nodes: Nodes) -> None:
    here(nodes, "x1", described("x1", 1001))
    nodes.run("up")
    nodes.run("down")
    here(nodes, "x2", described("x2", 1002))
    nodes.run("up")
    assert command(nodes, "x1") == ["sleep", "1001"]
    assert command(nodes, "x2") == ["sleep", "1002"]


def test_start_with_a_program_makes_a_node_of_this_folder_and_without_one_takes_the_known_one(nodes: Nodes) -> None:
    here(nodes, "x1", described("x1", 1001))
    nodes.run("up")
    folder = here(nodes, "x3")
    assert "already running" in nodes.run("start", "a").stdout  # from any folder
    nodes.run("start", "a", "--cmd", "sleep 1003", "--ready-after", "0")
    assert command(nodes, "x1") == ["sleep", "1001"]
    (other,) = (path for path in nodes.state.glob("nodes/x3-*/location"))
    assert other.read_text() == f"{folder}\n"
    nodes.run("stopwait", "a")
    assert known(nodes) == {f"a@{HOST}": "stopped"}
    here(nodes, "x1")
    assert known(nodes) == {f"a@{HOST}": "running"}


def test_a_described_name_never_means_another_projects_node(nodes: Nodes) -> None:
    here(nodes, "x1", described("x1", 1001))
    nodes.run("up")
    here(nodes, "x2", described("x2", 1002))
    assert "no node 'a'" in nodes.run("stop", "a", code=4).stderr
    nodes.run("start", "a")
    assert command(nodes, "x2") == ["sleep", "1002"]
    here(nodes, "x1")
    assert known(nodes) == {f"a@{HOST}": "running"}


def test_names_of_projects_and_nodes_may_be_in_any_script(nodes: Nodes) -> None:
    text = 'name = "工人 店"\n[nodes."工人"]\ncommand = "sleep 9"\nready_after = 0\n'
    here(nodes, "x1", text + '[nodes.b]\ninherits = "工人"\ndepends_on = ["工人"]\n')
    nodes.run("check")
    nodes.run("up")
    assert known(nodes) == {f"b@{HOST}": "running", f"工人@{HOST}": "running"}
    assert (nodes.state / "nodes" / "工人-店" / f"工人@{HOST}").is_dir()


def test_a_start_that_failed_leaves_no_project_for_nodes_of_folders_below(nodes: Nodes) -> None:
    long = ("--cmd", "sleep 50", "--ready-after", "0.05")
    outer = here(nodes, "xouter")
    nodes.run("start", "gone", "--cmd", "sh -c 'exit 2'", "--ready-after", "5", code=None)
    nodes.run("forget", "gone", code=None)
    below = here(nodes, "xouter/below")
    try:
        assert "in the project at" not in nodes.run("start", "q1", *long).stdout
        (found,) = json.loads(nodes.run("ls", "--all", "--json").stdout)
        assert found["project"] == str(below), found
    finally:
        nodes.run("kill", "--all", code=None)
    # where the outer folder has nodes, they are of one project, and it is said
    nodes.project.path = outer
    nodes.run("start", "o1", *long)
    try:
        nodes.project.path = outer / "deep"
        nodes.project.path.mkdir()
        assert f"q2: in the project at {outer}, which has nodes already" in nodes.run("start", "q2", *long).stdout
    finally:
        nodes.project.path = outer


BROKEN = (
    # what stands above and below of what is broken still counts
    'name = "broken"\nstate_dir = "st"\n[nodes.w]\ncount = 2\nengine = "command"\ncommand = "sleep 1000"\n',
    "[nodes.v\n",
)


def test_with_a_broken_description_nodes_can_be_looked_at_and_stopped(nodes: Nodes) -> None:
    nodes.project.env = {name: value for name, value in nodes.project.env.items() if name != "MULTI_STATE_DIR"}
    path = nodes.project.write("multi.toml", BROKEN[0])
    multi = nodes.project.multi
    multi("up")
    try:
        nodes.project.write("multi.toml", "".join(BROKEN))
        said = f"multi: {path}:7: this is no TOML (column 9): expected ']' at the end of a table declaration"
        commands = "status|status w1|ps|ls|why w1|describe w1|logs w1|restart w1|reload w2|stopwait w1|kill w2"
        for command in commands.split("|"):
            done = multi(*command.split())
            told = [line for line in done.stderr.splitlines() if "no TOML" in line]
            assert told == [f"{said}; going on without the description"], command
        assert "w1@" in multi("status", code=3).stdout
        for command in ("up", "down", "check", "start w1", "start x -A t"):
            done = multi(*command.split(), code=2)
            assert ":7: this is no TOML" in done.stderr
            assert "going on" not in done.stderr
        assert "stopped" in multi("status", "w", code=3).stdout
    finally:
        nodes.project.write("multi.toml", BROKEN[0])
        multi("down", code=None)


def test_what_is_no_plain_file_is_told_and_not_waited_for(nodes: Nodes) -> None:
    path = nodes.project.path / "multi.toml"
    os.mkfifo(path)
    for wrong in ("it is no plain file", "it is a directory", "it is a link to nowhere, which isn't there"):
        for command in ("check", "up"):
            assert nodes.run(command, code=2).stderr == f"multi: {path} can't be read: {wrong}\n"
        assert f"{wrong}; going on without" in nodes.run("status", code=4).stderr
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
            path.symlink_to("nowhere")
        else:
            path.unlink()
            path.mkdir()
    assert "FILE is empty" in nodes.run("check", "", code=2).stderr
