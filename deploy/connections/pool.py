"""Connections to hosts over SSH, by Fabric: one per host for a whole deploy, the host's key checked before anything is sent.

Fabric reads ssh_config, finds keys and agent, and goes through jump hosts. What it leaves open is settled here: unknown host
keys are refused (Fabric would accept any), a host that falls silent is noticed, connecting is tried again where that may
help, and at most so many connections are open at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.deploy.connections.keys import is_private_key, known_in, removal
from multi.deploy.connections.ssh import SshSession
from multi.errors import ConfigurationError, HostRefused, HostUnreachable, MissingExtra

if TYPE_CHECKING:
    import fabric
    import paramiko

    from multi.deploy.hosts.inventory import Host
    from multi.deploy.releases.source import Source
    from multi.deploy.steps import Secret

CONNECT_TIMEOUT = 10.0
ATTEMPTS = 3
#: Open at once; each is a file, two threads and some hundred kilobytes.
CONNECTIONS = 100
_PAUSE = 1.0  # before the second attempt; doubles
#: A host that answers nothing for so long is not there any more.
SILENCE = 20.0


class _TimedOut(HostUnreachable):
    """Nobody has answered in time."""


class Ways(NamedTuple):
    """How hosts are reached, as far as it is the same for all of them."""

    accept_new: bool = False
    connect_timeout: float = CONNECT_TIMEOUT
    attempts: int = ATTEMPTS
    ssh_config: str | None = None
    known_hosts: str | None = None
    key: str | None = None
    sudo_password: Secret | None = None
    limit: int = CONNECTIONS
    silence: float = SILENCE
    folder: str = ""  # that names of files of hosts are relative to


class Connections:
    """The connections of one deploy, by host. Safe to use from many threads, one thread per host."""

    def __init__(self, ways: Ways | None = None, source: Source | None = None) -> None:
        self.ways = ways or Ways()
        self.source = source
        self._open: OrderedDict[str, SshSession] = OrderedDict()
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._config = _fabric_config(self.ways.ssh_config)
        #: Each connection has a copy: what Fabric looks up in a configuration, it may be putting together anew at that moment
        self._making = threading.Lock()

    def connect(self, host: Host) -> SshSession:
        """The session with this host; opened when there is none, or when it was lost."""
        with self._lock:
            session = self._open.get(host.name)
            if session is not None and session.is_alive:
                self._open.move_to_end(host.name)
                return session
        session = self._connect(host)
        with self._lock:
            self._open[host.name] = session
            surplus = [name for name in self._open if name not in self._busy and name != host.name]
            excess = [self._open.pop(name) for name in surplus[: max(0, len(self._open) - self.ways.limit)]]
        for one in excess:
            one.close()
        return session

    @contextlib.contextmanager
    def session(self, host: Host) -> Iterator[SshSession]:
        """The session, which is not closed for want of room while it is in use."""
        with self._lock:
            self._busy.add(host.name)
        try:
            yield self.connect(host)
        finally:
            with self._lock:
                self._busy.discard(host.name)

    def drop(self, host: Host) -> None:
        """Close the session with this host, if there is one."""
        with self._lock:
            session = self._open.pop(host.name, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close all of them; none is left open."""
        with self._lock:
            sessions, self._open = list(self._open.values()), OrderedDict()
        for session in sessions:
            session.close()

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- connecting

    def _connect(self, host: Host) -> SshSession:
        """A new session; tried again where the network may be to blame, never where the host has answered no."""
        last: HostUnreachable | None = None
        timeouts = 0
        for attempt in range(max(1, self.ways.attempts)):
            if attempt:
                time.sleep(_PAUSE * 2 ** (attempt - 1))
            try:
                return self._once(host)
            except HostRefused:
                raise
            except HostUnreachable as error:
                last = error
                timeouts += isinstance(error, _TimedOut)
                if timeouts > 1:
                    break  # each has taken its whole time: a third will not help
        assert last is not None
        raise last

    def _once(self, host: Host) -> SshSession:
        with self._making:
            connection = self._fabric(host)
        try:
            open_checked(connection, host.name, self.ways)
        except BaseException:
            _shut(connection)
            raise
        return SshSession(host, connection, sudo_password=self.ways.sudo_password, source=self.source)

    def _fabric(self, host: Host) -> fabric.Connection:
        import fabric

        gateway = None
        if host.jump:
            gateway = fabric.Connection(
                host.jump, config=self._config.clone(), connect_timeout=int(self.ways.connect_timeout)
            )
        kwargs: dict[str, Any] = {}
        keys = [os.path.join(self.ways.folder, os.path.expanduser(key)) for key in (host.key, self.ways.key) if key]
        for key in keys:
            if not os.path.isfile(key):
                raise HostRefused(host.name, f"the key {key} is missing")
            if not is_private_key(key):
                raise HostRefused(host.name, f"{key} holds no private key that can be read")
        if keys:
            kwargs["key_filename"] = keys
        given = {"user": host.user, "port": host.port, "gateway": gateway}
        return fabric.Connection(
            host.address or host.name,
            config=self._config.clone(),
            connect_timeout=int(self.ways.connect_timeout),
            connect_kwargs=kwargs or None,
            **{name: value for name, value in given.items() if value is not None},
        )


