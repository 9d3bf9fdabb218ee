"""Rotation of logs by real keepers: nothing is lost, whatever the program does and whoever dies."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes, kill
from support.wait import until

WRITER = Path(__file__).parents[1] / "support" / "writer.py"
COMMAND = f"{sys.executable} {WRITER}"


def log_files(folder: Path, name: str = "w1") -> list[Path]:
    """Oldest first."""
    found = folder.glob(f"{name}@{HOST}.log*")
    numbers = {path: re.search(r"\.log(?:\.(\d+)(\.gz)?)?$", path.name) for path in found}
    return sorted((path for path in numbers if numbers[path]), key=lambda path: -int(numbers[path][1] or 0))  # type: ignore[index]


def joined(folder: Path) -> str:
    parts = [
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in log_files(folder)
    ]
    return b"".join(parts).replace(b"\0", b"").decode()


def assert_whole(folder: Path, word: str = "line") -> dict[str, int]:
    """Each line is there once, in its order; how many there are of each process."""
    counts: dict[str, int] = {}
    for text in joined(folder).splitlines():
        found = re.fullmatch(rf"{word} (\d+) (\d+) x*", text)
        assert found or re.match(r"\[.*(Keeper|WARNING|INFO|ERROR)", text), text
        if found:
            assert int(found[2]) == counts.get(found[1], 0) + 1, text
            counts[found[1]] = int(found[2])
    return counts


def folder_of(nodes: Nodes) -> Path:
    (folder,) = (nodes.state / "log").iterdir()
    return folder


def test_the_log_of_a_program_that_never_reopens_it_is_cut_and_no_line_is_lost(nodes: Nodes) -> None:
    more = ("--log-size", "100k", "--log-keep", "500", "--log-compress", "--restart-delay", "0.1")
    nodes.run("start", "w1", "--cmd", COMMAND, *more)
    folder = folder_of(nodes)
    until(lambda: len(log_files(folder)) >= 4, 20, what="three rotations")
    kill(nodes.keeper("w1"))
    nodes.run("start", "w1")
    before = len(log_files(folder))
    until(lambda: len(log_files(folder)) > before, 20, what="a rotation by the keeper that has adopted it")
    kill(nodes.worker("w1"))
    nodes.until_state("w1", "running")
    before = len(log_files(folder))
    until(lambda: len(log_files(folder)) > before, 20, what="a rotation while its successor writes")
    nodes.run("stopwait", "w1")
    assert len(assert_whole(folder)) == 2
    assert any(path.suffix == ".gz" for path in log_files(folder))
    head = log_files(folder)[-1].read_text().partition("\n")[0]
    assert f"the log goes on; older lines are in w1@{HOST}.log.1" in head


def test_following_shows_every_line_once_while_the_log_is_cut(nodes: Nodes) -> None:
    nodes.run("start", "w1", "--cmd", COMMAND, "--log-size", "100k", "--log-keep", "500", "--log-compress")
    folder = folder_of(nodes)
    with (nodes.project.path / "seen").open("w") as out:
        follower = nodes.project.popen("logs", "-f", "-n", "1", "w1", stdout=out)
        try:
            until(lambda: len(log_files(folder)) >= 3, 20, what="rotations")
            os.kill(follower.pid, signal.SIGSTOP)  # as if somebody had pressed Ctrl-S: several rotations go by
            before = len(log_files(folder))
            until(lambda: len(log_files(folder)) >= before + 3, 20, what="rotations while nobody reads")
            os.kill(follower.pid, signal.SIGCONT)
            before = len(log_files(folder))
            until(lambda: len(log_files(folder)) >= before + 2, 20, what="rotations")
            nodes.run("stopwait", "w1")
            last = max(int(text.split()[2]) for text in joined(folder).splitlines() if text.startswith("line"))
            seen = nodes.project.path / "seen"
            until(lambda: f" {last} " in seen.read_text(), what="the last line is shown")
        finally:
            os.kill(follower.pid, signal.SIGCONT)
            follower.send_signal(signal.SIGINT)
            follower.communicate(timeout=10)
    counts = [int(text.split()[2]) for text in seen.read_text().splitlines() if text.startswith("line")]
    assert counts == list(range(counts[0], last + 1))


def test_a_copy_is_compressed_only_when_nobody_writes_to_it_any_more(nodes: Nodes) -> None:
    # the child of this worker keeps the first file open for ever
    more = ("--log-size", "10k", "--log-keep", "3", "--log-compress")
    nodes.start("w1", plan="ready.chatty.sleeps", more=more)
    folder = folder_of(nodes)
    until(lambda: len(log_files(folder)) >= 5, 20, what="four copies, though three are wanted")
    oldest = log_files(folder)[0]
    assert oldest.suffix != ".gz"
    assert "generation 1" in oldest.read_text()
    until(lambda: any(path.suffix == ".gz" for path in log_files(folder)), 20, what="a younger copy is compressed")
    nodes.run("stopwait", "w1")


def test_all_copies_are_compressed_one_soon_after_the_other(nodes: Nodes) -> None:
    nodes.run("start", "w1", "--cmd", "sleep 1000", "--log-size", "100k", "--log-keep", "20", "--log-compress")
    nodes.run("stopwait", "w1")
    folder = folder_of(nodes)
    for number in range(1, 11):
        (folder / f"w1@{HOST}.log.{number}").write_text(f"line {number}\n" * 1000)
    nodes.run("start", "w1")
    until(lambda: len([*folder.glob("*.log.*.gz")]) == 10 == len([*folder.glob("*.log.*")]), 25, what="ten are packed")
    for number in range(1, 11):
        packed = folder / f"w1@{HOST}.log.{number}.gz"
        assert gzip.decompress(packed.read_bytes()).decode() == f"line {number}\n" * 1000


def test_a_removed_log_directory_is_made_again_and_that_is_said_once(nodes: Nodes) -> None:
    nodes.start("w1", plan="ready.chatty", more=("--log-size", "1m", "--log-keep", "2"))
    folder = folder_of(nodes)
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    log = folder / f"w1@{HOST}.log"
    until(lambda: log.exists() and re.search("^line ", log.read_text(), re.MULTILINE), what="lines in a new file")
    nodes.run("stopwait", "w1")
    assert joined(folder).count("WARNING/Keeper] the log was removed by somebody; this is a new one\n") == 1


def test_without_a_utf_8_locale_names_paths_and_lines_stay_what_they_are(nodes: Nodes) -> None:
    """A node's own name is of letters that every host's name may have."""
    folder = nodes.project.path / "日志"
    for variable in ("LC_ALL", "LANG"):
        nodes.project.env = {**nodes.project.env, variable: "C"}
    more = (
        "--logfile",
        "日志/%p.log",
        "--log-size",
        "100k",
        "--log-keep",
        "500",
        "--log-compress",
        "--log-format",
        "json",
    )
    nodes.run("start", "w1", "--cmd", f"{COMMAND} 行", *more)
    until(lambda: len(log_files(folder)) >= 4, 20, what="three rotations")
    kill(nodes.worker("w1"))
    until(lambda: "the worker has ended" in (folder / f"w1@{HOST}.log").read_text(errors="replace"), what="a crash")
    nodes.run("stopwait", "w1")
    shown = nodes.project.multi("logs", "w1", "--since", "1h").stdout.splitlines()
    counts = [int(text.split()[2]) for text in shown if text.startswith("行 ")]
    assert counts[:1000] == list(range(1, 1001))
    (told,) = [text for text in shown if "the worker has ended" in text]
    assert "ERROR/Keeper] w1@" in told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("can't mount a small disk here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_full_disk_nodes_go_on_and_the_log_does_when_there_is_room_again(nodes: Nodes, small_disk: Path) -> None:
    nodes.run(
        *("start", "w1", "--cmd", COMMAND, "--logfile", f"{small_disk}/%p.log", "--log-size", "600k", "--log-keep", "2")
    )
    log = small_disk / f"w1@{HOST}.log"
    until(lambda: os.statvfs(small_disk).f_bavail == 0, 30, what="the disk is full")
    pid = nodes.worker("w1")
    until(lambda: nodes.status("w1")["state"] == "running")
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    until(lambda: Path(f"{log}.1").exists(), 30, what="a rotation")
    assert nodes.worker("w1") == pid
    nodes.run("stopwait", "w1")
    assert "ERROR/Keeper] the log can't be rotated: " in joined(small_disk)
    # a hole is left at the front of the file; the next start begins without it
    assert log.read_bytes()[:1] == b"\0"
    nodes.run("start", "w1", "--log-size", "15m")
    assert log.read_bytes()[:1] not in (b"\0", b"")
    nodes.run("stopwait", "w1")
