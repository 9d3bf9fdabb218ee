"""Looking into the queues of RabbitMQ, and moving what lies in them.

To look is to be given messages and to give them back: they return to their places, and the server marks them as delivered before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from multi.brokers.amqp import topology
from multi.brokers.amqp.outbox import Outbox
from multi.brokers.amqp.seat import STARTS, without_traces
from multi.brokers.looking import BATCH, WAITING, Binding, Looking, Seen, Send, Wanted
from multi.connections.amqp import Channel, Closed, Link, Lost, Steps, spec
from multi.connections.amqp.content import encode, message
from multi.connections.amqp.management import Management
from multi.connections.amqp.session import Arrival
from multi.errors import UnsupportedOption

if TYPE_CHECKING:
    from multi.topology import Topology

T = TypeVar("T")
#: How the server says in what a queue differs from what is declared, and how many arguments there may be.
_DIFFERENT = re.compile(
    r"inequivalent arg '(?P<name>x-[\w-]+)'.* current is (?:the value )?'(?P<value>[^']*)'(?: of type '(?P<kind>\w+)')?"
)
_ARGUMENTS = 12
#: What the server writes into the headers on a message's way through the chain.
_WAY = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")


class AMQPLooking(Looking):
    """See `Looking`."""

    confirm_timeout: float
    management: Management | None
    quorum_delay: bool
    _ask: Callable[[Callable[[Link], T]], T]
    if TYPE_CHECKING:

        @property
        def known(self) -> Topology: ...

    def peek(self, queue: str, limit: int, where: str = WAITING) -> list[Seen]:
        if where != WAITING:
            raise UnsupportedOption(f"RabbitMQ shows what waits in a queue, not what is {where}")

        def look(link: Link) -> list[Seen]:
            _refuse_quorum(link, queue, "a look at it counts")
            found = link.run(_take(link, queue, limit, None))
            if found is None:
                return []
            channel, taken = found
            link.run(_close(channel))
            return [_seen(each) for each in taken]

        return self._ask(look)

    def move(self, source: str, target: str, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        def send(link: Link) -> int:
            outbox = Outbox(link.session, self.known, quorum=self.quorum_delay)
            return _move(link, outbox, source, target, limit, wanted, self.confirm_timeout)

        return self._ask(send)

    def unpark(self, queues: Collection[str] | None = None) -> int:
        def send(link: Link) -> int:
            outbox = Outbox(link.session, self.known, quorum=self.quorum_delay)
            levels = range(topology.LEVELS)
            return sum(_unpark(link, outbox, level, queues, self.confirm_timeout) for level in levels)

        return self._ask(send)

    def bindings(self) -> list[Binding]:
        if self.management is None:
            return super().bindings()
        rows = {Binding(*row) for row in self.management.bindings()}
        return sorted(each for each in rows if not each.queue.startswith((topology.DEAD, topology.DELAY)))

    def hand_over(self, queue: str, send: Send, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        return self._ask(lambda link: _hand_over(link, queue, send, limit, wanted))


def _hand_over(link: Link, queue: str, send: Send, limit: int | None, wanted: Wanted | None) -> int:
    done = 0
    for channel, chosen in _batches(link, queue, limit, wanted, readable=True):
        send([found for each in chosen if (found := _seen(each).message) is not None])
        for arrival in chosen:
            channel.send(spec.Basic.Ack, "Lb", (arrival.args[0], False))
        done += len(chosen)
    return done


def _move(
    link: Link, outbox: Outbox, source: str, target: str, limit: int | None, wanted: Wanted | None, timeout: float
) -> int:
    """Each is let go only when the server has it in the other queue; what isn't wanted returns to its place at the end."""
    return sum(
        _send(link, outbox, channel, target, chosen, timeout)
        for channel, chosen in _batches(link, source, limit, wanted)
    )


def _batches(
    link: Link, queue: str, limit: int | None, wanted: Wanted | None, *, readable: bool = False
) -> Iterator[tuple[Channel, list[Arrival]]]:
    """Those that are meant, in batches, for the caller to acknowledge; the others return to their places at the end."""
    if wanted is not None:
        _refuse_quorum(link, queue, "to choose some counts, for those that stay,")
    found = link.run(topology.exists(link.session, queue))
    left = found[0] if found is not None else 0
    count = 0
    channel: Channel | None = None
    while left > 0 and (limit is None or count < limit):
        wish = min(BATCH, left if limit is None or wanted is not None else min(left, limit - count))
        taken = link.run(_take(link, queue, wish, channel))
        if taken is None or not taken[1]:
            break
        channel, arrivals = taken
        left -= len(arrivals)
        chosen = [each for each in arrivals if _is_wanted(each, wanted, readable)]
        if limit is not None:
            del chosen[limit - count :]
        count += len(chosen)
        if chosen:
            yield channel, chosen
    if channel is not None:
        link.run(_close(channel))


