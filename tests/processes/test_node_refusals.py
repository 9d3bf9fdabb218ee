"""Wrong words, wrong places, wrong users: a short message that helps, and the right exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes
from support.project import Project

#: Everything is loaded before the change of user: where the tests run, others may not be able to read the code.
AS_NOBODY = """
import importlib, json, locale, os, pwd, sys
from multi.cli.group import COMMANDS
from multi.cli.main import main
for place, _ in COMMANDS.values():
    importlib.import_module(place.partition(":")[0])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


def said(nodes: Nodes, *words: str, code: int) -> str:
    done = nodes.run(*words, code=code)
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("start", "w1", "-A", "ready", "--concurency", "3"),
            "there is no option --concurency .did you mean --concurrency",
        ),
        (("start", "w1", "-A", "ready", "-c"), "-c takes a value"),
        (("start", "w1", "-A", "ready", "-c:w2", "4"), "-c:w2: no node is called w2; there is 1: w1"),
        (
            ("start", "w1", "w2", "-A", "ready", "--queues:1,3=a"),
            "--queues:1,3=a: there is no node number 3; .* w1, w2",
        ),
        (("start", "w1", "-A", "ready", "--timeout:w1=3"), "--timeout is for the whole command"),
        (("start", "-A", "ready"), "which nodes.*w1 w2, or a number, or --all"),
        (("stop",), "which nodes.*w1 w2, or --all"),
        (("start", "w 1", "-A", "ready"), "'w 1' is no node's name"),
        (("start", "../w1", "-A", "ready"), "'../w1' is no node's name"),
        (("start", "w1@", "-A", "ready"), "its host '' should be"),
        (("start", "0", "-A", "ready"), "the number of nodes is from 1 to 1000"),
        (("start", "w1", "-n", "x@y", "-A", "ready"), "here nodes are named by themselves"),
        (("start", "w1", "-A", "ready", "--umask", "8"), "--umask 8 is no octal number"),
        (("start", "w1", "-A", "ready", "--log-size", "big"), "'big' is no size; write it as 10MB"),
        (("start", "w1", "-A", "ready", "--env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE is not set"),
        (("start", "w1", "-A", "ready", "--executable", "no-such-python"), "there is no such program on the PATH"),
        (("start", "w1", "-A", "ready", "--workdir", "nowhere"), "--workdir nowhere: there is no directory"),
        (("start", "w1", "-A", "ready", "--uid", "no-such-user"), r"--user \(or --uid\) no-such-user: "),
        (("stop", "w1", "--signal", "HUP"), "HUP means to load new code: multi reload"),
        (("stop", "w1", "-77"), "'77' is no signal"),
        (("stop", "w1", "--all"), "either nodes' names or --all"),
        (("strat", "w1"), "no command 'strat'; did you mean 'start'"),
    ],
)
def test_wrong_words_are_named(nodes: Nodes, words: tuple[str, ...], text: str) -> None:
    nodes.start("w1") if words[0] == "stop" else None
    assert re.search(text, said(nodes, *words, code=2), re.DOTALL)
    assert words[0] == "stop" or not nodes.state.joinpath("nodes").exists()


def test_a_value_is_never_taken_for_a_node(nodes: Nodes) -> None:
    nodes.start("--loglevel", "INFO", "-c", "4", "w1", "-Q", "a,b", "--max-tasks-per-child", "9", "-lDEBUG")
    assert [folder.name for folder in nodes.state.glob("nodes/*/*@*")] == [f"w1@{HOST}"]
    words = Path(f"/proc/{nodes.worker('w1')}/cmdline").read_text().split("\0")[2:-1]
    assert words[:-2] == [
        *("-m", "multi", "worker", "-A", "ready", "-l", "DEBUG", "-c", "4", "--max-tasks-per-child=9", "-Q", "a,b"),
        *("-n", f"w1@{HOST}"),
    ]


def test_options_before_the_subcommand_and_what_follows_two_dashes_reach_the_worker(nodes: Nodes) -> None:
    nodes.run(
        "-A", "ready", "-b", "memory://", "start", "w1", "--executable", str(nodes.python), "--", "--more", "of it"
    )
    words = Path(f"/proc/{nodes.worker('w1')}/cmdline").read_text().split("\0")[2:-1]
    assert words[3:7] == ["-A", "ready", "-b", "memory://"]
    assert words[-2:] == ["--more", "of it"]


