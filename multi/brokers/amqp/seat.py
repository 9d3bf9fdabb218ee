"""One child's seat in the worker's process: its socket pair, its channel, and what it holds."""

from __future__ import annotations

from collections import deque
from mmap import mmap
from typing import TYPE_CHECKING, Any

import msgspec

from multi.brokers.amqp.lane import GENERATION
from multi.brokers.amqp.talk import Ask, Line, Tell
from multi.brokers.base import Delivery, Settlement
from multi.connections.amqp import Channel, Closed, Lost, Session, spec
from multi.connections.amqp.content import message
from multi.connections.amqp.session import Arrival
from multi.log import get_logger
from multi.loop import Timer
from multi.message import Message

if TYPE_CHECKING:
    from multi.brokers.amqp.watch import AMQPWatch

logger = get_logger("multi.broker")

STARTS = "x-multi-starts"
FAULT = "x-multi-fault"
_GATHER = 0.001  # how long the first messages wait for others to be handed over with them
_LINGER = 0.02  # how long a message that came too late for its lane stays here before it goes back
#: What a server adds on a message's way through parking and dead letters, and what it counts.
_TRACES = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-multi-")


class Held(msgspec.Struct):
    """A message that the server has given to this channel and waits to hear of."""

    number: int
    queue: str
    message: Message | None
    starts: int
    redelivered: bool
    body: bytes
    fault: str
    task_id: str
    round: int
    settling: bool = False