def _unpark(link: Link, outbox: Outbox, level: int, queues: Collection[str] | None, timeout: float) -> int:
    """What waits on one level of the chain; its routing key ends with the queue that it is for.

    What is for others is given back: should the server drop it for that one day, it only goes to the next level.
    """
    name = f"{topology.DELAY}{level}"
    found = link.run(topology.exists(link.session, name))
    left = found[0] if found is not None else 0
    done = 0
    channel: Channel | None = None
    while left > 0:
        taken = link.run(_take(link, name, min(BATCH, left), channel))
        if taken is None or not taken[1]:
            break
        channel, arrivals = taken
        left -= len(arrivals)
        chosen: dict[str, list[Arrival]] = {}
        for each in arrivals:
            queue = str(each.args[3]).split(".", topology.LEVELS)[-1]
            if queues is None or queue in queues:
                headers = each.properties.get("application_headers") or {}
                clean = {key: value for key, value in headers.items() if not str(key).startswith(_WAY)}
                bare = each._replace(properties={**each.properties, "application_headers": clean})
                chosen.setdefault(queue, []).append(bare)
        done += sum(_send(link, outbox, channel, queue, some, timeout) for queue, some in chosen.items())
    if channel is not None:
        link.run(_close(channel))
    return done


def _send(link: Link, outbox: Outbox, channel: Channel, target: str, chosen: list[Arrival], timeout: float) -> int:
    failures: list[str] = []
    told = sent = 0

    def done(number: int, failure: str) -> None:
        nonlocal told, sent
        told += 1
        if failure:
            failures.append(failure)
        else:
            sent += 1
            channel.send(spec.Basic.Ack, "Lb", (number, False))

    for arrival in chosen:
        number = arrival.args[0]
        content = encode(arrival.properties)
        outbox.to_queue(target, content, arrival.body, lambda failure, number=number: done(number, failure))  # type: ignore[misc]
    link.wait(lambda: told == len(chosen), timeout, "the confirmation of what was sent")
    if failures:
        raise Lost(failures[0])
    return sent


def _refuse_quorum(link: Link, queue: str, what: str, remedy: str = "") -> None:
    """What is given back to a quorum queue counts, and is dropped in the end."""
    if link.run(_is_quorum(link, queue)):
        raise UnsupportedOption(
            f"{queue} is a quorum queue: {what} as a delivery, and RabbitMQ drops a message that was delivered too often "
            f"(x-delivery-limit, 20 by default in RabbitMQ 4){remedy}"
        )


def refuse_quorum_letters(link: Link, queue: str) -> None:
    """Where the dead letters of `queue` lie in a quorum queue, which we don't make, some of them can't be looked at or chosen."""
    _refuse_quorum(
        link,
        topology.DEAD + queue,
        "a look at its letters counts",
        f"; multi queues handback --dead -Q {queue} sends all of them again, multi queues purge {topology.DEAD}{queue} drops "
        "them, and the next one comes to a classic queue if that one is deleted (rabbitmqctl delete_queue)",
    )


def _is_quorum(link: Link, queue: str) -> Steps[bool]:
    """Found out by declaring it as a classic one: what is said to differ is told in the queue's own words, one by one."""
    if (yield from topology.exists(link.session, queue)) is None:
        return False
    arguments: dict[str, Any] = {"x-queue-type": "classic"}
    for _ in range(_ARGUMENTS):
        channel = link.session.channel()
        try:
            yield channel.request(
                spec.Queue.Declare, "BsbbbbbF", (0, queue, False, True, False, False, False, arguments)
            )
        except Closed as exc:
            found = _DIFFERENT.search(str(exc))
            if found is None:
                return False  # not durable, or bound to one connection: no quorum queue is
            name, value, kind = found["name"], found["value"], found["kind"]
            if name == "x-queue-type":
                return value == "quorum"
            arguments[name] = int(value) if (kind and "int" in kind) or kind in ("long", "short") else value
        else:
            channel.close()
            return False
    return False


def _take(link: Link, queue: str, limit: int, channel: Channel | None) -> Steps[tuple[Channel, list[Arrival]] | None]:
    """Up to `limit` messages, unacknowledged; None if there is no such queue."""
    if channel is None:
        if (yield from topology.exists(link.session, queue)) is None:
            return None
        channel = link.session.channel()
    taken: list[Arrival] = []
    while len(taken) < limit:
        answer = yield channel.request(spec.Basic.Get, "Bsb", (0, queue, False))
        if not isinstance(answer, Arrival):
            break
        taken.append(answer)
    return channel, taken


def _close(channel: Channel) -> Steps[None]:
    """With what is acknowledged done, and all else back in its place."""
    # the server answers in order: with this answer it has heard of all before
    yield channel.request(spec.Basic.Qos, "lBb", (0, 1, False))
    channel.close()


def _is_wanted(arrival: Arrival, wanted: Wanted | None, readable: bool) -> bool:
    if wanted is None and not readable:
        return True
    found = _seen(arrival).message
    return found is not None and (wanted is None or wanted(found))


def _seen(arrival: Arrival) -> Seen:
    headers = arrival.properties.get("application_headers") or {}
    starts = headers.get(STARTS)
    found = Seen(None, starts=starts if isinstance(starts, int) else 0, redelivered=bool(arrival.args[1]))
    if arrival.fault or not all(isinstance(key, str) for key in headers):
        found.fault = arrival.fault or "the names of its headers are no text"
        return found
    found.message = message({**arrival.properties, "application_headers": without_traces(headers)}, arrival.body)
    return found
