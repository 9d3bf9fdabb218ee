"""Store operations: what a backend wants recorded, in a form that a broker can carry out for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import msgspec


class Store(msgspec.Struct, array_like=True, frozen=True):
    """Record `value` under `key` for `expires` seconds (0: for ever) and tell those who wait for it.

    Never overwrites a recorded SUCCESS. Opaque to everybody but the backend that made it and a broker in the same place.
    """

    key: str
    value: bytes
    expires: int = 0


class _State(msgspec.Struct):
    status: str = ""


_state_of = msgspec.json.Decoder(_State)
_OTHER_FORMATS = re.compile(rb"status.{1,9}?SUCCESS", re.DOTALL)


def is_final(value: bytes) -> bool:
    """Whether a record (as it is in `Store.value`) says SUCCESS, which nothing overwrites any more."""
    if b"SUCCESS" not in value:
        return False
    try:
        return _state_of.decode(value).status == "SUCCESS"
    except msgspec.DecodeError:
        # pickle, yaml, msgpack: the status comes first, or nearly so
        return _OTHER_FORMATS.search(value, 0, 400) is not None


class Storage(Protocol):
    """The writing half of a backend, as a broker's lane needs it."""

    place: str
    """Names the server and database, equal for a broker and a backend that can write in one step ("" never is)."""

    def store(self, stores: Sequence[Store]) -> None:
        """Record all of them. Raises `BackendUnavailable`."""
