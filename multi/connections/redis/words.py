"""The words of RESP, written and read by hiredis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multi.errors import MissingExtra

try:
    import hiredis
except ImportError as missing:
    raise MissingExtra("hiredis", "multi-workers[redis]", "Redis") from missing

Reply = Any
Word = str | bytes | int | float
ReplyError = hiredis.ReplyError
PushNotification = hiredis.PushNotification


def reader() -> Any:
    """A reader of replies; what is not whole yet is `Ellipsis`."""
    return hiredis.Reader(notEnoughData=Ellipsis)


def pack(command: Sequence[Word]) -> bytes:
    """One command as it is sent."""
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type] # its stub wants one word
    return packed
