"""Asks workers through their broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multi import urls
from multi.errors import ConfigurationError
from multi.remote.request import NAMESPACE, Request

TIMEOUT = 1.0
_REDIS = ("redis", "rediss", "redis+socket", "unix")
_AMQP = ("amqp", "amqps", "pyamqp")


def call(
    url: str,
    method: str,
    arguments: Mapping[str, Any] | None = None,
    destination: Sequence[str] | None = None,
    *,
    timeout: float = TIMEOUT,
    options: Mapping[str, Any] | None = None,
    namespace: str = NAMESPACE,
) -> dict[str, Any]:
    """What each worker replies to `method`, by node name.

    Commands and their arguments are those of Celery's workers: ping, active, active_queues, stats, add_consumer,
    cancel_consumer and the rest. Waits until all of `destination` have replied, without one for the whole `timeout`
    (seconds, default 1). A worker that is away, or that runs a task in its only process, is just missing in the answer.
    `options` are `broker_transport_options`, `namespace` is `control_exchange`.

    Raises `BrokerUnavailable` when the broker can't be reached, and `ConfigurationError` for a broker that carries no
    remote control here.
    """
    scheme = urls.parse(urls.split(url)[0] if urls.split(url) else url).scheme
    request = Request(method, arguments, destination, timeout, namespace)
    if scheme in _REDIS:
        from multi.remote.redis import ask
    elif scheme in _AMQP:
        from multi.remote.amqp import ask
    else:
        raise ConfigurationError(
            f"{urls.mask(url)}: workers can be asked through Redis and RabbitMQ, not through a broker of the kind {scheme!r}"
        )
    ask(url, dict(options or {}), request)
    return request.replies
