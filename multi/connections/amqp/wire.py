"""A session on a socket that never waits: the owner watches the descriptor and calls `step`."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from multi.connections.amqp.address import Address
from multi.connections.amqp.session import Closed, Lost, Session

_READ_SIZE = 1 << 16
_UNHEARD = 20_000  # milliseconds after which a peer that doesn't take what was sent counts as dead
_READS_PER_STEP = 16  # so that a flood from the server leaves room for everything else in the loop


class Wire:
    """Connects, secures the connection if asked to, and moves bytes. Every failure is raised as `Lost`."""

    def __init__(self, address: Address, *, heartbeat: float, on_ready: Callable[[], None] | None = None) -> None:
        self.address = address
        self.session = Session(address, heartbeat=heartbeat, on_ready=on_ready)
        self.received = 0  # how often something came: the sign of life that heartbeats are about
        self._places = _look_up(address)
        self._connected = False
        self._secured = not address.tls
        self._tls_wants_write = False
        self._mark = 0
        self._socket = self._begin()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether the owner should watch for writing too."""
        if not self._connected:
            return True
        return self._tls_wants_write if not self._secured else bool(self.session.output)

    def step(self) -> None:
        """Do whatever can be done without waiting: connect, read, dispatch, write. Raises `Lost`."""
        if not self._connected and not self._connect():
            return
        try:
            if not self._secured and not self._secure():
                return
            self._read()
            self.flush()
        except Closed:
            try:
                self.flush()  # the answer to the server's farewell
            except Lost:
                pass  # it has gone already
            raise
        except OSError as exc:
            raise Lost(f"the connection broke: {exc.strerror or exc}") from exc

    def flush(self) -> None:
        """Write what can be written now. Raises `Lost`."""
        if not self._connected or not self._secured:
            return
        output = self.session.output
        try:
            while output:
                sent = self._socket.send(memoryview(output)[: 1 << 18])
                del output[:sent]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as exc:
            raise Lost(f"the connection broke: {exc.strerror or exc}") from exc

    def close(self) -> None:
        """Close this process's end without a word."""
        self._socket.close()

    def close_copy(self) -> None:
        """Close what a fork has copied, unless that is done and the descriptor's number names something else now."""
        try:
            same = os.fstat(self._socket.fileno()).st_ino == self._mark
        except OSError:
            same = False
        if same:
            # not the TLS object's own close, and nothing that is said to the server
            os.close(self._socket.detach())
        else:
            self._socket.detach()

    def _begin(self) -> socket.socket:
        """Start connecting to the next place."""
        family, where = self._places.pop(0)
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNHEARD)
            code = made.connect_ex(where)
        except OSError as exc:
            made.close()
            raise Lost(str(exc.strerror or exc)) from exc
        if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
            made.close()
            if self._places:
                return self._begin()
            raise Lost(os.strerror(code))
        self._mark = os.fstat(made.fileno()).st_ino
        return made

    def _connect(self) -> bool:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._socket.close()
            if not self._places:
                raise Lost(os.strerror(code))
            # the same descriptor number may come again; owners that watch it ask for it after every step
            self._socket = self._begin()
            return False
        try:
            self._socket.getpeername()
        except OSError:
            return False
        self._connected = True
        if self.address.tls:
            try:
                self._socket = _context(self.address).wrap_socket(
                    self._socket, do_handshake_on_connect=False, server_hostname=self.address.host
                )
            except (OSError, ValueError) as exc:
                raise Lost(f"TLS can't be set up: {exc}") from exc
        return True

    def _secure(self) -> bool:
        assert isinstance(self._socket, ssl.SSLSocket)
        self._tls_wants_write = False
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._tls_wants_write = True
            return False
        except OSError as exc:
            raise Lost(f"TLS was refused: {exc}") from exc
        self._secured = True
        return True

    def _read(self) -> None:
        for _ in range(_READS_PER_STEP):
            try:
                data = self._socket.recv(_READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                raise Lost("the server closed the connection")
            self.received += 1
            self.session.feed(data)
            if len(data) < _READ_SIZE and not isinstance(self._socket, ssl.SSLSocket):
                return


def explain(address: Address, reason: Lost) -> str:
    """One sentence for people: where, what went wrong, and what to do about it. Never holds the password."""
    text = str(reason)
    if isinstance(reason, Closed):
        if reason.code == 403 and "vhost" not in text:
            remedy = f"check the password of user {address.username!r} (guest may log in from the same host only)"
        elif reason.code in (403, 530):
            remedy = (
                f"does the virtual host {address.vhost!r} exist, and may {address.username!r} use it? See rabbitmqctl "
                "list_vhosts and list_permissions (in a URL the default one is written amqp://host// or amqp://host)"
            )
        else:
            remedy = "see the server's log"
    elif "refused" in text and "TLS" not in text:
        remedy = "is RabbitMQ running there, and is the port right?"
    elif "name" in text.lower() and "known" in text.lower():
        remedy = "is the host's name right?"
    elif "TLS" in text:
        remedy = "check the certificates, and that the port is the one for TLS (usually 5671)"
    elif "closed the connection" in text and not address.tls:
        remedy = "see the server's log; a port for TLS wants amqps://"
    else:
        remedy = "is the host reachable, and RabbitMQ well? See its log"
    return f"RabbitMQ at {address} can't be used: {text}; {remedy}"


def refuses(reason: Lost) -> bool:
    """Whether the server answers and refuses: waiting doesn't help then."""
    return isinstance(reason, Closed) and reason.code in (402, 403, 530)


def _look_up(address: Address) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise Lost(f"the name {address.host!r} is not known ({exc.strerror or exc})") from exc
    return [(family, where) for family, _, _, _, where in found]


def _context(address: Address) -> ssl.SSLContext:
    options = address.tls_options
    context = ssl.create_default_context(cafile=options.get("ca_certs"))
    if options.get("certfile"):
        context.load_cert_chain(options["certfile"], options.get("keyfile"))
    required = options.get("cert_reqs", ssl.CERT_REQUIRED)
    if required in (ssl.CERT_NONE, "none", "CERT_NONE"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
