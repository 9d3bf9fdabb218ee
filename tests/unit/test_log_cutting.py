"""The front of a log is taken off, in each of the ways that file systems allow, and also when the keeper dies meanwhile."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from multi.controller.keeper import copies, cutting, libc
from multi.controller.keeper.copies import Copies, is_written
from multi.controller.keeper.logfile import Log

LINES = [f"line {number} {'x' * (number * 37 % 200)}" for number in range(1, 3001)]
TEXT = "".join(f"{line}\n" for line in LINES)
WAYS = ("collapse", "punch", "truncate")
MARK = b"[2026-11-21 10:00:00,000: INFO/Keeper] the log goes on; older lines are in w1.log.1\n"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As on a file system that can do this and nothing better."""
    real = libc.fallocate
    allowed = {
        "collapse": (libc.COLLAPSE_RANGE, libc.PUNCH_HOLE | libc.KEEP_SIZE),
        "punch": (libc.PUNCH_HOLE | libc.KEEP_SIZE,),
        "truncate": (),
    }[request.param]
    monkeypatch.setattr(
        libc, "fallocate", lambda fd, mode, offset, length: mode in allowed and real(fd, mode, offset, length)
    )
    return str(request.param)


def found_in(folder: Path) -> list[str]:
    """The lines of all copies, without those of the keeper."""
    paths = sorted(folder.glob("w1.log*"), key=lambda path: -int(path.suffix[1:]) if path.suffix != ".log" else 0)
    text = b"".join(path.read_bytes() for path in paths).replace(b"\0", b"").decode()
    return [line for line in text.splitlines() if "Keeper" not in line]


def test_every_line_is_there_once_after_several_cuts(tmp_path: Path, way: str) -> None:
    path = tmp_path / "w1.log"
    log = Log(str(path), 50_000, 100, in_place=True)
    for number in range(0, 3000, 500):
        os.write(log.fd, "".join(f"{line}\n" for line in LINES[number : number + 500]).encode())
        assert log.rotate()
    assert found_in(tmp_path) == LINES
    assert len([*tmp_path.glob("w1.log.*")]) == 6
    assert log._size() < 10_000


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_cut_that_a_killed_keeper_left_half_done_is_finished(
    tmp_path: Path, way: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w1.log"
    path.write_text(TEXT)

    class Killed(BaseException):
        pass

    real: Callable[..., bool] = libc.fallocate
    truncate = os.ftruncate

    def fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
        if moment == "before" and way != "truncate":
            raise Killed
        if real(fd, mode, offset, length):
            raise Killed
        return False

    def ftruncate(fd: int, length: int) -> None:
        if moment == "after":
            truncate(fd, length)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(libc, "fallocate", fallocate)
        patched.setattr(os, "ftruncate", ftruncate)
        with pytest.raises(Killed):
            cutting.cut(str(path), Copies(str(path), 5, False), MARK)
    with path.open("a") as file:
        file.write("the program goes on\n")
    Log(str(path), 1 << 30, 5, in_place=True)
    assert found_in(tmp_path) == [*LINES, "the program goes on"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["w1.log", "w1.log.1"]


def test_a_copy_that_was_not_finished_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    path.write_text(TEXT)
    (tmp_path / "w1.log.part").write_text(TEXT[:1000])
    Log(str(path), 1 << 30, 5, in_place=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w1.log"]
    assert path.read_text() == TEXT


def test_equal_lines_are_no_sign_of_a_cut_that_was_not_finished(tmp_path: Path) -> None:
    for name in ("w1.log", "w1.log.1"):
        (tmp_path / name).write_text("y\n" * 100_000)
    Log(str(tmp_path / "w1.log"), 1 << 30, 5, in_place=True)
    assert (tmp_path / "w1.log").stat().st_size == 200_000


def test_a_line_without_end_is_not_cut_apart(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    path.write_text("x" * 100_000)
    log = Log(str(path), 10_000, 5, in_place=True)
    assert not log.rotate()
    assert not log._is_due()  # not every second, either
    assert [entry.name for entry in tmp_path.iterdir()] == ["w1.log"]


def test_the_time_of_a_rotation_is_one_of_the_wall_clock_also_when_that_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, hour = 86400, 3600
    midnight = time.mktime(time.strptime("2026-11-21", "%Y-%m-%d"))
    now, monotonic = [midnight - 10.0], [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: monotonic[0])

    def pass_by(seconds: float, set_to: float | None = None) -> bool:
        """Whether the log is rotated after this time; the clock may be set meanwhile."""
        monotonic[0] += seconds
        now[0] = now[0] + seconds if set_to is None else set_to
        os.write(log.fd, b"more\n")
        before = len([*tmp_path.glob("w1.log.*")])
        log.look()
        return len([*tmp_path.glob("w1.log.*")]) > before

    path = tmp_path / "w1.log"
    path.write_text("some\n")
    os.utime(path, (now[0], now[0]))
    log = Log(str(path), 0, 100, every=day)
    assert log.pause is not None
    assert 10 <= log.pause < 10.5
    assert not pass_by(5)
    assert pass_by(6)
    assert not pass_by(60, set_to=midnight - 5)  # set back over midnight, which then comes again
    assert not pass_by(10)
    assert not pass_by(23 * hour)
    assert pass_by(hour)
    assert not pass_by(60, set_to=midnight - 400 * day)  # for a year it was wrong
    assert pass_by(day)
    assert log.pause is not None
    assert log.pause <= 3600


def test_a_log_of_yesterday_is_rotated_at_the_first_look_and_an_empty_one_never(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    path.write_text("old\n")
    os.utime(path, (time.time() - 2 * 86400,) * 2)
    log = Log(str(path), 0, 5, every=86400)
    log.look()
    assert (tmp_path / "w1.log.1").read_text() == "old\n"
    os.utime(path, (time.time() - 2 * 86400,) * 2)
    log = Log(str(path), 0, 5, every=86400)
    log.look()
    assert not (tmp_path / "w1.log.2").exists()


def test_whether_a_file_is_written_is_known_with_leases_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    for look in (is_written, copies.is_held):
        with path.open("a"):
            assert look(str(path))
        with path.open():
            assert not look(str(path))
        assert not look(str(path))


def test_what_could_not_be_said_on_a_full_disk_is_said_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w1.log"
    log = Log(str(path), 0, 5)
    write, is_full = os.write, True

    def writes(fd: int, data: bytes) -> int:
        if is_full:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", writes)
    for number in range(30):
        log.say("ERROR", f"trouble {number}")
    is_full = False
    log.look()
    assert re.findall(r"trouble \d+", path.read_text()) == [f"trouble {number}" for number in range(10, 30)]
