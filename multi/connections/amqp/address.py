"""Where a RabbitMQ is and who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from multi import urls
from multi.errors import ConfigurationError

SCHEMES = ("amqp", "amqps", "pyamqp")


class Address(msgspec.Struct, frozen=True):
    """One server, user and virtual host, with how to get there."""

    host: str
    port: int
    username: str
    password: str
    vhost: str
    tls: bool
    tls_options: dict[str, Any]
    connect_timeout: float
    heartbeat: float

    @property
    def place(self) -> str:
        """Names the server and virtual host; two that are equal see the same queues."""
        return f"amqp://{self.host}:{self.port}/{self.vhost}"

    def __str__(self) -> str:
        where = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.tls else 'amqp'}://{self.username}@{where}:{self.port} (virtual host {self.vhost!r})"

    def __repr__(self) -> str:
        return f"<Address {self}>"


def addresses(url: str, options: Mapping[str, Any]) -> list[Address]:
    """The addresses of a URL, or of several joined by `;` that are tried in turn. Raises `ConfigurationError`.

    Options: `heartbeat` and `connection_timeout` in seconds, `ssl` (True, or a mapping with `ca_certs`, `certfile`,
    `keyfile`, `cert_reqs`). A URL's own `?heartbeat=` and `?connection_timeout=` come first.
    """
    found = [_address(single, options) for single in urls.split(url)]
    if not found:
        raise ConfigurationError("the broker's URL is empty; it should look like amqp://user:password@host:5672/vhost")
    return found


def _address(url: str, options: Mapping[str, Any]) -> Address:
    parts = urls.parse(url, SCHEMES)
    wanted = options.get("ssl")
    tls = parts.scheme == "amqps" or bool(wanted)
    vhost = parts.path.removeprefix("/") or "/"
    return Address(
        host=parts.host or "localhost",
        port=parts.port or (5671 if tls else 5672),
        username=parts.username if parts.username is not None else "guest",
        password=parts.password if parts.password is not None else "guest",
        vhost=vhost,
        tls=tls,
        tls_options=dict(wanted) if isinstance(wanted, Mapping) else {},
        connect_timeout=_seconds("connection_timeout", parts.query, options, 4.0) or 4.0,
        heartbeat=_seconds("heartbeat", parts.query, options, 60.0),
    )


def _seconds(name: str, query: Mapping[str, str], options: Mapping[str, Any], default: float) -> float:
    value = query.get(name, options.get(name))
    if value is None:
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if seconds < 0:
        raise ConfigurationError(f"{name} of the RabbitMQ broker must be a number of seconds, not {value!r}")
    return seconds