def _fabric_config(path: str | None) -> fabric.Config:
    try:
        import fabric
    except ImportError:
        raise MissingExtra("fabric", "multi-workers[deploy]", "hosts over SSH") from None
    # what it says with tracebacks, where nobody has set up logging, comes as an error anyway
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    if path is not None and not os.path.isfile(os.path.expanduser(path)):
        raise ConfigurationError(f"the ssh configuration {path} is missing")
    return fabric.Config(runtime_ssh_path=os.path.expanduser(path)) if path else fabric.Config()


def open_checked(connection: fabric.Connection, name: str, ways: Ways) -> None:
    """Open this connection and those to its jump hosts, with the host keys checked; errors name host, cause and remedy."""
    import paramiko
    from paramiko.ssh_exception import NoValidConnectionsError

    if isinstance(connection.gateway, type(connection)) and not connection.gateway.is_connected:
        open_checked(connection.gateway, f"{name}'s jump host {connection.gateway.original_host}", ways)
    files = _trust(connection, name, ways)
    known = (connection.ssh_config or {}).get("hostkeyalias") or _known_name(connection)
    connection.connect_kwargs.setdefault("banner_timeout", ways.connect_timeout)
    connection.connect_kwargs.setdefault("auth_timeout", max(20.0, ways.connect_timeout))
    where = f"{connection.user}@{connection.host}" + (f":{connection.port}" if connection.port != 22 else "")
    try:
        connection.open()
    except paramiko.BadHostKeyException as error:
        raise HostRefused(
            name,
            f"the key of {connection.host} is not the one in {_files(known_in(known, files))}: it shows "
            f"{fingerprint(error.key)}, known is "
            f"{fingerprint(error.expected_key)}. Either the host was set up anew or somebody stands between; if it is "
            f"right, remove the old key with: {removal(known, files)}",
        ) from None
    except paramiko.PasswordRequiredException:
        raise HostRefused(name, "its key needs a passphrase; add it to the agent with: ssh-add") from None
    except paramiko.AuthenticationException as error:
        raise HostRefused(
            name,
            f"{where} accepts no key of yours ({str(error).rstrip('.')}); try `ssh {where}`, and see whether the right key "
            "is in the agent (ssh-add -l), in ssh_config, or given with --key",
        ) from None
    except TimeoutError:
        raise _TimedOut(name, f"{where} did not answer within {ways.connect_timeout:g} s") from None
    except (NoValidConnectionsError, OSError, EOFError) as error:
        raise HostUnreachable(name, f"{where}: {_cause(error)}") from None
    except paramiko.SSHException as error:
        if "not found in known_hosts" in str(error) or isinstance(error, _Unknown):
            raise HostRefused(name, str(error)) from None
        if junk := _junk(connection):
            raise HostRefused(name, f"{where}: {junk} holds no private key that can be read") from None
        raise HostUnreachable(name, f"{where}: {error}") from None
    except ValueError as error:  # a key file that is none
        reason = f"{junk} holds no private key that can be read" if (junk := _junk(connection)) else str(error)
        raise HostRefused(name, f"{where}: {reason}") from None
    _keep_alive(connection, ways.silence)


