"""RabbitMQ's management plugin, asked what AMQP itself doesn't tell: how many queues an exchange sends to, and all bindings."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from multi import urls
from multi.connections.amqp.address import Address
from multi.errors import BrokerUnavailable, ConfigurationError

#: Seconds that an answer may take.
_PATIENCE = 2.0
_PORT, _TLS_PORT = 15672, 15671


class Management:
    """The plugin's interface at one URL, in the name of the broker's user unless the URL tells another one."""

    def __init__(self, url: str, address: Address) -> None:
        parts = urls.parse(url, ("http", "https"))
        self._tls = parts.scheme == "https"
        self._host = parts.host or address.host
        self._port = parts.port or (_TLS_PORT if self._tls else _PORT)
        self._base = (parts.path or "").rstrip("/").removesuffix("/api")
        user = address.username if parts.username is None else parts.username
        password = address.password if parts.password is None else parts.password
        self._login = b64encode(f"{user}:{password}".encode()).decode()
        self._vhost = address.vhost
        self._told = False

    @classmethod
    def of(cls, url: str, options: Mapping[str, Any], address: Address) -> Management | None:
        """What the option `management` says: a URL, or true for the broker's own host; None without it. It may stand in the
        broker's URL, too. Raises `ConfigurationError`."""
        given = urls.parse(urls.split(url)[0], ("amqp", "amqps", "pyamqp")).query.get("management")
        wanted = options.get("management") if given is None else given
        if wanted in (None, "", False, "false", "0"):
            return None
        if wanted in (True, "true", "1"):
            host = f"[{address.host}]" if ":" in address.host else address.host
            return cls(f"{'https' if address.tls else 'http'}://{host}", address)
        if given is not None and "@" in given:
            raise ConfigurationError(  # whatever shows the broker's URL would show it
                "management: a user and password of its own stand in broker_transport_options, not in the broker's URL"
            )
        if not isinstance(wanted, str) or "://" not in wanted:
            raise ConfigurationError(
                f"the broker's option management should be true or a URL as http://host:{_PORT}, not {urls.mask(str(wanted))!r}"
            )
        return cls(wanted, address)

    def listeners(self, exchange: str) -> int | None:
        """How many listen on an exchange, whose queues have its name at their end, as ours and kombu's do; None, with a
        warning, when the plugin doesn't tell."""
        path = f"{self._base}/api/exchanges/{quote(self._vhost, '')}/{quote(exchange, '')}/bindings/source"
        try:
            status, body = self._get(path)
            if status == 404:
                return 0  # nobody has declared it so far
            if status == 200:
                names = {each["destination"] for each in json.loads(body) if each["destination_type"] == "queue"}
                return sum(1 for name in names if str(name).endswith(f".{exchange}"))
            reason = f"it answers with the status {status}" + (
                ": the user needs the tag monitoring or management" if status in (401, 403) else ""
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error)
        if not self._told:
            self._told = True
            from multi.log import get_logger  # programs that ask and end do without it

            get_logger("multi.broker").warning(
                "RabbitMQ's management plugin at %s:%s doesn't tell how many listen: %s", self._host, self._port, reason
            )
        return None

    def bindings(self) -> list[tuple[str, str, str]]:
        """Exchange, queue and routing key of every binding of a queue. Raises `BrokerUnavailable`."""
        try:
            status, body = self._get(f"{self._base}/api/bindings/{quote(self._vhost, '')}")
            if status == 200:
                return [
                    (str(each["source"]), str(each["destination"]), str(each["routing_key"]))
                    for each in json.loads(body)
                    if each["destination_type"] == "queue"
                ]
            reason = f"it answers with the status {status}"
            if status in (401, 403):
                reason += ": the user needs the tag monitoring or management"
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error)
        raise BrokerUnavailable(
            f"RabbitMQ's management plugin at {self._host}:{self._port} doesn't tell the bindings: {reason}"
        )

    def _get(self, path: str) -> tuple[int, bytes]:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        kind = HTTPSConnection if self._tls else HTTPConnection
        connection = kind(self._host, self._port, timeout=_PATIENCE)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {self._login}"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except HTTPException as error:
            raise OSError(f"no answer that could be read: {error!r}") from error
        finally:
            connection.close()
