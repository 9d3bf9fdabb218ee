"""Queues and exchanges: as programs declare them, and the table of those that an app knows.

The names and the order of arguments are kombu's, so that a project's `Queue("feeds", Exchange("media"), "media.#")` needs
only another import; objects of kombu's own are understood too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from multi.errors import ConfigurationError, QueueNotFound

DIRECT, TOPIC, FANOUT = "direct", "topic", "fanout"
KINDS = (DIRECT, TOPIC, FANOUT)

#: So long (s) the queue of a node, to which copies are sent, is kept while nobody consumes from it: a restart misses nothing.
NODE_QUEUE_LIFE = 60

#: The exchange and the queues by which a single worker is reached, named as Celery names them.
DIRECT_EXCHANGE = "C.dq2"
DIRECT_QUEUE = "{hostname}.dq2"


class Exchange:
    """Where messages are sent that queues take by their bindings: `direct` compares the routing key, `topic` matches its
    words (`*` one word, `#` any number), `fanout` gives a copy to every queue."""

    def __init__(
        self,
        name: str = "",
        type: str = "",
        channel: Any = None,
        *,
        durable: bool = True,
        auto_delete: bool = False,
        delivery_mode: int | str | None = None,
        arguments: Mapping[str, Any] | None = None,
        passive: bool = False,
        no_declare: bool = False,
    ) -> None:
        self.name = _name("an exchange", name)
        self.type = type or DIRECT
        if self.type not in KINDS:
            raise ConfigurationError(
                f"the exchange {name!r} is of the type {type!r}: known here are {', '.join(KINDS)} (what a 'headers' "
                "exchange decides, queues of their own and task_routes can decide)"
            )
        self.durable = durable
        self.auto_delete = auto_delete
        self.delivery_mode = None if delivery_mode is None else mode(delivery_mode)
        self.arguments = dict(arguments or {})
        self.no_declare = no_declare or passive

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exchange) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.name, self.type))

    def __repr__(self) -> str:
        return f"<Exchange {self.name or chr(39) * 2}({self.type})>"


class binding:  # noqa: N801 - kombu's name
    """One of several bindings of a queue: `Queue("media", [binding(exchange, "video"), binding(exchange, "image")])`."""

    def __init__(
        self, exchange: Any = None, routing_key: str = "", arguments: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        self.exchange = _exchange(exchange) or Exchange("")
        self.routing_key = routing_key
        self.arguments = dict(arguments or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, binding) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.exchange, self.routing_key))


class Queue:
    """A queue and how it is bound. All but name, exchange and routing key matters on RabbitMQ only."""

    #: Whether every node has one of its own, to which copies are sent.
    per_node = False
    #: The node whose own it is, "" where it is nobody's.
    node = ""

    def __init__(
        self,
        name: str = "",
        exchange: Any = None,
        routing_key: str = "",
        channel: Any = None,
        bindings: Iterable[Any] | None = None,
        on_declared: Any = None,
        *,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        no_ack: bool | None = None,
        alias: str | None = None,
        no_declare: bool | None = None,
        expires: float | None = None,
        message_ttl: float | None = None,
        max_length: int | None = None,
        max_length_bytes: int | None = None,
        max_priority: int | None = None,
        queue_arguments: Mapping[str, Any] | None = None,
        binding_arguments: Mapping[str, Any] | None = None,
        consumer_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = _name("a queue", name)
        several = [*(bindings or ())]
        if isinstance(exchange, list | tuple | set | frozenset):
            several += exchange
            exchange = None
        self.bindings = [_binding(each) for each in several]
        self.exchange = None if self.bindings else _exchange(exchange)
        self.routing_key = routing_key or ""
        self.durable = durable
        self.exclusive = exclusive
        self.auto_delete = auto_delete or exclusive
        self.alias = alias
        self.no_declare = bool(no_declare)
        self.expires = expires
        self.message_ttl = message_ttl
        self.max_length = max_length
        self.max_length_bytes = max_length_bytes
        self.max_priority = max_priority
        self.queue_arguments = dict(queue_arguments or {})
        self.binding_arguments = dict(binding_arguments or {})
        self.consumer_arguments = dict(consumer_arguments or {})

    @property
    def arguments(self) -> dict[str, Any]:
        """What a server is told when the queue is declared."""
        found = dict(self.queue_arguments)
        for name, value, unit in (
            ("x-expires", self.expires, 1000),
            ("x-message-ttl", self.message_ttl, 1000),
            ("x-max-length", self.max_length, 1),
            ("x-max-length-bytes", self.max_length_bytes, 1),
            ("x-max-priority", self.max_priority, 1),
        ):
            if value is not None:
                found[name] = int(value * unit)
        return found

    @property
    def all_bindings(self) -> list[binding]:
        """Every binding, the only one of a queue with an exchange of its own among them."""
        if self.exchange is None or not self.exchange.name:
            return list(self.bindings)
        return [binding(self.exchange, self.routing_key, self.binding_arguments), *self.bindings]

    @property
    def fed(self) -> list[str]:
        """The fanout exchanges that send it copies."""
        return [each.exchange.name for each in self.all_bindings if each.exchange.type == FANOUT]

    def of_node(self, node: str) -> Queue:
        """The queue that the node of this name consumes from; the same for all nodes but for what is sent to each."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        shown = ", ".join(f"{each.exchange!r} {each.routing_key}".rstrip() for each in self.all_bindings)
        return f"<{type(self).__name__} {self.name}{': ' if shown else ''}{shown}>"


