"""multi up, multi down and multi check, with real nodes."""

from __future__ import annotations

import json
import os
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.nodes import FAKE, HOST, Nodes, is_alive
from support.wait import until

MULTI_TOML = """
name = "shop"
[defaults]
app = "ready"
python = "fake-python"
[nodes.w]
count = 2
"""


@pytest.fixture
def described(nodes: Nodes) -> Nodes:
    """A project whose nodes can be described: their interpreter answers questions as a real one does."""
    nodes.python.write_text(
        f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@";; esac\nexec {sys.executable} {FAKE} "$@"\n'
    )
    nodes.project.write("ready.py", "raise SystemExit('imported')\n")
    describe(nodes, MULTI_TOML)
    return nodes


def describe(nodes: Nodes, text: str) -> Path:
    return nodes.project.write("multi.toml", text.replace('"fake-python"', '"./fake-python"'))


def steps(nodes: Nodes, *words: str, code: int = 0) -> dict[str, Any]:
    found = json.loads(nodes.run("up", "--json", *words, code=code).stdout)
    return {step["node"]: (step["action"], step["result"]) for step in found["steps"]}


def test_up_starts_what_is_missing_and_then_has_nothing_to_do(described: Nodes) -> None:
    said = described.run("up").stdout
    assert "start   w1  (it is new)" in said
    assert said.count(": OK (pid ") == 2
    pids = described.keeper("w1"), described.keeper("w2")
    (kept,) = described.state.glob(f"nodes/shop/w1@{HOST}/spec.json")
    record = json.loads(kept.read_text())
    assert (record["description"], record["section"]) == (str(described.project.path / "multi.toml"), "w")
    assert "> Nothing to do: all 2 nodes run as " in described.run("up").stdout
    assert (described.keeper("w1"), described.keeper("w2")) == pids


def test_up_restarts_only_what_has_changed_and_stops_what_is_gone(described: Nodes) -> None:
    text = MULTI_TOML + '[nodes.v]\nqueues = ["a"]\nenv = { TOKEN = "one" }\n'
    describe(described, text)
    described.run("up")
    before = {name: described.keeper(name) for name in ("w1", "w2", "v")}
    describe(described, text.replace("count = 2", "count = 1").replace('"a"', '"a", "b"').replace('"one"', '"t0p"'))
    said = described.run("up").stdout
    assert "restart v  (queues: a -> a,b)\n            environment: TOKEN\n" in said
    assert "t0p" not in said
    assert "stop    w2" in said
    assert described.keeper("w1") == before["w1"]
    assert described.keeper("v") != before["v"]
    assert not is_alive(before["w2"])
    assert "-Q a,b" in described.log("v")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(described: Nodes) -> None:
    said = described.run("up", "--dry-run").stdout
    assert "> Would be done for " in said
    assert "start   w1  (it is new)" in said
    assert not list(described.state.glob("nodes/*/*"))
    assert steps(described, "--dry-run") == {"w1": ("start", None), "w2": ("start", None)}


def test_nothing_is_started_when_anything_is_wrong(described: Nodes) -> None:
    describe(
        described, MULTI_TOML + '[nodes.v]\ndirectory = "nowhere"\n[nodes.u]\napp = "missing"\nenv_files = ["no.env"]\n'
    )
    said = described.run("up", code=2).stderr
    assert "multi.toml:7: nodes.v: directory: there is no directory " in said
    assert "multi.toml:9: nodes.u: app: there is no module missing" in said
    assert "multi.toml:9: nodes.u: env_files: the environment file " in said
    assert not list(described.state.glob("nodes/*/*"))
    describe(described, MULTI_TOML + "[nodes.v]\ncoun = 2\n[nodes.u]\nnice = 'x'\n")
    said = described.run("up", code=2).stderr
    assert "multi.toml:8: nodes.v.coun: there is no such key; did you mean count?" in said
    assert "multi.toml:10: nodes.u.nice: expected a whole number" in said
    assert not list(described.state.glob("nodes/*/*"))


def test_nodes_started_by_hand_are_left_alone_unless_they_are_described(described: Nodes) -> None:
    described.start("other", "w1")
    before = described.keeper("other"), described.keeper("w1")
    assert steps(described) == {"w1": ("keep", None), "w2": ("start", "ok")}
    assert (described.keeper("other"), described.keeper("w1")) == before
    describe(described, MULTI_TOML.replace("[nodes.w]\ncount = 2", "[nodes.w2]"))
    assert steps(described) == {"w2": ("keep", None), "w1": ("stop", "down")}
    assert described.record("other")["state"] == "running"


