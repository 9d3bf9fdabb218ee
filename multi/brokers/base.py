"""The seam of the brokers: what a broker must do for the producers and for a worker.

A broker moves messages and knows no task. A worker meets it in two places:

- each child owns a `Lane`, a blocking connection on which it settles what it has done and claims what comes next,
  in one round trip;
- the worker's own process owns a `Watch`, which never blocks: it hears that messages have come, renews the leases of
  all children, settles for a child that is slow or dead, brings parked messages back when they are due, and takes
  back what dead workers held.

Between the two stands a `Port`, made by the watch before a child is forked and opened by the child: for most brokers
it only remembers how to connect; where acknowledgements are tied to one connection (AMQP), it is one end of a socket
pair, the watch owns that connection, and lanes talk to the watch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from multi.agreements import Agreements
from multi.brokers.looking import Looking
from multi.documents import Answer, Change
from multi.loop import Loop
from multi.message import Message
from multi.outcome import Publication
from multi.store import Storage, Store
from multi.talk import FANOUT, Subscription, Talk
from multi.topology import Topology
from multi.urls import mask


class Abilities(msgspec.Struct, frozen=True):
    """What a broker can do; the contract suite tests what is declared here.

    `lease`: a claim is a lease that is renewed, and returns when its holder falls silent. `handback`: another process
    than the claimer may settle a claim (so that lanes may claim in batches). `delay`: parks messages until they are
    due. `priority`: higher numbers first. `delivery_count`: counts starts. `fanout`: sends copies to all bound queues. `push`:
    deliveries arrive at the lane by themselves. `shared`: other processes see the same queues. `ceiling`: seconds
    after which the server itself takes a claim back, None for never. `foreign`: Celery's workers can consume from the
    same queues. `peeks`: where messages can be looked at. `moves`: brings messages to other queues, "atomic" in one
    step each, or "confirmed". `bindings`: tells them. `once`: keeps documents, and publishes in the step that changes
    one.
    """

    lease: bool = True
    handback: bool = True
    delay: bool = True
    priority: bool = True
    delivery_count: bool = True
    fanout: bool = False
    push: bool = False
    shared: bool = True
    ceiling: float | None = None
    foreign: bool = False
    peeks: tuple[str, ...] = ()
    moves: str = ""
    bindings: bool = False
    once: bool = False


class Delivery(msgspec.Struct):
    """A claimed message.

    `fence` is the token of this very claim: a settlement with another one is ignored by the broker. `starts` counts
    the runs begun before this one. `message` is None when the envelope could not be decoded; `raw` then holds what
    was found and `fault` says why.
    """

    tag: str
    fence: str
    queue: str
    message: Message | None
    starts: int = 0
    redelivered: bool = False
    raw: bytes = b""
    fault: str = ""


class Settlement(msgspec.Struct, array_like=True):
    """What is to become of one claim; serializable, so that one process can settle for another.

    `verb` as in `Outcome`. `started` tells whether the run had begun (only that counts as a delivery); for "requeue" an
    unstarted message goes back to the front. `reason` and `detail` go with a buried message. `stores` are recorded and
    `publications` sent in the same step, before or together with the acknowledgement.
    """

    tag: str
    fence: str
    queue: str
    verb: str = "ack"
    started: bool = True
    due: float = 0.0
    reason: str = ""
    detail: str = ""
    stores: list[Store] = []
    publications: list[Publication] = []


class Claim(msgspec.Struct, frozen=True):
    """A claim that is held and to be renewed."""

    tag: str
    fence: str
    started: bool


class DeadLetter(msgspec.Struct):
    """A message that was set aside, with its history."""

    id: str
    queue: str
    task: str
    task_id: str
    reason: str
    detail: str
    starts: int
    time: float
    message: Message | None


class QueueCounts(msgspec.Struct):
    """How many messages of a queue are where: None is what its broker can't tell.

    `waiting` is `Broker.depth`; `parked` wait for their time; `claimed` are held by workers, or were by dead ones; `dead`
    are dead letters. `consumers` counts the workers that consume from it, as far as the broker knows them.
    """

    name: str
    waiting: int = 0
    parked: int | None = None
    claimed: int | None = None
    dead: int = 0
    consumers: int | None = None


class Consumer(msgspec.Struct, frozen=True):
    """A worker of ours that consumes from a queue, or did until it fell silent: it counts as gone in `left` seconds."""

    name: str
    queue: str
    left: float


class HandedBack(msgspec.Struct):
    """How many messages went into the plain queues, and how many claims were left since their leases still hold."""

    parked: int = 0
    claimed: int = 0
    dead: int = 0
    held: int = 0


class Lane(ABC):
    """One process's own way to the broker: blocking, used by one thread at a time, opened after the fork."""

    @abstractmethod
    def exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        """Settle all of `settlements` and claim up to `claim` messages, highest priority first; never waits for one.

        Claimed is from the queues that the watch consumes at this moment.

        Where broker and storage are the same place all of it is one atomic step; else stores are written first, then
        publications sent, then acknowledgements given. Settlements whose fence no longer holds do nothing at all.
        Messages that were started before are claimed alone, so that one that kills its process takes nobody along.
        The first delivery of a claim counts as started; the others when the watch is told so or they are settled.
        Raises `BrokerLost`: nothing is known of the settlements then; give them again.
        """

    def fileno(self) -> int:
        """A descriptor that becomes readable when a message may have arrived; -1 where the watch rings instead."""
        return -1

    @abstractmethod
    def close(self) -> None:
        """Close the connection; what is claimed stays claimed (push brokers: returns to its queue)."""


