"""Where a Redis server is, and how to log in."""

from __future__ import annotations

from typing import Any

import msgspec

from multi.errors import ConfigurationError
from multi.urls import mask, parse

#: Seconds for a connection to come up, and for an answer to come; `socket_connect_timeout` and `socket_timeout` change them.
CONNECT_TIMEOUT = 4.0
ANSWER_TIMEOUT = 10.0


class Address(msgspec.Struct, frozen=True):
    """Where a Redis server is and how to log in."""

    url: str
    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_options: tuple[tuple[str, str], ...] = ()
    connect_timeout: float = CONNECT_TIMEOUT
    answer_timeout: float = ANSWER_TIMEOUT

    @property
    def server(self) -> str:
        """Names the server, without the database."""
        return self.path or f"{self.host}:{self.port}"

    @property
    def masked(self) -> str:
        """The URL as it may be printed."""
        return mask(self.url)

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any] | None = None) -> Address:
        """Read `redis://[user:password@]host[:port][/db]`, `rediss://…` (TLS) or `redis+socket:///path[?virtual_host=db]`.

        Raises ConfigurationError for a database that is not a number.
        """
        options = options or {}
        parts = parse(url)
        query = parts.query
        local = parts.scheme in ("redis+socket", "unix")
        database = (
            query.get("virtual_host", query.get("db", "0")) if local else parts.path.strip("/") or query.get("db", "0")
        )
        try:
            db = int(database or 0)
        except ValueError:
            raise ConfigurationError(
                f"{mask(url)}: {database!r} is no number of a Redis database; write redis://host:port/0"
            ) from None
        tls = parts.scheme == "rediss"
        return cls(
            url=url,
            host=parts.host or "localhost",
            port=parts.port or 6379,
            path=parts.path if local else "",
            db=db,
            username=parts.username or None,
            password=parts.password or None,
            tls=tls,
            tls_options=tuple(sorted((k, v) for k, v in query.items() if k.startswith("ssl_"))),
            connect_timeout=float(options.get("socket_connect_timeout") or CONNECT_TIMEOUT),
            answer_timeout=float(options.get("socket_timeout") or ANSWER_TIMEOUT),
        )
