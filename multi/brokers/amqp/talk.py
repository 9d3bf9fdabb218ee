"""What a child's lane and its seat say to each other, and the seat's end of the line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from struct import Struct

import msgspec

from multi.brokers.base import Delivery, Settlement
from multi.loop import Loop

LENGTH = Struct("<I")
_READ_SIZE = 1 << 18


class Ask(msgspec.Struct, array_like=True):
    """From a lane: settle these, then give me up to `claim` messages.

    `seen` counts the deliveries that were pushed to this lane so far, as far as it knows; `bye` takes the lane's leave.
    """

    number: int
    seen: int
    claim: int
    settlements: list[Settlement]
    bye: bool = False


class Tell(msgspec.Struct, array_like=True):
    """To a lane: the answer to its question `number`, or (number 0) what came by itself; `lost` says why not."""

    number: int
    lost: str = ""
    deliveries: list[Delivery] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Ask)


class Line:
    """A socket pair: the seat's end, which never waits, and the lane's end, which the child will take along."""

    def __init__(self, loop: Loop, asked: Callable[[Ask], None], gone: Callable[[], None]) -> None:
        self._loop = loop
        self._asked = asked
        self._gone = gone
        self._input = bytearray()
        self._output = bytearray()
        self._end, self._lane_end = socket.socketpair()
        self._marks = (_inode(self._end), _inode(self._lane_end))
        self._end.setblocking(False)
        loop.on_readable(self._end.fileno(), self._read)

    def lane_end(self) -> socket.socket:
        """In the child: its end."""
        return self._lane_end.dup()

    def tell(self, tell: Tell) -> None:
        try:
            encoded = _encoder.encode(tell)
        except (TypeError, ValueError) as exc:
            # a header that can't be handed on: the message is told as one that can't be decoded
            for each in tell.deliveries:
                each.fault = f"its headers can't be handed on: {exc}"
                each.message = None
            encoded = _encoder.encode(tell)
        self._output += LENGTH.pack(len(encoded)) + encoded
        self._write()

    def close(self) -> None:
        """In the worker's process: the end of the line. Twice is fine."""
        self._lane_end.close()
        if self._end.fileno() >= 0:
            self._loop.forget(self._end.fileno())
            self._end.close()

    def close_copies(self) -> None:
        """In a forked child: close both ends, unless somebody did so and their numbers name something else now."""
        for end, mark in zip((self._end, self._lane_end), self._marks, strict=True):
            if _inode(end) == mark:
                end.close()
            else:
                end.detach()

    def _read(self) -> None:
        try:
            while data := self._end.recv(_READ_SIZE):
                self._input += data
                self._serve()
                if len(data) < _READ_SIZE:
                    return
        except BlockingIOError:
            return
        except OSError:
            pass  # as at the end of the stream
        self.close()
        self._gone()

    def _serve(self) -> None:
        held = self._input
        while len(held) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(held)[0]
            if len(held) < end:
                return
            ask = _decoder.decode(bytes(held[LENGTH.size : end]))
            del held[:end]
            self._lane_end.close()  # the lane has its own now; this one would hide the child's death
            self._asked(ask)

    def _write(self) -> None:
        if self._end.fileno() < 0:
            self._output.clear()
            return
        try:
            while self._output:
                sent = self._end.send(self._output)
                del self._output[:sent]
        except BlockingIOError:
            self._loop.on_writable(self._end.fileno(), self._write)
            return
        except OSError:
            self._output.clear()  # the child is gone; `_read` sees to it
        self._loop.on_writable(self._end.fileno(), None)


def _inode(end: socket.socket) -> int:
    """What an open descriptor is, whatever its number; -1 if it isn't open."""
    try:
        return os.fstat(end.fileno()).st_ino
    except OSError:
        return -1
