"""Asks workers through their broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from multi.errors import BrokerLost
from multi.remote.request import NAMESPACE, Request
from multi.talk import DIRECT, Subscription, open_talk

TIMEOUT = 1.0
#: Seconds for which replies are kept for us, should we be gone; as Celery's clients have it.
_EXPIRES = 10.0


def call(
    url: str,
    method: str,
    arguments: Mapping[str, Any] | None = None,
    destination: Sequence[str] | None = None,
    *,
    timeout: float = TIMEOUT,
    options: Mapping[str, Any] | None = None,
    namespace: str = NAMESPACE,
    key: bytes | None = None,
) -> dict[str, Any]:
    """What each worker replies to `method`, by node name.

    Commands and their arguments are those of Celery's workers: ping, active, active_queues, stats, add_consumer,
    cancel_consumer and the rest. Waits until all of `destination` have replied, without one for the whole `timeout`
    (seconds, default 1). A worker that is away, or that runs a task in its only process, is just missing in the answer.
    `options` are `broker_transport_options`, `namespace` is `control_exchange`, `key` is what `control_key.secret` gives.

    Raises `BrokerUnavailable` when the broker can't be reached, `BrokerLost` when the connection broke while workers were
    asked, and `ConfigurationError` for a broker that carries no remote control.
    """
    request = Request(method, arguments, destination, timeout, namespace, key)
    talk = open_talk(url, options)
    try:
        replies = talk.subscribe(
            request.reply_exchange,
            keys=[request.reply_key],
            kind=DIRECT,
            queue=request.reply_queue,
            expires=_EXPIRES,
        )
        try:
            talk.say(request.exchange, request.message)
            _collect(replies, request)
        finally:
            replies.close()
    finally:
        talk.close()
    return request.replies


def _collect(replies: Subscription, request: Request) -> None:
    """Take replies until it is answered or its time is over."""
    deadline = monotonic() + request.timeout
    while not request.is_answered and (left := deadline - monotonic()) > 0:
        try:
            message = replies.get(left)
        except BrokerLost as error:
            raise BrokerLost(f"{error} (while workers were asked: what they replied is lost)") from error
        if message is not None:
            request.take(message)
