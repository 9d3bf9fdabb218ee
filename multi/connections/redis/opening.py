"""What is the same for both kinds of connections: the socket, the greeting, and the words for what goes wrong."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multi.connections.redis.address import Address
from multi.connections.redis.words import Reply, ReplyError, Word
from multi.errors import BrokerRefused, BrokerUnavailable, ConfigurationError

if TYPE_CHECKING:
    import ssl


def _tls_context(address: Address) -> ssl.SSLContext:
    import ssl

    options = dict(address.tls_options)
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        files = ", ".join(f"{name}={path}" for name, path in address.tls_options if name != "ssl_cert_reqs")
        raise ConfigurationError(
            f"{address.masked}: a file of {files} can't be used: {error.strerror or error}"
        ) from None
    demand = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if demand not in ("required", "optional", "none"):
        raise ConfigurationError(f"{address.masked}: ssl_cert_reqs is required, optional or none, not {demand!r}")
    if demand == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif demand == "optional":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def open_socket(address: Address) -> socket.socket:
    if address.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(address.connect_timeout)
        try:
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
        return sock
    context = _tls_context(address) if address.tls else None
    sock = socket.create_connection((address.host, address.port), timeout=address.connect_timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if context is None:
        return sock
    try:
        return context.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise


def limit_waiting(sock: socket.socket, seconds: float) -> None:
    """Let a blocking call fail after so long.

    By the kernel's own limit where that is possible: Python's costs a `poll` more for every call, a fifth of what
    sending a task costs.
    """
    if type(sock) is socket.socket:
        sock.settimeout(None)
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    else:
        sock.settimeout(seconds)


def begin(address: Address, protocol: int) -> list[tuple[Word, ...]]:
    """The commands that begin a connection."""
    commands: list[tuple[Word, ...]] = []
    login = () if address.password is None else ("AUTH", address.username or "default", address.password)
    if protocol == 3:
        commands.append(("HELLO", 3, *login))
    elif login:
        commands.append(("AUTH", *([address.username] if address.username else []), address.password or ""))
    if address.db:
        commands.append(("SELECT", address.db))
    commands.append(("INFO", "server"))
    return commands


def _refused(address: Address, command: str, error: Exception) -> BrokerUnavailable:
    """What to say of a server that answers the greeting with an error."""
    text = str(error)
    if text.startswith(("WRONGPASS", "NOAUTH", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH", "NOPERM")):
        # no example: what masks passwords would mask it, too
        remedy = "check user and password in the URL, which stand there before the @ as user:password"
    elif command == "SELECT":
        remedy = f"the server has no database {address.db}; choose a smaller number in the URL"
    elif text.startswith("LOADING"):
        remedy = "the server is still loading its data; try again soon"
    else:
        remedy = "check that the URL points to Redis 6.2 or Valkey, or newer"
    final = not text.startswith(("LOADING", "BUSY", "MASTERDOWN"))
    return (BrokerRefused if final else BrokerUnavailable)(
        f"{address.masked}: the server refused the connection: {text}; {remedy}"
    )


def check_greeting(address: Address, commands: Sequence[tuple[Any, ...]], replies: Sequence[Reply]) -> None:
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, ReplyError):
            raise _refused(address, str(command[0]), reply)
    info = replies[-1]
    for line in bytes(info).splitlines():
        if line.startswith(b"redis_version:"):
            version = tuple(int(part) for part in line[14:].split(b".")[:2])
            if version < (6, 2):
                raise BrokerRefused(
                    f"{address.masked}: Redis {line[14:].decode()} is too old; Redis 6.2 or Valkey is needed"
                )


def unreachable(address: Address, error: Exception) -> BrokerUnavailable:
    """What to say of a server that can't be reached."""
    cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokerUnavailable(
        f"Cannot connect to {address.masked}: {cause}; check that Redis runs there (redis-cli -u {address.masked} ping)"
    )
