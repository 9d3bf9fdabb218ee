"""Options for all nodes of a command and for single ones: what each node runs with, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.nodes import HOST, Nodes


def spec(nodes: Nodes, name: str) -> dict[str, Any]:
    """What is kept of a node."""
    (path,) = nodes.state.glob(f"nodes/*/{name}@{HOST}/spec.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def words(nodes: Nodes, name: str) -> list[str]:
    """The command line that its worker really has."""
    return Path(f"/proc/{nodes.worker(name)}/cmdline").read_text().rstrip("\0").split("\0")


def test_each_node_runs_with_the_options_that_are_meant_for_it(nodes: Nodes) -> None:
    more = ("-c", "2", "-c:2", "4", "--loglevel:celery3=DEBUG", "-Q:1-2", "images,video", "-E:3", "-P", "solo")
    nodes.start("3", more=more)
    lines = {name: " ".join(words(nodes, name)) for name in ("celery1", "celery2", "celery3")}
    assert ["-c 2 " in lines["celery1"], "-c 4 " in lines["celery2"], "-c 2 " in lines["celery3"]] == [True] * 3
    assert ["-l DEBUG" in line for line in lines.values()] == [False, False, True]
    assert ["-Q images,video" in line for line in lines.values()] == [True, True, False]
    assert [" -E " in line for line in lines.values()] == [False, False, True]
    assert all("-P solo" in line for line in lines.values())


def test_a_restart_changes_only_the_node_that_is_meant_and_the_next_one_needs_no_options(nodes: Nodes) -> None:
    nodes.start("w1", "w2", more=("-c", "2"))
    said = nodes.run("restart", "--all", "-c:w2", "5").stdout
    assert f"    > w2@{HOST}: concurrency: 2 -> 5\n" in said
    assert f"w1@{HOST}: concurrency" not in said
    nodes.run("restart", "w2", "w1")
    assert (words(nodes, "w1").count("5"), words(nodes, "w2").count("5")) == (0, 1)


def test_what_the_keeper_goes_by_may_differ_between_nodes_too(nodes: Nodes) -> None:
    folder = nodes.project.path / "of w2"
    folder.mkdir()
    nodes.start(
        *("w1", "w2"),
        more=(
            *("--max-memory", "1GB", "--max-memory:2=64MB", "--restart:w1", "never", "--nice:w2=3"),
            *("--env=A=all", "--env:w2", "B=one", f"--workdir:w2={folder}", "--umask:1=027"),
        ),
    )
    first, second = spec(nodes, "w1"), spec(nodes, "w2")
    assert (first["max_memory"], second["max_memory"]) == (1 << 30, 64 << 20)
    assert (first["restart"], second.get("restart"), first["nice"], second["nice"]) == ("never", None, None, 3)
    assert (first["kept"]["env"].get("B"), second["kept"]["env"]["B"]) == (None, "one")
    assert first["kept"]["env"]["A"] == second["kept"]["env"]["A"] == "all"
    assert (first["cwd"], second["cwd"]) == (str(nodes.project.path), str(folder))
    assert (first["umask"], second["umask"]) == (0o027, 0o022)
    said = nodes.run("start", "w1", "--max-memory:w1=much", code=2).stderr
    assert "'much' is no size" in said


def test_marks_are_filled_in_for_each_node(nodes: Nodes) -> None:
    for name in ("w1", "w2"):
        (nodes.project.path / f"at-{name}").mkdir()
    nodes.start("w1", "w2", more=("--workdir", "at-%n", "-Q", "q-%n", "--append", "-I %n.more"))
    for name in ("w1", "w2"):
        assert spec(nodes, name)["cwd"] == str(nodes.project.path / f"at-{name}")
        line = words(nodes, name)
        assert line[line.index("-Q") + 1] == f"q-{name}"
        assert line[-2:] == ["-I", f"{name}.more"]


def test_a_stop_understands_the_line_that_the_start_had(nodes: Nodes) -> None:
    line = ("w1", "w2@%h", "-A", "ready", "-c:2", "3", "-l", "INFO", "--pidfile=run/%n.pid", "--", "more")
    nodes.run("start", *line[:-2], "--executable", str(nodes.python))
    said = nodes.run("stopwait", "--nosplash", *line).stdout
    assert said.startswith("> Stopping nodes...")
    assert said.count(": DOWN") == 2


def test_more_and_less_is_said_on_demand(nodes: Nodes) -> None:
    assert nodes.start("w1", more=("--quiet",)).stdout == ""
    nodes.run("stopwait", "-q", "w1")
    said = nodes.run("--nosplash", "start", "--verbose", "w1", "-b", "redis://:secret@h").stdout
    assert not said.startswith("multi v")
    assert f"    > w1@{HOST}: {nodes.python} -m multi worker -A ready " in said
    assert "secret" not in said
    nodes.run("stopwait", "w1")
