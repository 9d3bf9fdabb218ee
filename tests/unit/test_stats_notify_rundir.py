"""What a worker and those who watch it share: the stats page, the notifier, the runtime directory."""

from __future__ import annotations

import os
import socket
import struct
import timeit
from pathlib import Path

import pytest

from multi.notify import Notifier
from multi.rundir import RunDir, held, hold
from multi.stats import READY, StatsPage


def test_a_page_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = str(tmp_path / "stats")
    page = StatsPage.create(path, 3)
    page.node(state=READY, pid=7, pool="prefork", concurrency=2, queues=["a", "b"], started=1.5, generation=4, rss=99)
    row = page.child(1, pid=8)
    row.task(1, 2.5, b"proj.tasks.add", b"0f0f", b"(1, 2) {'x': 1, 'password': 'hush'}")
    row.count(succeeded=2, failed=1)
    row.count(retried=1, succeeded=1)
    found = StatsPage.read(path)
    assert found is not None
    assert found == page.snapshot()
    assert (found.state, found.pid, found.pool, found.concurrency) == ("ready", 7, "prefork", 2)
    assert (found.queues, found.started, found.generation, found.rss) == (["a", "b"], 1.5, 4, 99)
    (child,) = found.children
    assert (child.row, child.pid, child.active, child.since, child.name) == (1, 8, 1, 2.5, "proj.tasks.add")
    assert (child.id, child.args) == ("0f0f", "(1, 2) {'x': 1, 'password': ***}")
    assert (child.succeeded, child.failed, child.retried) == (3, 1, 1)
    assert (found.active, found.succeeded, found.failed, found.retried) == (1, 3, 1, 1)


def test_the_next_child_of_a_row_goes_on_with_its_counts(tmp_path: Path) -> None:
    page = StatsPage.create(None, 1)
    first = page.child(0, pid=1)
    first.task(1, 1.0, b"x")
    first.count(succeeded=5)
    page.clear(0)
    assert page.snapshot().children[0][1:] == (0, 0, 0.0, "", 5, 0, 0, "", "")
    page.child(0, pid=2).count(succeeded=1)
    assert page.snapshot().succeeded == 6


def test_names_that_are_too_long_are_cut_and_pages_that_are_none_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "stats"
    page = StatsPage.create(str(path), 1)
    page.child(0).task(1, 0.0, b"n" * 500, b"i" * 500, b"a" * 500)
    page.node(queues=["q" * 700, "r" * 700])
    found = StatsPage.read(str(path))
    assert found is not None
    (child,) = found.children
    assert (child.name, child.id, child.args) == ("n" * 128, "i" * 64, "a" * 256)
    assert (child.succeeded, child.failed, child.retried) == (0, 0, 0)
    for content in (b"", b"x" * 100, b"x" * 9000, path.read_bytes().replace(b"\x02\x00", b"\x63\x00", 1)):
        path.write_bytes(content)
        assert StatsPage.read(str(path)) is None
    assert StatsPage.read(str(tmp_path / "nothing")) is None


def test_a_page_of_the_version_before_is_understood(tmp_path: Path) -> None:
    # byte for byte what multi 0.1.0 wrote
    header = struct.pack("<8sHHHH", b"MULTISTA", 1, 2048, 256, 2)
    header += struct.pack("<IIIIddQ32s1024s", 1, 7, 3, 2, 1.5, 2.5, 99, b"prefork", b"a,b")
    row = struct.pack("<IId128sQQQ", 8, 1, 3.5, b"proj.tasks.add", 5, 6, 7)
    path = tmp_path / "stats.3"
    path.write_bytes(header.ljust(2048, b"\0") + row.ljust(256, b"\0") + bytes(256))
    found = StatsPage.read(str(path))
    assert found is not None
    assert (found.state, found.pid, found.generation, found.queues) == ("ready", 7, 3, ["a", "b"])
    assert [tuple(child) for child in found.children] == [(0, 8, 1, 3.5, "proj.tasks.add", 5, 6, 7, "", "")]