def test_a_state_directory_that_others_can_write_is_refused(nodes: Nodes) -> None:
    nodes.state.mkdir()
    nodes.state.chmod(0o777)
    text = said(nodes, "start", "w1", "-A", "ready", code=1)
    assert f"{nodes.state} can be written by others (mode 0777)" in text
    assert "chmod go-w" in text


def test_a_state_directory_that_is_a_file_is_refused(nodes: Nodes) -> None:
    nodes.state.write_text("")
    assert "is needed as a directory, and is none" in said(nodes, "start", "w1", "-A", "ready", code=1)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="multi-disk-"))  # not below pytest's folder, which other runs clear meanwhile
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("only root may mount a file system: run the tests as root, as in CI's container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(512))


def test_a_full_state_directory_is_told(nodes: Nodes, small_disk: Path) -> None:
    fill(small_disk)
    text = said(nodes, "start", "w1", "-A", "ready", "--state-dir", str(small_disk), code=1)
    assert "its file system is full; make room there, or choose another with --state-dir" in text


def test_a_read_only_state_directory_is_told(nodes: Nodes, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    text = said(nodes, "start", "w1", "-A", "ready", "--state-dir", str(small_disk), code=1)
    assert "its file system is read-only; choose another with --state-dir" in text


def test_a_full_runtime_directory_is_told_by_the_keeper(nodes: Nodes, small_disk: Path) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    shutil.copytree(nodes.state / "run", small_disk / "run", symlinks=True)
    shutil.rmtree(nodes.state / "run")
    nodes.state.joinpath("run").symlink_to(small_disk / "run")
    fill(small_disk)
    done = nodes.run("start", "w1", code=1)
    assert f"w1@{HOST} did not start: " in done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("pages", [3, 6])
def test_a_disk_that_gets_full_during_a_start_is_told_as_such(nodes: Nodes, small_disk: Path, pages: int) -> None:
    nodes.state = small_disk
    nodes.project.env["MULTI_STATE_DIR"] = str(small_disk)
    nodes.project.write("app.py", "from multi import App\napp = App('app')\n")
    fill(small_disk)
    ballast = small_disk / "ballast"
    os.truncate(ballast, ballast.stat().st_size - pages * 4096)
    broker = f"sqlite:///{nodes.project.path}/queue.db"
    done = nodes.run("start", "w1", "-A", "app", "-c", "1", "-b", broker, code=1)
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr or "is full: make room there" in done.stderr
    ballast.unlink()
    nodes.run("start", "w1", "-A", "app", "-c", "1", "-b", broker)
    nodes.run("stopwait", "w1")


def test_a_disk_that_fills_up_later_ends_nothing(nodes: Nodes, small_disk: Path) -> None:
    nodes.state = small_disk
    nodes.project.env["MULTI_STATE_DIR"] = str(small_disk)
    nodes.start("w1", more=("--logfile", str(nodes.project.path / "log")))
    fill(small_disk)
    nodes.run("stopwait", "w1")
    assert "status.json can't be written" in (nodes.project.path / "log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else: run the tests as root")
def test_a_node_of_another_user_is_not_touched_and_not_taken_for_dead(
    nodes: Nodes, request: pytest.FixtureRequest
) -> None:
    public = Path(tempfile.mkdtemp(prefix="multi-test-"))  # pytest's own folders are closed to others
    public.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(public))
    nodes.state = public / "state"
    nodes.project.env["MULTI_STATE_DIR"] = str(nodes.state)
    nodes.start("w1")
    before = nodes.record("w1")
    for words in (("status", "w1"), ("stop", "w1"), ("start", "w1"), ("stopwait", "w1"), ("kill", "w1")):
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *words],
            cwd="/",
            env=nodes.project.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 4, done
        assert "belongs to root; run multi as that user" in done.stderr
    assert nodes.record("w1") == before
    nodes.run("stopwait", "w1")