def _junk(connection: fabric.Connection) -> str:
    """The first file that was to be a key and is none; "" where all are."""
    given = connection.connect_kwargs.get("key_filename") or ()
    paths = [os.path.expanduser(path) for path in ([given] if isinstance(given, str) else given)]
    return next((path for path in paths if os.path.isfile(path) and not is_private_key(path)), "")


def _cause(error: BaseException) -> str:
    errors = getattr(error, "errors", None)
    if errors:
        first = next(iter(errors.values()))
        return str(getattr(first, "strerror", None) or first)
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


# ---- host keys


def _files(paths: list[str]) -> str:
    return " or ".join(paths) if paths else "any known_hosts file"


def _trust(connection: fabric.Connection, name: str, ways: Ways) -> list[str]:
    """Have this connection believe the known_hosts files, and only them; the files."""
    import paramiko

    client: Any = connection.client
    said = connection.ssh_config or {}
    user_files = (
        [ways.known_hosts] if ways.known_hosts else said.get("userknownhostsfile", "~/.ssh/known_hosts").split()
    )
    others = [] if ways.known_hosts else said.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    files = [os.path.expanduser(path) for path in (*user_files, *others) if path != "none"]
    for path in files:
        with contextlib.suppress(OSError):
            client.load_system_host_keys(path)
    alias = said.get("hostkeyalias")
    own = _known_name(connection)
    if alias:
        keys = client._system_host_keys
        found = keys.lookup(alias)
        for kind in list(found or ()):
            keys.add(own, kind, found[kind])
    file = os.path.expanduser(user_files[0]) if user_files else ""
    client.set_missing_host_key_policy(_policy(paramiko, name, alias or own, file if ways.accept_new else None))
    return files


def _known_name(connection: fabric.Connection) -> str:
    """The host as known_hosts has it."""
    return connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"


class _Unknown(Exception):
    """Takes part in the class that is made when paramiko is there."""


_writing = threading.Lock()


def _policy(module: Any, name: str, known: str, file: str | None) -> paramiko.MissingHostKeyPolicy:
    """Refuses a key that nobody knows; with `file` a host that is new is written there, as ssh's accept-new does."""

    class Unknown(_Unknown, module.SSHException):  # type: ignore[misc]
        pass

    class Reject(module.RejectPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
            if any(kinds for kinds in [client._system_host_keys.lookup(hostname)] if kinds):
                kinds = ", ".join(client._system_host_keys.lookup(hostname))
                raise Unknown(
                    f"the host shows a key of another kind ({key.get_name()} {fingerprint(key)}) than those known for "
                    f"{known} ({kinds}); compare it on the host, then: ssh-keyscan {hostname} >> ~/.ssh/known_hosts"
                )
            if file is None:
                raise Unknown(
                    f"nobody knows its host key: {known} is in no known_hosts file. It shows {key.get_name()} "
                    f"{fingerprint(key)}; compare that on the host (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then "
                    "connect once with ssh, or accept it with --accept-new"
                )
            with _writing:
                os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                with open(os.open(file, flags, 0o600), "a", encoding="ascii") as out:
                    out.write(f"{known} {key.get_name()} {key.get_base64()}\n")

    return Reject()


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` writes it."""
    import base64
    import hashlib

    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


# ---- silence


def _keep_alive(connection: fabric.Connection, silence: float) -> None:
    """Have a host that falls silent noticed: a connection behind a cut cable would else hang for a quarter of an hour."""
    transport: Any = connection.transport
    sock: Any = getattr(transport, "sock", None)
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence * 1000))
    threading.Thread(target=_listen, args=(transport, silence), name="multi-pulse", daemon=True).start()


def _listen(transport: paramiko.Transport, silence: float) -> None:
    """Ask every few seconds; whoever doesn't answer in time is let go, so that what waits for it fails."""
    while transport.is_active():
        answered = threading.Event()
        asker = threading.Thread(target=_ask, args=(transport, answered), daemon=True)
        asker.start()
        if not answered.wait(silence):
            transport.close()
            return
        time.sleep(silence / 4)


def _ask(transport: paramiko.Transport, answered: threading.Event) -> None:
    with contextlib.suppress(Exception):  # the answer is no, which is one, or the connection has ended
        transport.global_request("keepalive@openssh.com", wait=True)
    answered.set()


def _shut(connection: fabric.Connection) -> None:
    with contextlib.suppress(Exception):
        connection.close()
