"""Who may steer workers: requests of remote control are signed with a key that clients and workers share.

With the setting `control_key` a client signs what it says, and a worker heeds nothing that isn't signed (but what
`control_unsigned` names). A signature is a header beside the request:

    control_signature: "1 <issued> <expires> <nonce> <mac>"

`issued` and `expires` are seconds since the epoch, `nonce` is different for each request, and `mac` is the HMAC-SHA256 in hex,
by the key, of `multi control 1 <issued> <expires> <nonce>`, a line feed, and the body. A worker heeds each nonce once. That one
who has listened can't have it heeded by a worker that was started later, what was issued before its start isn't heeded, either.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from time import time
from typing import Any

from multi.errors import ConfigurationError

HEADER = "control_signature"
#: So long (s) a request is heeded after it was signed, where its sender doesn't say.
LIFE = 30.0
#: What is signed for longer (s) isn't heeded: its nonce would have to be kept for so long.
LONGEST = 300.0
#: A key shorter than this could be guessed.
SHORTEST = 16
#: By so much (s) the clocks of two hosts may differ.
SKEW = 5.0
#: Nonces that are kept.
MOST = 100_000
_FILE = "file:"


def secret(setting: str | None) -> bytes | None:
    """The key that the setting `control_key` tells, itself or by its file; None without one. Raises `ConfigurationError`."""
    if setting is None:
        return None
    if not setting.startswith(_FILE):
        return _checked(setting.encode(), "control_key")
    path = os.path.expanduser(setting[len(_FILE) :])
    if not path:
        raise ConfigurationError("control_key: 'file:' should be followed by the path of the file that holds the key")
    try:
        with open(path, "rb") as file:
            # a larger one is no key
            text = file.read(65536)
    except OSError as error:
        raise ConfigurationError(f"control_key: {path} can't be read: {error.strerror}") from None
    return _checked(text.strip(), f"control_key: {path}")


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST:
        raise ConfigurationError(
            f"{where} should hold at least {SHORTEST} characters that nobody can guess, not {len(key)}; "
            "`python -c 'import secrets; print(secrets.token_hex())'` makes some"
        )
    return key


def sign(key: bytes, body: bytes, life: float | None = None) -> dict[str, str]:
    """The header that lets workers heed a request with this body, for `life` seconds (30 by default, at most 300)."""
    now = time()
    expires = now + min(LIFE if life is None else life, LONGEST)
    claim = f"1 {now:.3f} {expires:.3f} {os.urandom(16).hex()}"
    return {HEADER: f"{claim} {_mac(key, claim, body)}"}


def _mac(key: bytes, claim: str, body: bytes) -> str:
    return hmac.new(key, f"multi control {claim}\n".encode() + body, hashlib.sha256).hexdigest()


class Guard:
    """One worker's look at signatures: `check` says what is wrong with a request."""

    def __init__(self, key: bytes, started: float | None = None) -> None:
        self._key = key
        self._started = time() if started is None else started
        self._seen: dict[str, float] = {}

    def check(self, headers: Mapping[str, Any], body: bytes) -> str:
        """Why this request isn't to be heeded, "" where it is; what was heeded once isn't heeded again."""
        text = headers.get(HEADER)
        if text is None:
            return "it is not signed"
        parts = text.split(" ") if isinstance(text, str) else []
        if len(parts) != 5 or parts[0] != "1":
            return "its signature can't be read"
        claim, _, mac = str(text).rpartition(" ")
        # compared as bytes: texts beyond ASCII can't be
        if not hmac.compare_digest(_mac(self._key, claim, body).encode(), mac.encode("utf-8", "replace")):
            return "its signature is of another key, or of another request"
        # from here on it is what a holder of the key has written
        issued, expires, nonce, now = float(parts[1]), float(parts[2]), parts[3], time()
        if expires <= now:
            return "its signature has expired, or the clocks of the two hosts differ"
        if expires > now + LONGEST + SKEW or issued > now + LONGEST + SKEW:
            return "its signature is made for too long, or the clocks of the two hosts differ"
        if issued < self._started - SKEW:
            return "it was signed before this worker started"
        if nonce in self._seen:
            return "it has been heeded before"
        if len(self._seen) >= MOST:
            self._forget(now)
            if len(self._seen) >= MOST:
                return "too many requests have been signed within a short time"
        self._seen[nonce] = expires
        return ""

    def _forget(self, now: float) -> None:
        self._seen = {nonce: expires for nonce, expires in self._seen.items() if expires > now}