def test_what_was_changed_by_hand_is_made_as_described_again(described: Nodes) -> None:
    described.run("up")
    described.run("restart", "w1", "-Q", "x")
    said = described.run("up").stdout
    assert "restart w1  (queues: x -> (not given))" in said


def test_a_node_that_was_stopped_by_hand_is_started_again(described: Nodes) -> None:
    described.run("up")
    described.run("stopwait", "w2")
    assert "start   w2  (it is stopped" in described.run("up").stdout


def test_nodes_start_when_what_they_depend_on_is_there(described: Nodes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        needs = f'["v", "tcp://127.0.0.1:{port}", {{ command = "test -e go", timeout = "30s" }}]'
        describe(described, MULTI_TOML.replace("count = 2", f"depends_on = {needs}") + '[nodes.v]\napp = "later"\n')
        described.project.write("later.py", "")
        running = described.project.popen("up")
        until(lambda: described.record("v").get("state") == "starting", what="v is starting")
        described.nudge("v")
        described.until_state("v", "running")
        assert described.record("w") == {}
        (described.project.path / "go").touch()
        out, _ = running.communicate(timeout=30)
        assert running.returncode == 0, out
        assert described.record("w")["state"] == "running"
        assert described.record("w")["since"] >= described.record("v")["workers"][0]["ready"]


def test_what_depends_on_something_that_does_not_come_is_not_started_and_the_reason_told(described: Nodes) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        port = closed.getsockname()[1]
        needs = f'[{{ tcp = "127.0.0.1:{port}", timeout = "300ms" }}]'
        text = MULTI_TOML.replace("count = 2", f"depends_on = {needs}")
        describe(described, text + '[nodes.v]\ndepends_on = ["w"]\n[nodes.u]\n')
        done = described.run("up", code=1)
    why = f"tcp://127.0.0.1:{port}, which is not there after 0.3 s: Connection refused"
    assert f"w@{HOST} was not started: it depends on {why}" in done.stderr
    assert f"v@{HOST} was not started: w, which it depends on, is not ready" in done.stderr
    assert described.record("u")["state"] == "running"


def test_a_node_that_fails_keeps_those_that_depend_on_it_from_starting(described: Nodes) -> None:
    described.project.write("die.py", "")
    describe(described, MULTI_TOML.replace("count = 2", 'app = "die"') + '[nodes.v]\ndepends_on = ["w"]\n[nodes.u]\n')
    assert steps(described, code=1) == {"w": ("start", "failed"), "v": ("start", "skipped"), "u": ("start", "ok")}


def test_only_takes_a_table_with_what_it_needs(described: Nodes) -> None:
    describe(described, MULTI_TOML + '[nodes.v]\ndepends_on = ["u"]\n[nodes.u]\n')
    assert steps(described, "--only", "v") == {"v": ("start", "ok"), "u": ("start", "ok")}
    assert 'no table of nodes "ww"; did you mean w' in described.run("up", "--only", "ww", code=2).stderr
    described.run("down", "--only", "v", "--force")
    assert described.record("v")["state"] == "stopped"
    assert described.record("u")["state"] == "running"


def test_down_stops_in_the_opposite_order_and_leaves_others_alone(described: Nodes) -> None:
    describe(described, MULTI_TOML + '[nodes.v]\ndepends_on = ["w"]\n')
    described.start("other")
    described.run("up")
    said = described.run("down").stdout
    assert said.index(f"v@{HOST}: DOWN") < said.index(f"w1@{HOST}: TERM")
    assert {name: described.record(name)["state"] for name in ("w1", "w2", "v", "other")} == {
        "w1": "stopped",
        "w2": "stopped",
        "v": "stopped",
        "other": "running",
    }
    assert "Nothing to do: nothing of it runs." in described.run("down").stdout


def test_down_works_with_a_description_that_is_broken_since(described: Nodes) -> None:
    described.run("up")
    describe(described, MULTI_TOML + "coun = 3\n")
    done = described.run("down")
    assert "warning: " in done.stderr
    assert described.record("w1")["state"] == described.record("w2")["state"] == "stopped"


def test_a_kept_environment_file_and_variables_reach_the_node(described: Nodes) -> None:
    described.project.write("shop.env", "FROM_FILE=one\n")
    describe(described, MULTI_TOML.replace("count = 2", 'env_files = ["shop.env", "-no.env"]\nenv = { MINE = "two" }'))
    described.run("up")
    environment = Path(f"/proc/{described.worker('w')}/environ").read_bytes().split(b"\0")
    assert {b"FROM_FILE=one", b"MINE=two"} <= set(environment)


def test_options_of_nodes_are_refused_on_the_command_line(described: Nodes) -> None:
    assert "what nodes are is for multi.toml to say" in described.run("up", "-c", "8", code=2).stderr


def test_without_a_description_the_way_to_one_is_told(nodes: Nodes) -> None:
    assert "`multi init` writes one" in nodes.run("up", code=2).stderr
    nodes.project.write("multi.toml", 'name = "x"\n')
    assert "describes no nodes" in nodes.run("up", code=2).stderr


def test_pyproject_toml_may_hold_the_description_but_not_beside_multi_toml(described: Nodes) -> None:
    path = described.project.path
    text = (path / "multi.toml").read_text()
    table = text.replace("[defaults]", "[tool.multi.defaults]").replace("[nodes.", "[tool.multi.nodes.")
    table = "[project]\nname = 'p'\n\n[tool.multi]\n" + table
    tomllib.loads(table)
    (path / "pyproject.toml").write_text(table)
    assert "has a table [tool.multi] too, which nobody reads" in described.run("up", code=2).stderr
    (path / "multi.toml").unlink()
    assert steps(described) == {"w1": ("start", "ok"), "w2": ("start", "ok")}
    assert list(described.state.glob("nodes/shop/*"))
    (path / "below").mkdir()
    described.run("--help")
    assert described.run("stopwait", "w1").returncode == 0


def test_commands_take_the_name_of_a_table_and_start_knows_what_is_described(described: Nodes) -> None:
    describe(described, MULTI_TOML + '[nodes.v]\nqueues = ["a"]\n')
    described.run("start", "v")
    assert "-Q a" in described.log("v")
    assert steps(described) == {"w1": ("start", "ok"), "w2": ("start", "ok"), "v": ("keep", None)}
    before = described.keeper("w1"), described.keeper("w2"), described.keeper("v")
    described.run("restart", "w", "--force")
    after = described.keeper("w1"), described.keeper("w2"), described.keeper("v")
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]
    described.run("stopwait", "w", "--force")
    assert described.record("w2")["state"] == "stopped"
    described.run("start", "w")
    assert described.record("w2")["state"] == "running"