def test_a_specification_of_a_newer_multi_is_left_alone(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    (spec,) = nodes.state.glob("nodes/*/*/spec.json")
    spec.write_text(spec.read_text().replace('"version": 1', '"version": 2'))
    assert "was written by a newer multi (format 2, this one knows 1); upgrade" in said(nodes, "restart", "w1", code=2)


def test_a_damaged_specification_is_told_with_the_way_out(nodes: Nodes) -> None:
    nodes.start("w1")
    nodes.run("stopwait", "w1")
    (spec,) = nodes.state.glob("nodes/*/*/spec.json")
    spec.write_text("{")
    assert "define the node anew with: multi start … -A …" in said(nodes, "restart", "w1", code=1)
    nodes.start("w1")


def test_a_bare_name_elsewhere_is_the_only_node_of_that_name_or_an_error_that_lists_them(
    nodes: Nodes, tmp_path: Path
) -> None:
    nodes.start("w1", "w2")
    other = tmp_path / "other"
    other.mkdir()
    there = Project.__new__(Project)
    there.path, there.home, there.env = other, nodes.project.home, nodes.project.env
    there.multi("start", "w1", "-A", "ready", "--executable", str(nodes.python))
    elsewhere = Project.__new__(Project)
    elsewhere.path, elsewhere.home, elsewhere.env = tmp_path, nodes.project.home, nodes.project.env
    assert f"w2@{HOST}" in elsewhere.multi("status", "w2").stdout
    text = elsewhere.multi("stop", "w1", code=4).stderr
    assert f"w1@{HOST} in {nodes.project.path}\n" in text
    assert f"w1@{HOST} in {other}\n" in text
    assert there.multi("ls").stdout.count(f"@{HOST}") == 1
    assert there.multi("ls", "--all").stdout.count(f"@{HOST}") == 3
    there.multi("stopwait", "w1")
    nodes.run("stopwait", "--all")


def test_looking_makes_no_directories(nodes: Nodes) -> None:
    for words in (("names", "3"), ("show", "w1", "-A", "ready"), ("ls",), ("status",)):
        nodes.run(*words, code=None)
    assert not nodes.state.exists()


def test_the_shell_completes_commands_options_and_the_names_of_nodes(nodes: Nodes) -> None:
    nodes.start("w1", "w2", "mail")

    def completed(words: str) -> list[str]:
        nodes.project.env |= {
            "_MULTI_COMPLETE": "bash_complete",
            "COMP_LINE": words,
            "COMP_POINT": str(len(words)),
        }
        try:
            return [line.rpartition(",")[2] for line in nodes.run().stdout.splitlines()]
        finally:
            del nodes.project.env["_MULTI_COMPLETE"]

    assert completed("multi stat") == ["status"]
    assert completed("multi start --logf") == ["--logfile"]
    assert completed("multi stop w1 w") == ["w2"]
    assert completed("multi start w1 -P s") == ["solo"]
    assert completed("multi start w1 -l i") == ["INFO"]
    assert completed("multi start w1 -c:1 3 -P:1 s") == ["solo"]
    assert completed("multi start w1 -E w") == ["w2"]
    assert completed("multi restart w1 w2 -c:w") == ["-c:w1", "-c:w2"]
    assert completed("multi help wh") == ["why"]


def test_a_signal_that_there_is_not_ends_nothing(nodes: Nodes) -> None:
    nodes.start("w1")
    assert "-FOO: there is no such signal" in nodes.run("stop", "w1", "-FOO", "--force", code=2).stderr
    said = nodes.run("stop", "w1", "-USR", "--force", code=2).stderr
    assert "did you mean -USR" in said
    assert nodes.record("w1")["state"] == "running"


@pytest.mark.parametrize("words", [("-A", ""), ("--app=",), ("--cmd", ""), ("--workdir:w1", "")])
def test_an_empty_value_is_told_and_is_not_taken_for_none(nodes: Nodes, words: tuple[str, ...]) -> None:
    for command in ("show", "start"):
        assert "its value is empty" in nodes.run(command, "w1", *words, code=2).stderr
    if words[0] == "-A":
        assert "--app: its value is empty" in nodes.run(*words, "show", "w1", code=2).stderr
