"""Becoming another user, for good."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from multi.errors import ConfigurationError
from multi.worker import privileges

PROGRAM = """
import os, sys
from multi.worker import privileges
try:
    privileges.drop(sys.argv[1] or None, sys.argv[2] or None)
except ValueError as error:
    sys.exit(str(error))
try:
    os.setuid(0)
except PermissionError:
    print(os.getuid(), os.geteuid(), os.getgid(), 0 in os.getgroups())
"""


def become(name: str, circle: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, name, circle],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_the_user_is_changed_with_all_its_groups_and_cannot_be_changed_back() -> None:
    import pwd

    nobody = pwd.getpwnam("nobody")
    expected = f"{nobody.pw_uid} {nobody.pw_uid} {nobody.pw_gid} False\n"
    assert become("nobody").stdout == expected
    assert become(str(nobody.pw_uid)).stdout == expected
    assert become("nobody", "1").stdout == f"{nobody.pw_uid} {nobody.pw_uid} 1 False\n"
    assert become("4242", "4243").stdout == "4242 4242 4243 False\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process as somebody else")
def test_others_than_root_are_told_that_they_cannot() -> None:
    privileges.drop("root", None)  # loads what the child below may not be allowed to read
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            privileges.drop("root", None)
        except ConfigurationError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as said:
        text = said.read()
    os.waitpid(child, 0)
    assert text == "only root may become another user or group (root): start as root, or without --uid and --gid"
