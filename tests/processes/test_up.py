"""multi up and multi down, with real nodes."""

from __future__ import annotations

import json
import os
import socket
import tomllib
from pathlib import Path
from typing import Any

from support.described import MULTI_TOML, describe
from support.nodes import HOST, Nodes, is_alive
from support.wait import until


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
    assert "multi.toml:8: nodes.v.directory: there is no directory " in said
    assert "multi.toml:10: nodes.u.app: there is no module missing" in said
    assert "multi.toml:11: nodes.u.env_files[0]: the environment file " in said
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


# ---- what is gone


def test_what_is_gone_from_the_file_is_stopped_and_forgotten_and_its_log_stays(described: Nodes) -> None:
    describe(described, MULTI_TOML + "[nodes.v]\n[nodes.u]\n")
    described.run("up")
    described.run("stopwait", "u")
    describe(described, MULTI_TOML)
    assert "forget  u" in described.run("up", "--dry-run").stdout
    said = described.run("up").stdout
    log = described.state / "log" / "shop" / f"v@{HOST}.log"
    assert f"v@{HOST}: DOWN\n" in said
    assert f"forgotten; its log stays: {log}" in said
    assert f"u@{HOST}: forgotten; its log stays: " in said
    assert log.exists()
    assert described.run("status").returncode == 0
    described.run("restart", "--all")
    assert {path.name for path in described.state.glob("nodes/shop/*@*")} == {f"w1@{HOST}", f"w2@{HOST}"}
    assert "Nothing to do: all 2 nodes run" in described.run("up").stdout


def test_a_dry_run_shows_the_whole_plan_also_where_it_would_be_refused(described: Nodes) -> None:
    describe(described, MULTI_TOML + '[nodes.images]\nqueues = ["images"]\n')
    described.run("up")
    describe(described, MULTI_TOML.replace("count = 2", "count = 3"))
    done = described.run("up", "--dry-run", code=1)
    assert "stop    images" in done.stdout
    assert "start   w3  (it is new)" in done.stdout
    assert (
        f"this would be refused: images@{HOST} is the last node here to consume from the queue 'images'" in done.stderr
    )
    assert "multi reload" not in done.stderr  # there is no images in the file any more
    found = json.loads(described.run("up", "--dry-run", "--json", code=1).stdout)
    assert found["refused"].startswith("refused: images@")
    assert described.run("up", code=1).stdout == ""
    assert described.record("images")["state"] == "running"


# ---- what has changed around nodes


def test_a_changed_environment_file_restarts_the_nodes_that_read_it_and_no_others(described: Nodes) -> None:
    path = described.project.write("shop.env", "A=1\n")
    describe(described, MULTI_TOML + '[nodes.v]\nenv_files = ["shop.env"]\n')
    described.run("up")
    before = described.keeper("w1")
    path.write_text("A=2\n")
    started = described.record("v")["workers"][0]["started"]
    os.utime(path, (started + 1, started + 1))
    assert f"v@{HOST}: drift, restart needed: {path} has changed\n" in described.run("status").stdout
    assert f"restart v  ({path} has changed)" in described.run("up", "--dry-run").stdout
    os.utime(path)
    described.run("up")
    assert b"A=2" in Path(f"/proc/{described.worker('v')}/environ").read_bytes().split(b"\0")
    assert described.keeper("w1") == before
    assert "Nothing to do" in described.run("up").stdout


# ---- the command line


def test_a_given_timeout_bounds_the_wait_for_what_a_node_depends_on(described: Nodes) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        port = closed.getsockname()[1]
        describe(described, MULTI_TOML.replace("count = 2", f'depends_on = ["tcp://127.0.0.1:{port}"]'))
        done = described.run("up", "--timeout", "1.5", code=1)
    assert f"tcp://127.0.0.1:{port}, which is not there after 1.5 s: Connection refused" in done.stderr
    assert f"w@{HOST}: waits for tcp://127.0.0.1:{port}: Connection refused (1 s of 1.5 s)" in done.stdout


def test_down_has_a_dry_run_and_says_it_as_json_too(described: Nodes) -> None:
    describe(described, MULTI_TOML + '[nodes.v]\ndepends_on = ["w"]\n')
    described.run("up")
    assert "    v\n    w1, w2\n" in described.run("down", "--dry-run").stdout
    planned = json.loads(described.run("down", "--dry-run", "--json").stdout)
    assert [(step["node"], step["group"], step["result"]) for step in planned["steps"]] == [
        ("v", 1, None),
        ("w1", 2, None),
        ("w2", 2, None),
    ]
    assert described.record("v")["state"] == "running"
    done = json.loads(described.run("down", "--json").stdout)
    assert {step["node"]: step["result"] for step in done["steps"]} == {"v": "down", "w1": "down", "w2": "down"}


def test_names_are_given_with_only_and_that_is_said(described: Nodes) -> None:
    for command in ("up", "down"):
        said = described.run(command, "w", "v", code=2).stderr
        assert said == "multi: w v: this is for the whole of multi.toml; for some of its nodes: --only w --only v\n"
