"""Orders to a worker: the socket, and what they do to the queues that it takes tasks from."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from multi.control import HELLO, Control, address
from multi.controller.keeper import channel
from multi.worker.intake import Intake, parse


def send(path: str, text: str) -> None:
    where = address(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), "\0" + where[1:] if where.startswith("@") else where)


def test_worker_and_keeper_have_one_rule_for_addresses() -> None:
    for path in ("/run/x", "/" + "x" * 106, "/" + "x" * 107, "/" + "\u961f" * 40, "/" + "y" * 500):
        assert address(path) == channel.address(path)
    assert HELLO == channel.HELLO


@pytest.mark.parametrize("length", [10, 200])
def test_orders_arrive_and_what_is_none_is_told_apart(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("d" * length)
    folder.mkdir()
    path = str(folder / "control.1")
    control = Control(path)
    try:
        assert control.receive() is None
        send(path, f"{HELLO}\nrequest=pause\nqueues=a,b")
        send(path, "request=pause")
        send(path, f"{HELLO}\nrequest=resume\nqueues=*")
        found = [control.receive() for _ in range(4)]
        assert found == [{"request": "pause", "queues": "a,b"}, {}, {"request": "resume", "queues": "*"}, None]
        assert os.path.exists(path) == (length == 10)
    finally:
        control.close()
    assert list(folder.iterdir()) == []


def test_a_socket_that_was_left_behind_is_replaced_and_a_forked_child_leaves_it_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "control.1")
    first = Control(path)
    first._socket.close()  # as by the death of its process
    control = Control(path)
    pid = os.fork()
    if pid == 0:
        control.close()
        os._exit(0 if os.path.exists(path) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    send(path, f"{HELLO}\nrequest=resume")
    assert control.receive() == {"request": "resume"}
    control.close()
    assert not os.path.exists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_orders_of_another_user_are_none(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 120))  # an abstract name, which no directory protects
    control = Control(path)
    try:
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            send(path, f"{HELLO}\nrequest=pause")
            os._exit(0)
        os.waitpid(child, 0)
        assert control.receive() == {}
        send(path, f"{HELLO}\nrequest=pause")
        assert control.receive() == {"request": "pause"}
    finally:
        control.close()


def test_pausing_and_resuming_some_queues_or_all() -> None:
    intake = Intake(["a", "b", "c"])
    assert (intake.consumed, intake.left, str(intake)) == (["a", "b", "c"], [], "")
    intake.pause(["b", "unknown"])
    assert (intake.consumed, str(intake)) == (["a", "c"], "paused: b")
    intake.pause(["*"])
    assert (intake.consumed, str(intake)) == ([], "paused")
    intake.resume(["c"])
    assert (intake.consumed, str(intake)) == (["c"], "paused: a, b")
    intake.resume(["a"])
    intake.resume(["nothing"])
    assert intake.consumed == ["a", "c"]
    intake.resume(["*"])
    assert intake.consumed == ["a", "b", "c"]
    assert Intake(["a", "b"], parse("a")).consumed == ["b"]
    assert Intake(["a", "b"], parse("*")).consumed == []
    assert Intake(["a", "b"], parse("")).consumed == ["a", "b"]
    assert parse(" a , b,,a") == ["a", "b"]
    assert parse("a,*") == ["*"]
