"""Signed requests of remote control: which are heeded, and which aren't."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from multi import control_key
from multi.control_key import HEADER, Guard, secret, sign
from multi.errors import ConfigurationError

KEY = b"a key that nobody else has"
BODY = b'{"method": "shutdown"}'


def guard(key: bytes = KEY) -> Guard:
    return Guard(key)


def test_what_was_signed_with_the_key_is_heeded_once() -> None:
    headers, ears = sign(KEY, BODY), guard()
    assert ears.check(headers, BODY) == ""
    assert ears.check(headers, BODY) == "it has been heeded before"
    assert guard().check(headers, BODY) == ""


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "it is not signed"),
        ({HEADER: 12}, "its signature can't be read"),
        ({HEADER: "1 2 3"}, "its signature can't be read"),
        ({HEADER: "2 1.0 2.0 n m"}, "its signature can't be read"),
        ({HEADER: "1 nan inf n mäc"}, "its signature is of another key, or of another request"),
        (sign(b"the key of somebody else", BODY), "its signature is of another key, or of another request"),
    ],
)
def test_what_is_not_signed_with_it_is_refused(headers: Mapping[str, object], said: str) -> None:
    assert guard().check(headers, BODY) == said


def test_a_signature_is_of_one_body_and_of_one_time_only() -> None:
    headers = sign(KEY, BODY)
    assert "another request" in guard().check(headers, BODY + b" ")
    version, issued, _, nonce, mac = headers[HEADER].split(" ")
    longer = {HEADER: f"{version} {issued} 9999999999.000 {nonce} {mac}"}
    assert "another request" in guard().check(longer, BODY)


def test_what_has_expired_or_is_older_than_the_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(control_key, "time", lambda: now[0])
    headers = sign(KEY, BODY, 10)
    early = guard()
    now[0] += 8
    assert guard().check(headers, BODY) == "it was signed before this worker started"
    assert early.check(headers, BODY) == ""
    now[0] += 2
    assert "expired" in guard().check(headers, BODY)
    # its nonce is kept no longer than it could be heeded
    assert early.check(sign(KEY, BODY), BODY) == ""
    early._forget(now[0])
    assert len(early._seen) == 1


def test_so_many_nonces_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_key, "MOST", 2)
    ears = guard()
    assert [ears.check(sign(KEY, BODY), BODY) for _ in range(3)] == [
        "",
        "",
        "too many requests have been signed within a short time",
    ]


def test_the_key_is_the_setting_or_in_the_file_that_it_names(tmp_path: Path) -> None:
    place = tmp_path / "key"
    place.write_text("0123456789abcdef0123\n")
    assert secret(None) is None
    assert secret("0123456789abcdef") == b"0123456789abcdef"
    assert secret(f"file:{place}") == b"0123456789abcdef0123"
    with pytest.raises(ConfigurationError, match="at least 16 characters that nobody can guess, not 5"):
        secret("short")
    with pytest.raises(ConfigurationError, match=r"missing can't be read: No such file"):
        secret(f"file:{tmp_path}/missing")
    with pytest.raises(ConfigurationError, match="followed by the path"):
        secret("file:")
    with pytest.raises(ConfigurationError) as caught:
        secret("hunter2")
    assert "hunter2" not in str(caught.value)