class Port(Protocol):
    """One child's future lane; made in the worker's process, opened in the child."""

    def open(self) -> Lane:
        """In the child, after the fork: the lane. Other children's descriptors must be closed by then."""

    def release(self) -> None:
        """In the worker's process, after the child's end (or never): give back what the port held."""


class Watch(Protocol):
    """The worker process's eye on the broker; runs on its loop and never blocks."""

    def port(self, owner: str) -> Port:
        """A port for one child to be forked; `owner` (node name, worker's start, child) is unique and goes into fences."""

    def start(self) -> None:
        """Connect and go on connecting; calls `on_up` when connected, `on_down(reason)` when that is lost."""

    def arm(self, idle: int) -> None:
        """Ring (`on_message(n)`, n messages seen, 1 if unknown) when messages come; `idle` children wait. 0 disarms."""

    def consume(self, queues: Sequence[str]) -> None:
        """Let the lanes claim from these queues from now on, and from no other; `arm` is called again after it.

        May be called at any time, connected or not; [] is from none. A queue that is new is made where queues must be.
        An exchange that is under way may still bring messages of the queues of before; what lanes hold stays theirs.
        """

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle for a child that is slow or dead; kept and repeated over a lost connection."""

    def renew(self) -> None:
        """Renew the leases now, and let what runs count as started; a lease broker does it by itself now and then."""

    def parked(self) -> None:
        """A lane has parked something, which may be due before the watch meant to look again."""

    def recall(self, tag: str, fence: str, answer: Callable[[Message | None], None]) -> None:
        """Read the message of a claim again, for a child that can't be asked; None when the claim is not held any more."""

    def depth(self, answer: Callable[[int], None]) -> None:
        """Count the messages that wait in the queues which are consumed now; no answer comes while the broker is away."""

    def hear(self, exchange: str, queue: str, heard: Callable[[Message], None]) -> None:
        """Tell `heard` what is said on a fanout exchange, from the first connection on; called before `start`.

        What is sent while this worker is away isn't heard. `queue` is a name for this worker alone, where one is needed.
        """

    @property
    def unsaid(self) -> int:
        """How many messages `say` has dropped."""

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> None:
        """Say something to all who listen now, as `Broker.say`; never blocks.

        While the connection is away, or doesn't take what is sent, it is dropped and counted in `unsaid`.
        """

    def pending(self) -> bool:
        """Whether settlements given to `settle` have not reached the broker yet."""

    def stop(self) -> None:
        """Put parked messages back where this was the last worker, and close. Stop twice is fine."""


class WatchEvents(msgspec.Struct):
    """What a watch tells its worker."""

    on_up: Callable[[], None]
    on_down: Callable[[str], None]
    """The connection is gone; the text says why and when it is tried again."""
    on_refused: Callable[[Exception], None]
    """The server answers and refuses (a `BrokerRefused`); the watch doesn't try again."""
    on_message: Callable[[int], None]
    claims: Callable[[], Iterable[Claim]]
    """The claims that the worker's children hold now; asked before every renewal."""


