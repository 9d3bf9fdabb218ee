"""What a child holds, in memory that its worker sees too.

Each child has one `Slot`: a row of entries, one per claimed message. The child writes what it claimed, which entries it
runs since when, and finished outcomes that have not reached the broker yet; the worker reads along, renews the leases,
takes over what the child can't settle in time, and settles for a child that is dead.

An entry is taken from one state to the next under the slot's lock, a semaphore in shared memory that costs no system
call while nobody contends (0.2 us). A child may die while it holds the lock; then nobody else can be in there, and the
worker goes ahead without it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from mmap import mmap
from multiprocessing import get_context
from time import monotonic
from typing import Protocol

import msgspec

from multi.brokers.base import Settlement
from multi.message import Message

FREE, CLAIMED, RUNNING, DONE, SENDING = 0, 1, 2, 3, 4

#: Per entry: start of the run (monotonic s), soft and hard deadline (0: none), place and length of the outcome.
_ENTRY = struct.Struct("=dddII")
#: The last two of them.
_PLACE = struct.Struct("=II")
_PLACE_AT = _ENTRY.size - _PLACE.size
_CLAIM_BYTES = 512
_OUTCOME_BYTES = 256 * 1024
#: header: asleep flag of the watching worker, draining flag, claiming flag of the child, number of the entry that is struck
_HEADER = 8

_encode = msgspec.msgpack.Encoder().encode
_decode_claim = msgspec.msgpack.Decoder(tuple[str, str, str, str]).decode
_decode_message = msgspec.msgpack.Decoder(Message).decode
_decode_settlement = msgspec.msgpack.Decoder(Settlement).decode


class _Lock(Protocol):
    def acquire(self, block: bool = ..., timeout: float | None = ...) -> bool: ...
    def release(self) -> None: ...


class Held(msgspec.Struct):
    """One entry as the worker sees it."""

    index: int
    state: int
    tag: str
    fence: str
    queue: str
    task: str
    since: float
    soft: float
    hard: float
    #: the message of a run that was acknowledged before it began: nobody else has it any more
    will: Message | None = None


class Slot:
    """One child's entries; made by the worker before the fork, used on both sides."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self._rows = _HEADER + entries
        self._claims = self._rows + entries * _ENTRY.size
        self._outcomes = self._claims + entries * (2 + _CLAIM_BYTES)
        self._end = self._outcomes + _OUTCOME_BYTES
        self._memory = mmap(-1, self._end)
        self._lock: _Lock = get_context("fork").Lock()
        self._next = self._outcomes  # where the next outcome goes; the child's own business

    # -- the child's side -------------------------------------------------------------------------------------------

    def put(self, index: int, tag: str, fence: str, queue: str, task: str) -> None:
        """Note a claimed message in a free entry."""
        claim = _encode((tag, fence, queue, task))
        if len(claim) > _CLAIM_BYTES:
            claim = _encode((tag, fence, queue, task[:64]))
        at = self._claims + index * (2 + _CLAIM_BYTES)
        memory = self._memory
        memory[at : at + 2] = len(claim).to_bytes(2, "little")
        memory[at + 2 : at + 2 + len(claim)] = claim
        memory[_HEADER + index] = CLAIMED

    def start(self, index: int, now: float, soft: float | None, hard: float | None) -> bool:
        """Begin to run an entry; False when the worker has handed the message back meanwhile."""
        memory = self._memory
        self._lock.acquire()
        try:
            if memory[_HEADER + index] != CLAIMED:
                return False
            _ENTRY.pack_into(
                memory,
                self._rows + index * _ENTRY.size,
                now,
                now + soft if soft else 0.0,
                now + hard if hard else 0.0,
                0,
                0,
            )
            memory[_HEADER + index] = RUNNING
            memory[3] = 0
            return True
        finally:
            self._lock.release()

    def bequeath(self, index: int, message: Message) -> None:
        """Leave the message of a running entry to the worker, before it is acknowledged; if it fits, that is."""
        try:
            data = _encode(message)
        except (TypeError, ValueError, msgspec.EncodeError):
            return
        at = self._next
        if at + len(data) <= self._end:
            self._memory[at : at + len(data)] = data
            _PLACE.pack_into(self._memory, self._rows + index * _ENTRY.size + _PLACE_AT, at, len(data))
            self._next = at + len(data)

    def finish(self, index: int, settlement: Settlement) -> bool:
        """Note the outcome of a run; False when it doesn't fit, and the child must settle it now."""
        data = _encode(settlement)
        at = self._next
        memory = self._memory
        if at + len(data) > self._end:
            _PLACE.pack_into(memory, self._rows + index * _ENTRY.size + _PLACE_AT, 0, 0)
            return False
        memory[at : at + len(data)] = data
        _ENTRY.pack_into(memory, self._rows + index * _ENTRY.size, monotonic(), 0.0, 0.0, at, len(data))
        self._next = at + len(data)
        with_lock = self._lock
        with_lock.acquire()
        memory[_HEADER + index] = DONE
        with_lock.release()
        return True

    def send(self, indices: Sequence[int]) -> list[int]:
        """Take outcomes into the child's own hands; returns those that the worker has not settled already."""
        memory = self._memory
        kept = []
        self._lock.acquire()
        for index in indices:
            if memory[_HEADER + index] != FREE:
                memory[_HEADER + index] = SENDING
                kept.append(index)
        self._lock.release()
        return kept

    def free(self, indices: Sequence[int]) -> None:
        """Forget entries that are settled."""
        memory = self._memory
        for index in indices:
            memory[_HEADER + index] = FREE

    def rewind(self) -> None:
        """Use the room of the outcomes anew; only when no entry is done or being sent."""
        self._next = self._outcomes

    @property
    def asleep(self) -> bool:
        """Whether the worker wants to be woken before the child claims more than it runs."""
        return self._memory[0] == 1

    @asleep.setter
    def asleep(self, value: bool) -> None:
        self._memory[0] = 1 if value else 0

    @property
    def draining(self) -> bool:
        """Whether the child is to start nothing more; set by the worker."""
        return self._memory[1] == 1

    @draining.setter
    def draining(self, value: bool) -> None:
        self._memory[1] = 1 if value else 0

    @property
    def claiming(self) -> bool:
        """Whether the child is being given messages that it has not noted here yet."""
        return self._memory[2] == 1

    @claiming.setter
    def claiming(self, value: bool) -> None:
        self._memory[2] = 1 if value else 0

    @property
    def struck(self) -> bool:
        """Whether the worker means the run that is under way by its signal."""
        number = self._memory[3]
        return number > 0 and self._memory[_HEADER + number - 1] == RUNNING

    def spare(self) -> None:
        """The signal has been heeded; another one means something else."""
        self._memory[3] = 0

    # -- the worker's side ------------------------------------------------------------------------------------------

    def states(self) -> bytes:
        """The state of each entry, one byte each; a cheap look without the lock."""
        return self._memory[_HEADER : _HEADER + self.entries]

    def since(self, index: int) -> float:
        """When the run of an entry began, or, if it is done, when it ended."""
        return float(_ENTRY.unpack_from(self._memory, self._rows + index * _ENTRY.size)[0])

    def deadlines(self, index: int) -> tuple[float, float]:
        """The soft and the hard deadline of a running entry (monotonic s), 0 for none."""
        _, soft, hard, _, _ = _ENTRY.unpack_from(self._memory, self._rows + index * _ENTRY.size)
        return soft, hard

    def held(self) -> list[Held]:
        """Everything that is claimed and not settled, as far as can be told without the lock."""
        found = []
        for index, state in enumerate(self.states()):
            if state != FREE:
                try:
                    found.append(self._held(index, state))
                except (msgspec.DecodeError, ValueError):
                    continue  # being written at this moment
        return found

    def _held(self, index: int, state: int) -> Held:
        at = self._claims + index * (2 + _CLAIM_BYTES)
        length = int.from_bytes(self._memory[at : at + 2], "little")
        tag, fence, queue, task = _decode_claim(self._memory[at + 2 : at + 2 + length])
        since, soft, hard, place, size = _ENTRY.unpack_from(self._memory, self._rows + index * _ENTRY.size)
        found = Held(index, state, tag, fence, queue, task, since, soft, hard)
        if state == RUNNING and size:
            found.will = _decode_message(self._memory[place : place + size])
        return found

    def _outcome(self, index: int) -> Settlement:
        _, _, _, at, length = _ENTRY.unpack_from(self._memory, self._rows + index * _ENTRY.size)
        return _decode_settlement(self._memory[at : at + length])

    def take(self, *, unstarted: bool, done: bool, queues: Collection[str] | None = None) -> list[Settlement]:
        """Take entries away from a living child: what it has not started (of `queues` only, if they are given), what it has
        done and not sent yet.

        Returns the settlements to be made for it, in the order of the entries; [] when the lock can't be had now.
        """
        if not self._lock.acquire(True, 0.05):
            return []
        try:
            return self._take(unstarted, done, False, queues)
        finally:
            self._lock.release()

    def strike(self, index: int, tag: str, blow: Callable[[], None]) -> int:
        """Call `blow` while this very claim runs and can't end; returns the state that it was found in, FREE for gone."""
        if not self._lock.acquire(True, 0.05):
            return CLAIMED  # somebody has it for a moment: look again
        try:
            state = self._memory[_HEADER + index]
            if state == FREE or self._held(index, state).tag != tag:
                return FREE
            if state == RUNNING:
                self._memory[3] = index + 1
                blow()
            return state
        except (msgspec.DecodeError, ValueError):
            return FREE  # being written at this moment: another claim
        finally:
            self._lock.release()

    def inherit(self) -> tuple[list[Settlement], list[Held]]:
        """Take everything from a dead child: settlements to be made, and the entries that were running."""
        # the dead child may have taken the lock with it; there is nobody else to be kept out
        settlements = self._take(True, True, True)
        running = [held for held in self.held() if held.state == RUNNING]
        self.free(range(self.entries))
        return settlements, running

    def _take(
        self, unstarted: bool, done: bool, sending: bool, queues: Collection[str] | None = None
    ) -> list[Settlement]:
        memory = self._memory
        taken: list[Settlement] = []
        for index, state in enumerate(self.states()):
            if state == CLAIMED and unstarted:
                held = self._held(index, state)
                if queues is not None and held.queue not in queues:
                    continue
                taken.append(Settlement(held.tag, held.fence, held.queue, "requeue", started=False))
            elif (state == DONE and done) or (state == SENDING and sending):
                outcome = self._outcome_or_none(index)
                if outcome is None:
                    # too large for this memory and its sender is dead: let the broker give the message out again
                    held = self._held(index, state)
                    outcome = Settlement(held.tag, held.fence, held.queue, "requeue", started=True)
                taken.append(outcome)
            else:
                continue
            memory[_HEADER + index] = FREE
        return taken

    def _outcome_or_none(self, index: int) -> Settlement | None:
        if _ENTRY.unpack_from(self._memory, self._rows + index * _ENTRY.size)[4] == 0:
            return None
        return self._outcome(index)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
