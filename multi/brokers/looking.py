"""The part of the brokers' seam that is for people: what lies in a queue is looked at, and brought to another one by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import msgspec

from multi.message import Message

#: Where in a queue a message may lie: free to be taken, until it is due, with a worker.
WAITING, PARKED, CLAIMED = "waiting", "parked", "claimed"


class Seen(msgspec.Struct):
    """A message that was looked at where it lies.

    `since` is when it came (seconds since the epoch), as far as that is known; `due` when a parked one comes to its queue.
    `message` is None for what isn't one; `fault` says why.
    """

    message: Message | None
    since: float | None = None
    due: float = 0.0
    starts: int = 0
    redelivered: bool = False
    fault: str = ""


class Binding(msgspec.Struct, frozen=True, order=True):
    """A queue takes what is sent to an exchange with this routing key (for a fanout exchange: whatever it is)."""

    exchange: str
    queue: str
    key: str


#: Chooses messages.
Wanted = Callable[[Message], bool]
#: Brings messages to safety elsewhere; returns when they are there.
Send = Callable[[list[Message]], None]
#: Messages that are with `Send` at a time, and seconds for which nobody else gets them.
BATCH, HOLD = 100, 120.0
#: What the tags of claims begin with that are made to hand messages over.
HAND = "hand over "


class Looking:
    """What `Broker` has of this; each method works where the ability is declared that it names."""

    hold = HOLD

    def peek(self, queue: str, limit: int, where: str = WAITING) -> list[Seen]:
        """Up to `limit` messages, those that come first at the head; they stay where they are. For each `where` that is
        among the ability `peeks`."""
        raise NotImplementedError

    def oldest(self, queues: Iterable[str]) -> dict[str, float]:
        """Since when the oldest message of each of these queues waits (seconds since the epoch), as far as that is known."""
        return {}

    def move(self, source: str, target: str, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        """Bring waiting messages to the end of another queue, in their order, with their headers, priority and counts; how many.

        At most `limit`, and those only that are `wanted`. Each message moves in one step, so that an end in the middle loses and
        doubles nothing; where the ability `moves` is "confirmed" it is sent, and taken away when the server has it. What comes
        while this is under way may stay. Where `moves` is declared.
        """
        raise NotImplementedError

    def hand_over(self, queue: str, send: Send, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        """Have `send` bring waiting messages elsewhere, in batches and in their order, and then forget them; how many.

        What `send` raises for returns to its place. What a process held that has died meanwhile returns to its queue after `hold`
        seconds, with the next call or by a worker: nothing is lost, and at worst one batch is in both places. At most `limit`,
        and those only that are `wanted`; what is no message stays. What comes while this is under way may stay. Where `moves`
        is declared.
        """
        raise NotImplementedError

    def unfinished(self, queues: Collection[str]) -> tuple[int, float]:
        """How many messages of these queues `hand_over` holds in other processes, be they dead or at work; and the seconds
        after which all that dead ones held can be had again, at most."""
        return 0, 0.0

    def unpark(self, queues: Collection[str] | None = None) -> int:
        """Put what is parked into these queues (None: into all) though it isn't due; how many. A worker that gets one parks it
        again. Where `delay` is declared."""
        raise NotImplementedError

    def bindings(self) -> list[Binding]:
        """How queues are bound, as the broker has it written down. Where `bindings` is declared."""
        raise NotImplementedError
