"""Remote control over RabbitMQ: a fan-out exchange for the request, a queue of our own for the replies."""

from __future__ import annotations

from time import monotonic
from typing import Any

from multi.connections.amqp import Link, Lost, Session, Steps, Unreachable, addresses, spec
from multi.connections.amqp.content import encode
from multi.connections.amqp.session import Arrival, Channel
from multi.errors import BrokerUnavailable
from multi.remote.request import Request

_ANSWER = 10.0
_EXPIRES = 10_000  # ms, as Celery's clients have it


def ask(url: str, options: dict[str, Any], request: Request) -> None:
    """Send `request` and collect until it is answered or its time is over."""
    try:
        link = Link.open(addresses(url, options))
    except Unreachable as error:
        raise BrokerUnavailable(str(error)) from error
    deadline = monotonic() + request.timeout
    try:
        link.run(_send(link.session, request), _ANSWER)
        while not request.is_answered and (left := deadline - monotonic()) > 0:
            link.turn(left)
    except Lost as error:
        raise BrokerUnavailable(f"{link.address}: the connection broke while workers were asked: {error}") from error
    finally:
        link.close()


def _send(session: Session, request: Request) -> Steps[None]:
    channel = session.channel()

    def heard(arrival: Arrival) -> None:
        request.take(arrival.properties.get("application_headers") or {}, arrival.body)

    channel.on_deliver = heard
    yield from _prepare(channel, request)
    found = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 1,
        "application_headers": request.headers,
    }
    channel.publish(request.exchange, "", encode(found), request.body, mandatory=False)


def _prepare(channel: Channel, request: Request) -> Steps[None]:
    for name, kind in ((request.exchange, "fanout"), (request.reply_exchange, "direct")):
        # passive no, durable no, auto-delete no, internal no, nowait no
        yield channel.request(spec.Exchange.Declare, "BssbbbbbF", (0, name, kind, *[False] * 5, {}))
    queue = request.reply_queue
    # passive no, durable no, exclusive yes, auto-delete yes, nowait no
    flags = (False, False, True, True, False)
    yield channel.request(spec.Queue.Declare, "BsbbbbbF", (0, queue, *flags, {"x-expires": _EXPIRES}))
    bind: tuple[Any, ...] = (0, queue, request.reply_exchange, request.reply_key, False, {})
    yield channel.request(spec.Queue.Bind, "BsssbF", bind)
    # no-local no, no-ack yes, exclusive no, nowait no
    consume: tuple[Any, ...] = (0, queue, "", False, True, False, False, {})
    yield channel.request(spec.Basic.Consume, "BssbbbbF", consume)