# ---- check


def test_check_finds_everything_at_once_and_starts_nothing(described: Nodes) -> None:
    describe(
        described,
        MULTI_TOML
        + """
        [nodes.v]
        python = "/nowhere/python"
        [nodes.u]
        python = "/bin/true"
        [nodes.flower]
        kind = "command"
        command = "no-such-program"
        hooks = { crashed = "also-none x" }
        log = { file = "ready.py/x.log" }
        [nodes.s]
        user = "nobody-of-that-name"
        stop = { quit_after = 9, kill_after = 6 }
        """,
    )
    done = described.run("check", code=2)
    found = json.loads(described.run("check", "--json", code=2).stdout)
    assert not found["ok"]
    told = [(one["key"], one["level"], one["message"].partition(":")[0]) for one in found["problems"]]
    assert told == [
        ("nodes.v", "error", "python"),
        ("nodes.u", "error", "python"),
        ("nodes.flower", "error", "--cmd"),
        ("nodes.flower", "error", "log.file"),
        ("nodes.flower", "error", "hooks.crashed"),
        ("nodes.s", "error", "user"),
        ("nodes.s", "warning", "stop"),
    ]
    assert "6 errors, 1 warning" in done.stderr
    assert all(one["line"] for one in found["problems"])
    assert not list(described.state.glob("nodes/*/*"))


def test_check_says_ok_and_counts(described: Nodes) -> None:
    assert described.run("check").stdout.endswith("multi.toml: OK, 2 nodes\n")
    assert described.run("check", "-q").stdout == ""
    assert json.loads(described.run("check", "--json").stdout)["nodes"] == ["w1", "w2"]


def test_check_warns_of_a_password_that_others_can_read(described: Nodes) -> None:
    path = describe(described, MULTI_TOML + '[nodes.v]\nbroker = "redis://:s3cret@localhost/0"\n')
    done = described.run("check")
    assert "warning: " in done.stderr
    assert "broker: holds a password" in done.stderr
    assert "s3cret" not in done.stderr
    os.chmod(path, 0o600)
    assert described.run("check").stderr == ""