class Seat:
    """Takes exactly what the lane asks for: the channel's prefetch is what is held plus what is wanted.

    Fetching ahead was measured and is slower: what the lane doesn't come for in time has to go back, and counts as
    delivered before from then on. A lane that waits is handed what has come within a millisecond after the first; the
    rest of what it had wanted stays here for a moment, in case it comes again soon.
    """

    def __init__(self, watch: AMQPWatch, number: int, owner: str) -> None:
        self.watch = watch
        self.fence_base = f"{owner}:"
        self.page = mmap(-1, GENERATION.size)
        self.held: dict[int, Held] = {}
        self.want = 0
        self._prefix = f"{number}."
        self._generation = 0
        self._ready: deque[Held] = deque()
        self._pushed = 0
        self._channel: Channel | None = None
        self._prefetch = 0
        self._consuming = False
        self._round = 0
        self._tags: list[str] = []
        self._acks: list[int] = []
        self._backs: list[int] = []
        self._gather: Timer | None = None
        self._linger: Timer | None = None
        self._leaving = False
        self._under_way = 0
        self.line = Line(watch.loop, self._asked, self._child_gone)

    @property
    def fence(self) -> str:
        return f"{self.fence_base}{self._generation}"

    # the channel

    def open(self, session: Session) -> None:
        """Take a channel on a new connection, or a new one on the same."""
        self._next_generation()
        channel = self._channel = session.channel()
        channel.on_deliver = self._on_deliver
        channel.on_close = self._on_close
        channel.on_cancel = self._on_cancel
        self.flush()

    def void(self) -> None:
        """The connection is gone: nothing that was claimed over it is ours any more."""
        self._drop_channel()
        self._next_generation()

    def leave(self) -> None:
        """Give up the seat; the server puts what is still held back into its queues. What is being settled ends first."""
        self.line.close()
        self._leaving = True
        self._leave_if_done()

    def begin(self) -> None:
        """A settlement is under way."""
        self._under_way += 1

    def finish(self) -> None:
        """A settlement is through, or given up."""
        self._under_way -= 1
        if self._leaving:
            self.flush()
            self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._under_way:
            return
        for timer in (self._linger, self._gather):
            if timer is not None:
                timer.cancel()
        channel = self._drop_channel()
        if channel is not None:
            channel.close()
            self.watch.write()
        self._next_generation()
        self.watch.seats.pop(self._prefix, None)

    def flush(self) -> None:
        """Tell the server what is settled and how many more are wanted. First the new limit, then the acknowledgements:
        the other way round they would let messages through that nobody wants.
        """
        channel = self._channel
        if channel is None:
            self._acks.clear()
            self._backs.clear()
            return
        acks, self._acks = sorted(self._acks), []
        backs, self._backs = self._backs, []
        more = max(0, self.want - len(self._ready))
        settled = {*acks, *backs}
        if self.watch.shared_limit:
            self._tune(channel, len(self.held) - len(settled) + more)
        else:
            kept = sum(held.round == self._round and number not in settled for number, held in self.held.items())
            self._tune_consumers(channel, self._prefetch - kept if self._consuming else 0, more)
        for number in backs:
            channel.send(spec.Basic.Nack, "Lbb", (number, False, True))
            del self.held[number]
        self._acknowledge(channel, acks)
        self.watch.write()

    def _tune(self, channel: Channel, target: int) -> None:
        """Let the channel hold so many messages altogether; a limit of 0 would mean none."""
        if target != self._prefetch and target:
            self._limit(channel, target, shared=True)
        if bool(target) != self._consuming:
            self._consume(channel, bool(target))

    def _tune_consumers(self, channel: Channel, credit: int, more: int) -> None:
        """Have `more` messages sent where each consumer has a limit of its own, which is fixed when it begins.

        `credit` is what the present ones would send.
        """
        if credit == more:
            return
        if self._consuming:
            self._consume(channel, False)
        if more:
            self._limit(channel, more, shared=False)
            self._consume(channel, True)

    def _limit(self, channel: Channel, count: int, *, shared: bool) -> None:
        self._prefetch = count
        channel.call(channel.request(spec.Basic.Qos, "lBb", (0, min(count, 65535), shared)), _ignore)

    def _consume(self, channel: Channel, on: bool) -> None:
        """Begin or end to consume from the queues. Tags are never used twice: RabbitMQ 3.10 can stumble over that."""
        self._consuming = on
        if on:
            self._round += 1
            self._tags = [f"{self.watch.number(queue)}.{self._round}" for queue in self.watch.queues]
            for queue, tag in zip(self.watch.queues, self._tags, strict=True):
                asked = self.watch.declared(queue).consumer_arguments
                args: tuple[Any, ...] = (0, queue, tag, False, False, False, False, asked)
                channel.call(channel.request(spec.Basic.Consume, "BssbbbbF", args), _ignore)
        else:
            for tag in self._tags:
                channel.call(channel.request(spec.Basic.Cancel, "sb", (tag, False)), _ignore)
            self._prefetch = 0

    def _acknowledge(self, channel: Channel, acks: list[int]) -> None:
        """Acknowledge in one frame what can be: all up to the first message that is still held."""
        done = set(acks)
        last = 0
        for number in list(self.held):
            if number not in done:
                break
            last = number
            del self.held[number]
        together = [number for number in acks if number <= last]
        if last:
            channel.send(spec.Basic.Ack, "Lb", (last, len(together) > 1))
        for number in acks[len(together) :]:
            channel.send(spec.Basic.Ack, "Lb", (number, False))
            del self.held[number]

    def _on_deliver(self, arrival: Arrival) -> None:
        tag, number, redelivered, _, _ = arrival.args
        queue = self._queue_of(tag)
        found: Message | None = None
        starts = 0
        fault = arrival.fault
        if not fault:
            headers = arrival.properties.get("application_headers") or {}
            counted = headers.get(STARTS, 0)
            starts = counted if isinstance(counted, int) else 0
            if all(isinstance(key, str) for key in headers):
                found = message({**arrival.properties, "application_headers": without_traces(headers)}, arrival.body)
            else:
                fault = "the names of its headers are no text"
        task_id = str(arrival.properties.get("correlation_id") or "")
        if redelivered and self.watch.returned.pop(task_id, None):
            redelivered = False  # we gave it back ourselves, not begun
        # what is requeued after its start is sent anew, so the server can't tell
        redelivered = redelivered or starts > 0
        held = Held(number, queue, found, starts, redelivered, arrival.body, fault, task_id, self._round)
        self.held[number] = held
        if queue not in self.watch.queues:
            # it was on its way when its queue was left to others
            self.give_back(held)
            self.watch.loop.later(0, self.flush)
            return
        self._ready.append(held)
        self.watch.arrived(self)

    def _queue_of(self, tag: str) -> str:
        return self.watch.names[int(tag.partition(".")[0])]

    def _on_cancel(self, tag: str) -> None:
        queue = self._queue_of(tag)
        logger.warning("RabbitMQ ended the consumption of queue %r (was it deleted?); declaring it again", queue)
        channel = self._drop_channel()
        if channel is not None:
            channel.close()
        self._next_generation()
        self.watch.redeclare(self)

    def _on_close(self, reason: Lost) -> None:
        self._drop_channel()
        self._next_generation()
        if isinstance(reason, Closed):
            self.watch.channel_closed(self, reason)

    def _drop_channel(self) -> Channel | None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.on_deliver = channel.on_cancel = channel.on_close = None
        return channel

    def _next_generation(self) -> None:
        """Void all claims, here and in the child's view."""
        self._generation += 1
        GENERATION.pack_into(self.page, 0, self._generation)
        self.held.clear()
        self._ready.clear()
        self._acks.clear()
        self._backs.clear()
        self._prefetch = 0
        self._consuming = False

    def consume(self) -> None:
        """The queues to consume from have changed: what has come from others and was not handed over goes back."""
        queues = self.watch.queues
        for held in self._ready:
            if held.queue not in queues:
                self.give_back(held)
        self._ready = deque(held for held in self._ready if held.queue in queues)
        if self._channel is not None and self._consuming:
            self._consume(self._channel, False)
        self.flush()

    # what becomes of claims

    def find(self, settlement: Settlement) -> Held | None:
        """The claim that is to be settled, if it still holds and nobody is at it already."""
        if settlement.fence != self.fence:
            return None
        held = self.held.get(int(settlement.tag.removeprefix(self._prefix)))
        return None if held is None or held.settling else held

    def acknowledge(self, held: Held) -> None:
        """The message is done; told with the next `flush`."""
        if self.held.get(held.number) is held:
            self._acks.append(held.number)

    def give_back(self, held: Held) -> None:
        """The message goes back to its place in the queue with the next `flush`."""
        if self.held.get(held.number) is held:
            self._backs.append(held.number)
            if not held.redelivered:
                self.watch.remember_returned(held.task_id)

    # the lane

    def push(self) -> None:
        """Something came. Hand it to the lane, if that waits; one that waits for many, when all have had time to come."""
        if self.want and len(self._ready) < self.want:
            if self._gather is None:
                self._gather = self.watch.loop.later(_GATHER, self._hand_over)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._gather is not None:
            self._gather.cancel()
            self._gather = None
        if self._ready and self.want:
            deliveries = self._take(self.want)
            self.want = 0
            self._pushed += len(deliveries)
            self.line.tell(Tell(0, "", deliveries))
        self._keep_ready()

    def _keep_ready(self) -> None:
        """Let what has come and was not handed over stay for a moment."""
        if self._ready and self._linger is None:
            self._linger = self.watch.loop.later(_LINGER, self._return_unwanted)

    def _return_unwanted(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        ready, self._ready = self._ready, deque()
        for held in ready:
            self.give_back(held)
        self.flush()

    def _take(self, most: int) -> list[Delivery]:
        """Up to `most` messages for the lane; one that was delivered before goes alone."""
        taken: list[Delivery] = []
        fence = self.fence
        while self._ready and len(taken) < most:
            held = self._ready[0]
            suspect = held.redelivered or held.starts
            if suspect and taken:
                break
            self._ready.popleft()
            tag = f"{self._prefix}{held.number}"
            raw = held.body if held.message is None else b""
            taken.append(Delivery(tag, fence, held.queue, held.message, held.starts, held.redelivered, raw, held.fault))
            if suspect:
                break
        return taken

    def _child_gone(self) -> None:
        """What it held is the worker's to settle; `leave` returns the rest."""
        self.want = 0
        self._return_unwanted()

    def _asked(self, ask: Ask) -> None:
        if ask.bye:
            self.leave()
        else:
            self._answer(ask)

    def _answer(self, ask: Ask) -> None:
        if self._channel is None:
            self.want = max(0, ask.claim - (self._pushed - ask.seen))
            # Only this channel is gone, and soon there is another one: all claims are void, so nothing is left to settle.
            self.line.tell(Tell(ask.number, self.watch.down))
            return
        failures: list[str] = []
        left = len(ask.settlements) + 1

        def settled(failure: str) -> None:
            nonlocal left
            left -= 1
            if failure:
                failures.append(failure)
            if not left:
                self._finish(ask, failures)

        for settlement in ask.settlements:
            self.watch.carry_out(settlement, settled)
        settled("")
        self.watch.write()

    def _finish(self, ask: Ask, failures: list[str]) -> None:
        claim = 0 if failures else max(0, ask.claim - (self._pushed - ask.seen))
        deliveries = self._take(claim)
        self.want = 0 if deliveries else claim
        if ask.claim:
            self._keep_ready()
        elif self._ready:
            self._return_unwanted()
        self.line.tell(Tell(ask.number, "; ".join(failures), deliveries))
        self.flush()


def without_traces(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers as their sender made them. (With the server's traces, it would drop a message that is parked twice.)"""
    return {key: value for key, value in headers.items() if not key.startswith(_TRACES)}


def _ignore(_: Any) -> None:
    """For methods whose answer says nothing."""
