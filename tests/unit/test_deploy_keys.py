"""What is said of keys of hosts, and of one's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

paramiko = pytest.importorskip("paramiko")

from multi.deploy.connections.keys import is_private_key, known_in, removal  # noqa: E402


def test_the_file_that_has_a_hosts_key_is_the_one_that_is_named(tmp_path: Path) -> None:
    key = paramiko.ECDSAKey.generate()
    one, other = tmp_path / "one", tmp_path / "the other"
    one.write_text(f"h1 {key.get_name()} {key.get_base64()}\n")
    other.write_text(f"[h2]:2222 {key.get_name()} {key.get_base64()}\n")
    files = [str(one), str(other), str(tmp_path / "missing"), "/dev/null"]
    assert known_in("h1", files) == [str(one)]
    assert removal("h1", files) == f"ssh-keygen -R h1 -f {one}"
    assert removal("[h2]:2222", files) == f"ssh-keygen -R '[h2]:2222' -f '{other}'"
    usual = os.path.expanduser("~/.ssh/known_hosts")
    assert removal("h9", [usual]) == "ssh-keygen -R h9"


def test_what_is_no_private_key_is_seen(tmp_path: Path) -> None:
    good, locked, junk = tmp_path / "good", tmp_path / "locked", tmp_path / "junk"
    paramiko.RSAKey.generate(1024).write_private_key_file(str(good))
    paramiko.RSAKey.generate(1024).write_private_key_file(str(locked), password="x")
    junk.write_text("junk\n")
    assert [is_private_key(str(one)) for one in (good, locked, junk, tmp_path)] == [True, True, False, False]
    junk.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nbm90aGluZw==\n-----END OPENSSH PRIVATE KEY-----\n")
    assert not is_private_key(str(junk))
