"""Commands that change from which queues a worker takes tasks."""

from __future__ import annotations

from typing import Any

from multi.topology import Exchange, Queue
from multi.worker.panel.state import State, ok, own_control, own_inspect

#: What a queue may be given beside its exchange and key, as for `Queue`.
_OPTIONS = frozenset(
    (
        *("durable", "exclusive", "auto_delete", "expires", "message_ttl", "max_length", "max_length_bytes"),
        *("max_priority", "queue_arguments", "binding_arguments", "consumer_arguments", "no_declare"),
    )
)


@own_control(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(
    state: State,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Have the worker take tasks from a queue, too."""
    name = _named(queue)
    if unknown := set(options) - _OPTIONS:
        raise TypeError(
            f"add_consumer takes no {', '.join(sorted(unknown))}; a queue may have {', '.join(sorted(_OPTIONS))}"
        )
    topology = state.app.topology
    known = topology.find(name)
    if known is None:
        if exchange or exchange_type or routing_key or options:
            where = Exchange(exchange or name, exchange_type or "direct")
            topology.learn(where.name, where.type)  # raises for an exchange that is known as one of another type
            known = topology.add(Queue(name, where, routing_key or name, **options))
        else:
            known = topology.get(name)
    state.worker.orders.add(known.name)
    return ok(f"add consumer {queue}")


@own_control(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: State, queue: str, **_: Any) -> dict[str, Any]:
    """Have the worker take no more tasks from a queue."""
    name = _named(queue)
    known = state.app.topology.find(name)
    state.worker.orders.remove(name if known is None else known.name)
    return ok(f"no longer consuming from {queue}")


def _named(queue: Any) -> str:
    if not isinstance(queue, str) or not queue.strip() or len(queue.encode()) > 255:
        raise ValueError(f"queue={queue!r} should be the name of a queue: a text of 1 to 255 bytes")
    return queue


@own_inspect()
def active_queues(state: State, **_: Any) -> list[dict[str, Any]]:
    """The queues from which the worker takes tasks."""
    return [_described(state.app.topology.get(name)) for name in state.worker.consumed]


def _described(queue: Queue) -> dict[str, Any]:
    """As kombu tells of a queue."""
    single = queue.exchange
    return {
        "name": queue.name,
        "exchange": None if single is None else _exchange(single),
        "routing_key": queue.routing_key,
        "queue_arguments": queue.queue_arguments or None,
        "binding_arguments": queue.binding_arguments or None,
        "consumer_arguments": queue.consumer_arguments or None,
        "durable": queue.durable,
        "exclusive": queue.exclusive,
        "auto_delete": queue.auto_delete,
        "no_ack": False,
        "alias": queue.alias,
        "bindings": [
            {"exchange": _exchange(each.exchange), "routing_key": each.routing_key, "arguments": None}
            for each in queue.bindings
        ],
        "no_declare": queue.no_declare or None,
        "expires": queue.expires,
        "message_ttl": queue.message_ttl,
        "max_length": queue.max_length,
        "max_length_bytes": queue.max_length_bytes,
        "max_priority": queue.max_priority,
    }


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "type": exchange.type,
        "arguments": exchange.arguments or None,
        "durable": exchange.durable,
        "passive": False,
        "auto_delete": exchange.auto_delete,
        "delivery_mode": exchange.delivery_mode,
        "no_declare": exchange.no_declare,
    }