def test_the_layout_is_the_one_that_is_documented(tmp_path: Path) -> None:
    path = tmp_path / "stats"
    page = StatsPage.create(str(path), 2)
    page.node(
        state=READY, pid=7, generation=4, concurrency=2, started=1.5, last_loop=2.5, rss=99, pool="p", queues=["q"]
    )
    row = page.child(1, pid=8)
    row.task(3, 4.5, b"name", b"id", b"args")
    row.count(5, 6, 7)
    data = path.read_bytes()
    assert struct.unpack_from("<8sHHHH", data, 0) == (b"MULTISTA", 2, 2048, 512, 2)
    assert struct.unpack_from("<IIIIddQ", data, 16) == (READY, 7, 4, 2, 1.5, 2.5, 99)
    assert (data[56:58], data[88:90]) == (b"p\0", b"q\0")
    at = 2048 + 512
    assert struct.unpack_from("<IId", data, at) == (8, 3, 4.5)
    assert [data[at + place :].partition(b"\0")[0] for place in (16, 144, 208)] == [b"name", b"id", b"args"]
    assert struct.unpack_from("<QQQ", data, at + 464) == (5, 6, 7)
    assert len(data) == at + 512


def test_a_row_costs_next_to_nothing() -> None:
    row = StatsPage.create(None, 1).child(0)
    assert min(timeit.repeat(lambda: row.task(1, 1.5, b"proj.tasks.add"), number=2000, repeat=20)) / 2000 < 2e-6
    assert min(timeit.repeat(lambda: row.count(succeeded=1), number=2000, repeat=20)) / 2000 < 2e-6


def test_the_notifier_speaks_to_the_socket_that_it_was_given_and_hides_it_from_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "s"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
        notifier = Notifier.from_env()
        assert "NOTIFY_SOCKET" not in os.environ
        notifier.ready("two\nlines")
        notifier.status("x")
        notifier.stopping()
        notifier.mainpid(5)
        notifier.extend_timeout(1.5)
        said = [manager.recv(1000).decode() for _ in range(5)]
    assert said == [
        "READY=1\nSTATUS=two lines",
        "STATUS=x",
        "STOPPING=1",
        "MAINPID=5\nREADY=1",
        "EXTEND_TIMEOUT_USEC=1500000",
    ]
    notifier.ready()  # nobody listens any more: no harm
    notifier.close()
    notifier.ready()


def test_the_notifier_understands_abstract_names_and_the_lack_of_one() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"multi-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        notifier = Notifier(f"@{name}")
        notifier.watchdog()
        assert manager.recv(100) == b"WATCHDOG=1"
        notifier.close()
    assert not Notifier(None).enabled
    Notifier(None).ready()


def test_signs_of_life_are_given_to_a_manager_that_wants_them_from_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interval(**variables: str) -> float:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        found = Notifier.from_env()
        found.close()
        assert not [name for name in os.environ if name.startswith(("WATCHDOG", "NOTIFY"))]
        return found.watchdog_interval

    listened = {"NOTIFY_SOCKET": str(tmp_path / "s")}
    assert interval(**listened) == 0
    assert interval(**listened, WATCHDOG_USEC="3000000") == 1.0
    assert interval(**listened, WATCHDOG_USEC="6000000", WATCHDOG_PID=str(os.getpid())) == 2.0
    assert interval(**listened, WATCHDOG_USEC="6000000", WATCHDOG_PID="1") == 0
    assert interval(**listened, WATCHDOG_USEC="soon") == 0
    assert interval(WATCHDOG_USEC="3000000") == 0


def test_a_worker_without_a_keeper_has_no_directory_and_one_with_it_takes_it_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multi.rundir._current", None)
    monkeypatch.delenv("MULTI_RUN_DIR", raising=False)
    assert RunDir.from_env() is None
    monkeypatch.setenv("MULTI_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("MULTI_GENERATION", "3")
    monkeypatch.setenv("MULTI_LOG_FILE", "/x")
    monkeypatch.setenv("MULTI_PAUSED", "a,b")
    found = RunDir.from_env()
    assert found is not None
    assert not [
        name for name in os.environ if name in ("MULTI_RUN_DIR", "MULTI_GENERATION", "MULTI_LOG_FILE", "MULTI_PAUSED")
    ]
    assert RunDir.from_env() is found
    assert (found.stats, found.log_file) == (str(tmp_path / "stats.3"), "/x")
    assert (found.control, found.stacks, found.paused) == (
        str(tmp_path / "control.3"),
        str(tmp_path / "stacks.3"),
        "a,b",
    )
    found.write_exit("stop", 0, "TERM")
    assert '"kind": "stop"' in (tmp_path / "exit.3.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exit.3.json"]


def test_a_lock_is_held_by_one_and_only_while_it_is_open(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert not held(path)
    fd = hold(path)
    assert fd is not None
    assert held(path)
    assert hold(path) is None
    os.close(fd)
    assert not held(path)
