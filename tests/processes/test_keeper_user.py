"""A root keeper with a worker of another user: who owns what, and what that user can't do."""

from __future__ import annotations

import os
import pwd
import signal
import stat
from pathlib import Path

import pytest
from support.nodes import Nodes, kill
from support.wait import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start processes of another user")


@pytest.fixture
def open_nodes(nodes: Nodes, tmp_path: Path) -> Nodes:
    """Nodes in folders that everybody can pass through, with a program that anybody can run."""
    for folder in (tmp_path, *tmp_path.parents, nodes.project.path, nodes.project.home):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | 0o011)
    nodes.project.write(
        "program.sh",
        """
        echo "user $(id -u) group $(id -g) groups $(id -G) home $HOME"
        touch "$MULTI_RUN_DIR/mine" && echo "writes its own"
        touch "$MULTI_RUN_DIR/../mine" || echo "writes nothing else"
        trap 'exit 0' TERM
        while :; do sleep 0.05; done
        """,
    ).chmod(0o755)
    return nodes


def start(nodes: Nodes, *more: str, code: int | None = 0) -> str:
    words = ("--cmd", f"sh {nodes.project.path}/program.sh", "--ready-after", "0.3", *more)
    done = nodes.run("start", "c1", *words, code=code)
    return done.stdout + done.stderr


def test_the_worker_is_the_user_and_the_keeper_stays_root(open_nodes: Nodes) -> None:
    nodes, nobody = open_nodes, pwd.getpwnam("nobody")
    start(nodes, "--user", "nobody")
    until(lambda: "writes nothing else" in nodes.log("c1"), what="it has looked around")
    log = nodes.log("c1")
    assert f"user {nobody.pw_uid} group {nobody.pw_gid} groups {nobody.pw_gid} home {nobody.pw_dir}" in log
    assert "writes its own" in log
    assert os.stat(f"/proc/{nodes.keeper('c1')}").st_uid == 0
    assert os.stat(f"/proc/{nodes.worker('c1')}").st_uid == nobody.pw_uid
    run = nodes.folder("c1")
    assert (run / "worker").stat().st_uid == nobody.pw_uid
    assert {(run / name).stat().st_uid for name in ("status.json", "spec.json", "keeper.lock")} == {0}
    (path,) = nodes.state.glob("log/*/c1@*.log")
    assert path.stat().st_uid == nobody.pw_uid


def test_a_worker_of_another_user_survives_its_keeper_and_is_adopted(open_nodes: Nodes) -> None:
    nodes = open_nodes
    start(nodes, "--user", "nobody")
    worker = nodes.worker("c1")
    kill(nodes.keeper("c1"))
    nodes.run("status", "c1")
    assert nodes.worker("c1") == worker
    nodes.run("stopwait", "c1")
    nodes.run("forget", "c1")


def test_nothing_that_the_user_plants_leads_root_astray(open_nodes: Nodes, tmp_path: Path) -> None:
    nodes, nobody = open_nodes, pwd.getpwnam("nobody")
    start(nodes, "--user", "nobody", "--restart-delay", "0.05")
    until(lambda: "writes nothing else" in nodes.log("c1"), what="it has looked around")
    secret = tmp_path / "secret"
    secret.write_text('{"pid": 1, "kind": "stop", "reason": "hush"}')
    own = nodes.folder("c1") / "worker"
    generation = nodes.record("c1")["generation"]
    (own / f"exit.{generation}.json").symlink_to(secret)
    os.mkfifo(own / f"stats.{generation}")
    os.lchown(own / f"stats.{generation}", nobody.pw_uid, nobody.pw_gid)
    (own / "stats.999").mkdir()
    kill(nodes.worker("c1"))
    until(lambda: nodes.record("c1")["restarts"] == 1 and nodes.record("c1")["state"] == "running", what="restarted")
    assert "hush" not in nodes.log("c1")
    assert secret.exists()
    kill(nodes.keeper("c1"))
    nodes.run("status", "c1")  # the new keeper clears up what it can
    nodes.run("stopwait", "c1")
    assert secret.exists()


def test_a_log_in_a_directory_of_the_user_is_written_as_that_user(open_nodes: Nodes, tmp_path: Path) -> None:
    nodes, nobody = open_nodes, pwd.getpwnam("nobody")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, nobody.pw_uid, nobody.pw_gid)
    target = tmp_path / "target"
    target.write_text("root's\n")
    target.chmod(0o600)
    (theirs / "c1.log").symlink_to(target)
    said = start(nodes, "--user", "nobody", f"--logfile={theirs}/c1.log", code=None)
    assert "can't be written" in said
    assert target.read_text() == "root's\n"
    (theirs / "c1.log").unlink()
    start(nodes, "--user", "nobody", f"--logfile={theirs}/c1.log")
    assert (theirs / "c1.log").stat().st_uid == nobody.pw_uid
    (theirs / "c1.log").rename(theirs / "old.log")
    os.kill(nodes.keeper("c1"), signal.SIGUSR2)
    until((theirs / "c1.log").exists, what="a new one")
    assert (theirs / "c1.log").stat().st_uid == nobody.pw_uid


def test_a_group_alone_and_an_unknown_user(open_nodes: Nodes) -> None:
    nodes = open_nodes
    assert "nobody-at-all: there is no such user on this machine" in start(nodes, "--user", "nobody-at-all", code=None)
    start(nodes, "--user", "nobody", "--group", "daemon")
    import grp

    until(lambda: f"group {grp.getgrnam('daemon').gr_gid} " in nodes.log("c1"), what="it has the group")


def test_without_the_user_again_nothing_of_that_is_left(open_nodes: Nodes) -> None:
    nodes = open_nodes
    start(nodes, "--user", "nobody")
    nodes.run("stopwait", "c1")
    nodes.run("forget", "c1")
    start(nodes)
    assert not (nodes.folder("c1") / "worker").exists()
    assert os.stat(f"/proc/{nodes.worker('c1')}").st_uid == 0
