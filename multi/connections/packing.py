"""How the stores of this machine write a message down: one MessagePack array."""

from __future__ import annotations

from typing import Any

import msgspec

from multi.errors import DecodeError, EncodeError
from multi.message import Message

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[dict[str, Any], bytes, str, str, dict[str, Any]])


def pack(message: Message) -> bytes:
    """The envelope of a message. Raises `EncodeError`."""
    try:
        return _encoder.encode(
            (message.headers, message.body, message.content_type, message.content_encoding, message.properties)
        )
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise EncodeError(f"a header of message {message.headers.get('id')} can't be written: {error}") from error


def unpack(envelope: bytes) -> Message:
    """The message of an envelope. Raises `DecodeError`."""
    try:
        return Message(*_decoder.decode(envelope))
    except (TypeError, msgspec.DecodeError) as error:
        raise DecodeError(f"no message envelope: {error}") from error
