"""The parts of the keeper that stand in for modules it must not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from multi.controller import keep_path
from multi.controller.keeper import channel, proc, record
from multi.rundir import RunDir

VALUES: dict[str, object] = {
    "text": 'a "b" \\ \n ü \u2028 \udcff',
    "list": [1, -2, 3.5, 1e300, True, False, None, [], {}],
    "deep": {"a": {"b": [{"c": "d"}]}},
}


def test_what_is_written_is_json_and_is_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    record.write(path, VALUES)
    assert record.read(path) == VALUES
    assert json.loads(Path(path).read_text()) == VALUES
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "nonsense", '{"a": }', "\udcff"])
def test_what_is_no_object_is_read_as_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert record.read(str(path)) == {}
    assert record.read(str(tmp_path / "none")) == {}


def test_what_json_has_no_word_for_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON for"):
        record.encode({"a": object()})


def test_a_path_that_is_too_long_for_a_socket_gives_way_to_a_name(tmp_path: Path) -> None:
    assert channel.address("/run/multi/notify") == "/run/multi/notify"
    long = "/x" * 60
    assert channel.address(long).startswith("@multi/")
    assert channel.address(long) == channel.address(long) != channel.address(long + "y")


def test_only_the_owner_and_root_may_command() -> None:
    message = channel.Message("MULTI 1\nrequest=stop\nsignal=15\nnonsense", pid=1, uid=os.geteuid())
    assert (message.is_request, message.may_command) == (True, True)
    assert message.fields == {"request": "stop", "signal": "15"}
    assert channel.Message("MULTI 1", 1, 0).may_command
    assert not channel.Message("MULTI 1", 1, os.geteuid() + 1).may_command
    assert not channel.Message("READY=1", 1, 0).is_request


def test_a_process_is_known_by_its_start_and_a_zombie_is_none() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        start = proc.start_time(child.pid)
        fd = proc.open_identified(child.pid, start)
        assert fd >= 0
        os.close(fd)
        assert proc.open_identified(child.pid, str(int(start) + 1)) == -1
        assert proc.session(child.pid) == os.getsid(0)
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert proc.start_time(child.pid) == ""
    assert proc.session(child.pid) == 0
    assert proc.open_identified(child.pid, start) == -1
    child.wait()
    assert proc.stat(child.pid) == []


def test_the_keeper_loads_nothing_big() -> None:
    program = f"""
import sys
sys.path.append({os.path.dirname(keep_path())!r})
import keeper.main
print(*sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"signal", "socket", "json", "ctypes", "subprocess", "logging", "enum", "re", "typing", "multi"}
    assert len(loaded) < 60, sorted(loaded)


def test_keeper_and_worker_mean_the_same_files() -> None:
    there = RunDir("/run/multi/p/w1", 3)
    node = "".join((Path(keep_path()).parent / f"keeper/{name}.py").read_text() for name in ("node", "standing"))
    main = (Path(keep_path()).parent / "keeper/main.py").read_text()
    for path in (there.keeper_lock, there.worker_lock, there.notify_socket, there.spec_file):
        assert f"/{os.path.basename(path)}" in main
    assert f"/{os.path.basename(there.status_file)}" in node
    assert "stats.{generation}" in node
    assert "exit.{generation}.json" in node