class Broker(Looking, ABC):
    """One broker, named by its URL; safe to hold across a fork, connecting when first used."""

    abilities: Abilities = Abilities()

    talk: Talk
    """How transient messages go over this broker."""

    agreements: Agreements | None = None
    """What workers agree on by this broker; None where it keeps nothing of the kind."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, lease: float = 30.0) -> None:
        self.url = url
        self.topology = Topology()
        """The queues that the app knows; queues and exchanges are made and bound as it says."""
        self.options = dict(options or {})
        self.lease = lease

    @property
    def masked(self) -> str:
        """The URL as it may be printed."""
        return mask(self.url)

    @abstractmethod
    def publish(self, publications: Sequence[Publication]) -> None:
        """Send all of them, in order, in as few round trips as possible; safe to call from many threads.

        What is for an exchange goes to every queue that is bound there and takes it, with the bindings of the topology
        made before. Returns when the broker has them. Raises `BrokerUnavailable` (nothing of the last batch may be assumed
        sent), and `Unroutable` before anything is sent where no queue takes a message (a fanout exchange may have none).
        """

    @abstractmethod
    def watch(
        self, loop: Loop, queues: Sequence[str], storage: Storage | None, owner: str, events: WatchEvents
    ) -> Watch:
        """The watch of one worker process, whose lanes will claim from `queues` until it is told otherwise; made before
        the first fork.

        `storage` is where outcomes are recorded (None: nowhere); `owner` is unique per worker process.
        """

    @abstractmethod
    def check(self) -> None:
        """Connect once; raises `BrokerUnavailable` with address, cause and remedy, never a password."""

    def prepare(self) -> None:
        """Have what is missing made when it is first needed, as `watch` does: for who works all the time, not for clients."""

    @abstractmethod
    def depth(self, queue: str) -> int:
        """How many messages wait in `queue`, parked and claimed ones not counted."""

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Drop the waiting messages of `queue`; returns how many."""

    @abstractmethod
    def dead(self, queue: str) -> list[DeadLetter]:
        """The dead letters of `queue`, oldest first."""

    @abstractmethod
    def replay(self, queue: str, ids: Iterable[str] | None = None) -> int:
        """Send dead letters (None: all) to `queue` again, with their count at zero; returns how many."""

    @abstractmethod
    def purge_dead(self, queue: str, ids: Iterable[str] | None = None) -> int:
        """Drop dead letters (None: all) of `queue` for good; returns how many."""

    @abstractmethod
    def counts(self, queues: Iterable[str]) -> list[QueueCounts]:
        """Where the messages of these queues are, in their order; behind them the other queues that hold messages, as far
        as the broker can tell which there are."""

    def consumers(self, queues: Collection[str] | None = None) -> list[Consumer]:
        """The workers of ours that consume from these queues (None: from any), as far as they can be told from others.
        Where `foreign` is declared."""
        raise NotImplementedError

    def hand_back(self, queues: Collection[str] | None = None, *, dead: bool = False) -> HandedBack:
        """Put what only our workers can reach into the plain queues (None: whatever there is of any queue), for Celery's.

        That is what is parked, what dead workers held, and with `dead` the dead letters. What a lease still protects stays
        where it is. Each message moves in one step, so that an end in the middle loses and doubles nothing. Where `foreign`
        is declared.
        """
        raise NotImplementedError

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> int | None:
        """Say something to all who listen on this exchange now; there may be none. Raises `BrokerUnavailable`.

        `kind` is "fanout" (all hear it), "topic" or "direct", as in `multi.talk`; the same for all who use the exchange.
        Nothing is kept for who comes later, and a listener that is too slow misses some. Returns how many listen, as the
        broker knows it at this moment (one that is dying counts), None where it doesn't tell.
        """
        return self.talk.say(exchange, message, key=key, kind=kind)

    def subscribe(
        self,
        exchange: str,
        *,
        keys: Sequence[str] = ("",),
        kind: str = FANOUT,
        queue: str = "",
        expires: float = 60.0,
        ttl: float | None = None,
    ) -> Subscription:
        """Hear what is said on an exchange; from the return on nothing is missed, until the connection breaks.

        Of a topic or direct exchange only what is for one of `keys`. `queue` is a name for this listener alone, where
        one is needed ("": one is made up). What waits for a listener that is gone is dropped after `expires` seconds,
        what a listener hasn't fetched for `ttl` seconds is dropped, where the broker can tell; and it keeps a bounded
        number in any case. Raises `BrokerUnavailable`.
        """
        return self.talk.subscribe(exchange, keys=keys, kind=kind, queue=queue, expires=expires, ttl=ttl)

    def publish_once(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        """`multi.documents.Keeps.change`, and what each change publishes is sent in the very step that makes it.

        What a change that isn't made would have sent is not. Raises as `publish`; after `BrokerUnavailable` nothing is known of
        what was asked for: ask again. Where `once` is declared.
        """
        raise NotImplementedError

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        """See `multi.documents.Keeps`. Where `once` is declared."""
        raise NotImplementedError

    def shelves(self) -> list[str]:
        """See `multi.documents.Keeps`. Where `once` is declared."""
        raise NotImplementedError

    def revision(self, shelf: str) -> int:
        """See `multi.documents.Keeps`. Where `once` is declared."""
        raise NotImplementedError

    def change(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        """See `multi.documents.Keeps`. Where `once` is declared."""
        return self.publish_once(shelf, changes, tell=tell)

    @abstractmethod
    def close(self) -> None:
        """Close this process's connections; the broker can be used again afterwards."""