class Broadcast(Queue):
    """What is sent to it every node gets: `Broadcast("reload")` in task_queues, and `queue="reload"` in a call or a route.

    Each node has a queue of its own under its name, which outlives it by a minute, so that a restart misses nothing. With
    `queue=` all nodes share that one queue, unless `unique` is set.
    """

    def __init__(
        self,
        name: str | None = None,
        queue: str | None = None,
        unique: bool = False,
        auto_delete: bool = True,
        exchange: Any = None,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        label = alias or name
        if not label:
            raise ConfigurationError("Broadcast takes a name, as in Broadcast('reload')")
        super().__init__(
            label if queue is None or unique else queue,
            exchange=exchange if exchange is not None else Exchange(str(name), FANOUT),
            alias=label,
            auto_delete=auto_delete,
            **options,
        )
        self.per_node = queue is None or unique
        self.prefix = queue or "bcast"

    def of_node(self, node: str) -> Queue:
        if not self.per_node:
            return self
        own = Queue(
            f"{self.prefix}.{self.alias}.{node}",
            exchange=self.exchange,
            routing_key=self.routing_key,
            expires=NODE_QUEUE_LIFE,
            queue_arguments=self.queue_arguments,
            binding_arguments=self.binding_arguments,
            consumer_arguments=self.consumer_arguments,
        )
        own.node = node
        return own


class Topology:
    """The queues that an app knows, and what is made of the names of others."""

    def __init__(
        self,
        queues: Iterable[Queue] = (),
        *,
        default_exchange: Exchange | None = None,
        default_key: str | None = None,
        create_missing: bool = True,
        missing_type: str | None = None,
        missing_exchange_type: str | None = None,
        max_priority: int | None = None,
    ) -> None:
        self.queues: dict[str, Queue] = {}
        self.create_missing = create_missing
        self.default_exchange = default_exchange
        self._default_key = default_key
        self._missing_type = missing_type
        self._missing_exchange_type = missing_exchange_type
        self.max_priority = max_priority
        self._aliases: dict[str, Queue] = {}
        self._kinds: dict[str, str] = {}
        for queue in queues:
            self.add(queue)
        #: what a worker consumes from that is told nothing else
        self.declared = tuple(self.queues)

    def add(self, queue: Queue) -> Queue:
        """Take a queue into the table, completed by what is common to all."""
        if queue.exchange is None and not queue.bindings and self.default_exchange is not None:
            queue.exchange = self.default_exchange
            queue.routing_key = queue.routing_key or self._default_key or queue.name
        elif queue.exchange is not None and not queue.routing_key:
            queue.routing_key = self._default_key or queue.name
        self._prioritise(queue)
        for each in queue.all_bindings:
            self.learn(each.exchange.name, each.exchange.type)
        self.queues[queue.name] = queue
        if queue.alias:
            self._aliases[queue.alias] = queue
        return queue

    def prioritise(self, most: int) -> None:
        """Give the queues priorities up to this number, where neither they nor the settings say another."""
        if self.max_priority is None:
            self.max_priority = most
            for queue in self.queues.values():
                self._prioritise(queue)

    def _prioritise(self, queue: Queue) -> Queue:
        if self.max_priority is not None and queue.max_priority is None:
            if queue.queue_arguments.get("x-queue-type", "classic") == "classic":
                queue.queue_arguments.setdefault("x-max-priority", self.max_priority)
        return queue

    def learn(self, exchange: str, kind: str) -> None:
        """Keep in mind of what type an exchange is."""
        known = self._kinds.setdefault(exchange, kind)
        if known != kind:
            raise ConfigurationError(
                f"the exchange {exchange!r} is declared as {known!r} and as {kind!r}; it can be of one type only"
            )

    def kind(self, exchange: str) -> str | None:
        """The type of an exchange; None of one that nobody has declared."""
        return self._kinds.get(exchange)

    def exchange(self, name: str) -> Exchange | None:
        """The exchange of this name as it is declared; None if nobody has declared it."""
        for queue in list(self.queues.values()):
            for each in queue.all_bindings:
                if each.exchange.name == name:
                    return each.exchange
        kind = self._kinds.get(name)
        return None if kind is None else Exchange(name, kind)

    def key(self, exchange: str) -> str:
        """The routing key by which the first queue is bound to an exchange, "" where none is known."""
        found = (each for queue in list(self.queues.values()) for each in queue.all_bindings)
        return next((each.routing_key for each in found if each.exchange.name == exchange), "")

    def find(self, name: str) -> Queue | None:
        """The queue of this name or alias, if it is known."""
        return self._aliases.get(name) or self.queues.get(name)

    def get(self, name: str) -> Queue:
        """The queue of this name; made where missing queues are. Raises `QueueNotFound`."""
        found = self.find(name)
        if found is not None:
            return found
        if not self.create_missing:
            from difflib import get_close_matches

            near = get_close_matches(name, [*self._aliases, *self.queues], 1, 0.7)
            raise QueueNotFound(
                f"the queue {name!r} is not in task_queues (there are {', '.join(self.queues) or 'none'}), and "
                "task_create_missing_queues is off" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        return self.add(self.missing(name))

    def missing(self, name: str) -> Queue:
        """What a queue is that only its name is known of."""
        arguments = {} if self._missing_type in (None, "classic") else {"x-queue-type": self._missing_type}
        kind = self._missing_exchange_type or DIRECT
        return self._prioritise(Queue(name, Exchange(name, kind), name, queue_arguments=arguments))

    def bound(self, exchange: str) -> list[tuple[str, str]]:
        """Routing key and queue of all known bindings to an exchange; what each node has its own of is not among them."""
        return [
            (each.routing_key, queue.name)
            for queue in list(self.queues.values())
            if not queue.per_node and not queue.node
            for each in queue.all_bindings
            if each.exchange.name == exchange
        ]

    def bindings(self, name: str) -> list[binding]:
        """The bindings of a queue; of one that nobody has declared, to the direct exchange of its name."""
        queue = self.queues.get(name)
        return [binding(Exchange(name), name)] if queue is None else queue.all_bindings


def worker_direct(hostname: str | Queue) -> Queue:
    """The queue of one worker alone (setting `worker_direct`): `task.apply_async(queue=worker_direct("w1@host"))`."""
    if isinstance(hostname, Queue):
        return hostname
    if not isinstance(hostname, str) or not hostname:
        raise ConfigurationError(f"worker_direct takes the name of a node, as 'w1@host', not {hostname!r}")
    return Queue(DIRECT_QUEUE.format(hostname=hostname), Exchange(DIRECT_EXCHANGE), hostname)


def is_own(queue: str, node: str) -> bool:
    """Whether a queue, by its name, is the node's own: of `worker_direct`, or its copy of what is sent to all."""
    return queue == DIRECT_QUEUE.format(hostname=node) or queue.startswith("bcast.") or queue.endswith(f".{node}")


def queue_of(value: Any) -> Queue:
    """A queue from what programs give for one: ours, kombu's, a name. Raises `ConfigurationError`."""
    if isinstance(value, Queue):
        return value
    if isinstance(value, str):
        return Queue(value)
    if not hasattr(value, "exchange") or not hasattr(value, "routing_key"):
        if isinstance(getattr(value, "name", None), str):
            return Queue(value.name)
        raise ConfigurationError(f"{value!r} is no queue; write multi.Queue('name'), or its name")
    taken: dict[str, Any] = {
        name: getattr(value, name, None) for name in _OPTIONS if getattr(value, name, None) is not None
    }
    if type(value).__name__ == "Broadcast":
        # kombu has given it a queue of this process already; every node makes its own here
        named = None if value.name.startswith("bcast.") else value.name
        return Broadcast(value.alias, named, exchange=_exchange(value.exchange), **taken)
    return Queue(
        value.name,
        _exchange(value.exchange) if value.exchange else None,
        value.routing_key or "",
        bindings=[_binding(each) for each in getattr(value, "bindings", None) or ()],
        auto_delete=value.auto_delete,
        alias=value.alias,
        **taken,
    )


_OPTIONS = (
    *("durable", "exclusive", "no_declare", "expires", "message_ttl", "max_length", "max_length_bytes", "max_priority"),
    *("queue_arguments", "binding_arguments", "consumer_arguments"),
)


def matches(kind: str, bound: str, key: str) -> bool:
    """Whether a queue that is bound with the key `bound` takes a message with the routing key `key`."""
    if kind == FANOUT:
        return True
    if kind == TOPIC:
        return _compiled(pattern(bound)).match(key) is not None
    return bound == key


@lru_cache(1024)
def pattern(bound: str) -> str:
    """The regular expression of a topic binding, for kombu's tables: `*` is one word, `#` any number, none as well.

    (Where kombu itself writes it, `#` stands for one word at least, other than on RabbitMQ.)
    """
    text, dot = "", ""
    for word in bound.split("."):
        if word == "#":
            # with the dot before its words, but at the beginning with that behind them
            text += r"(?:\.[^.]+)*" if dot else r"(?:[^.]+(?:\.|$))*"
        else:
            text += dot + (r"[^.]+" if word == "*" else _escaped(word))
            dot = r"\."
    return f"^{text}$"


@lru_cache(1024)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text)


def taken_by(rows: Iterable[Sequence[str]], kind: str | None, key: str) -> list[str]:
    """The queues among `rows` (routing key, pattern, queue: kombu's table) that take `key`, each once, in order.

    Of an exchange that nobody here has declared the rows tell: those of a topic exchange have a pattern.
    """
    found = sorted(
        queue
        for bound, regex, queue in rows
        if kind == FANOUT or (_compiled(regex).match(key) if regex and kind != DIRECT else bound == key)
    )
    return list(dict.fromkeys(found))


def mode(value: int | str) -> int:
    """A delivery mode: 1 or "transient", 2 or "persistent". Raises `ConfigurationError`."""
    found = {"transient": 1, "persistent": 2, "1": 1, "2": 2}.get(str(value))
    if found is None:
        raise ConfigurationError(f"a delivery mode is 'transient' (1) or 'persistent' (2), not {value!r}")
    return found


def _escaped(word: str) -> str:
    return "".join(f"\\{sign}" if not (sign.isalnum() or sign in "_*#") else sign for sign in word)


def _name(what: str, name: Any) -> str:
    if not isinstance(name, str):
        raise ConfigurationError(f"the name of {what} should be a text, not {name!r}")
    return name


def _exchange(value: Any) -> Exchange | None:
    if value is None or isinstance(value, Exchange):
        return value
    if isinstance(value, str):
        return Exchange(value)
    if not hasattr(value, "name") or not hasattr(value, "type"):
        raise ConfigurationError(f"{value!r} is no exchange; write multi.Exchange('name', 'topic'), or its name")
    return Exchange(
        value.name,
        value.type,
        durable=value.durable,
        auto_delete=value.auto_delete,
        delivery_mode=value.delivery_mode,
        arguments=value.arguments,
        passive=bool(value.passive),
        no_declare=bool(value.no_declare),
    )


def _binding(value: Any) -> binding:
    if isinstance(value, binding):
        return value
    if isinstance(value, Exchange):
        return binding(value)
    if not hasattr(value, "exchange") or not hasattr(value, "routing_key"):
        raise ConfigurationError(f"{value!r} is no binding; write multi.binding(exchange, 'routing.key')")
    return binding(_exchange(value.exchange), value.routing_key or "", value.arguments)
