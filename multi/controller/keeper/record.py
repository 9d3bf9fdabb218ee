"""Reads and writes the JSON files that the keeper shares with the commands."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

_LARGEST = 1 << 20

try:
    import _json
except ImportError:  # not CPython
    _json = None  # type: ignore[assignment]


class _Context:
    """What the scanner of the `json` module's C part wants to know; the module around it costs 7 ms and 1.4 MB."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def read(path: str) -> dict[str, Any]:
    """The object in the file at `path`; empty when there is none, or nothing that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            value = decode(file.read())
    except (OSError, ValueError, StopIteration):
        return {}
    return value if isinstance(value, dict) else {}


def read_unfollowed(path: str) -> dict[str, Any]:
    """The same where another user may have put anything at `path`: no link is followed, and no pipe waited for."""
    try:
        with open(read_regular(path), encoding="utf-8") as file:
            value = decode(file.read(_LARGEST))
    except (OSError, ValueError, StopIteration):
        return {}
    return value if isinstance(value, dict) else {}


def read_regular(path: str) -> int:
    """A descriptor of the plain file at `path`; an OSError when anything else is there."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    if os.fstat(fd).st_mode & 0o170000 != 0o100000:
        os.close(fd)
        raise OSError(22, "no plain file", path)
    return fd


def decode(text: str) -> Any:
    """The value of a JSON text that begins with it."""
    if _json is None:
        import json

        return json.loads(text)
    value, _ = _json.make_scanner(_Context())(text, 0)  # type: ignore[arg-type]
    return value


def write(path: str, value: dict[str, Any]) -> None:
    """Put `value` at `path` so that a reader sees the old or the new file, whole."""
    write_text(path, encode(value) + "\n")


def write_text(path: str, text: str, mode: int = 0o600) -> None:
    """The same for any text, in a file that may be read by those that `mode` says."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            data = text.encode("utf-8", "surrogateescape")
            while data:
                data = data[os.write(fd, data) :]  # a disk that gets full takes a part before it refuses
            if mode != 0o600:
                os.fchmod(fd, mode)  # the keeper's umask leaves others nothing
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def _quote(text: str) -> str:
    if _json is None:
        import json

        return json.dumps(text)
    return _json.encode_basestring_ascii(text)


def encode(value: object) -> str:
    """`value` as JSON."""
    if isinstance(value, str):
        return _quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quote(str(key))}: {encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(encode(item) for item in value) + "]"
    raise TypeError(f"no JSON for {value!r}")
