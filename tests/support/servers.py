"""Private servers on free ports, started by the tests themselves and gone with them.

Only the installed programs are used, never a server that already runs on the machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from support import leash
from support.wait import until

#: Databases of one Redis, and virtual hosts of one RabbitMQ: each test gets a fresh one.
REDIS_DATABASES = 512
RABBITMQ_HOSTS = 180
#: A virtual host whose queues are quorum queues where nobody says what they are.
QUORUM = "quorum"

#: Where Debian puts programs that aren't for everybody's PATH.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

_running: list[Server] = []


class NotInstalled(Exception):
    """A server's program is missing; the text says how to install it."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str, package: str, *places: str) -> str:
    """The path of a program, looked for in `places` first."""
    for place in places:
        for path in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            return str(path)
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":" + SBIN)
    if found is None:
        raise NotInstalled(f"{package} is not installed; install it with: apt-get install {package}")
    return found


def running_processes() -> set[int]:
    """The processes of all servers of this test run, which are no leftovers of a test."""
    found: set[int] = set()
    for server in _running:
        if server.process is not None:
            found |= {server.process.pid, *leash.family(server.process.pid)}
    return found


class Server:
    """One private server. `kill` and `start` again keep port and data, `stop` ends it and deletes the data."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.renew()

    def renew(self) -> None:
        """Another port, and a folder without data."""
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="multi-test-server-"))
        self.log = self.folder / "log"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command line and what it needs in its environment."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server speaks its protocol; an open port alone proves little."""
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until it answers."""
        command, environment = self.command()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", leash.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
            )
        if self not in _running:
            _running.append(self)

        def is_up() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the server did not start: {command}\n{self.log.read_text(errors='replace')}")
            return self.answers()

        until(is_up, 100, what=f"an answer of {command[0]} on port {self.port}, see {self.log}")

    def kill(self) -> None:
        """Crash it: SIGKILL for every process, the data stays."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # went with its parent
        # The leash kills what is left. Alone this is not enough: a test's forked processes hold this pipe open too.
        self.process.stdin.close()
        self.process.wait()
        self.process = None

    def pids(self) -> list[int]:
        """The server's own processes."""
        return leash.family(self.process.pid) if self.process is not None else []

    def freeze(self) -> None:
        """Let it hang: it accepts connections (the kernel does) and answers nothing until `thaw`."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it and delete its data; stop twice is fine."""
        self.kill()
        if self in _running:
            _running.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, question: bytes) -> bytes:
        """What the server says to `question` in a connection of its own; empty when it isn't there."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(question)
                return connection.recv(64)
        except OSError:
            return b""


class Redis(Server):
    """A Redis with many databases; a crash loses nothing that it had acknowledged."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.next = 0
        super().__init__()

    def command(self) -> tuple[list[str], dict[str, str]]:
        server = program("redis-server", "redis-server")
        options = f"--port {self.port} --bind 127.0.0.1 --databases {REDIS_DATABASES} --daemonize no --save"
        more = ["", "--appendonly", "yes", "--appendfsync", "no", "--dir", str(self.folder)]
        return [server, *options.split(), *more, *self.options], {}

    def answers(self) -> bool:
        # a wrong password is an answer too: the test that set one knows it
        return self.ask(b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The URL of an empty database that no other test has had (or that is emptied, once all have been used)."""
        database = self.next % REDIS_DATABASES
        if self.next >= REDIS_DATABASES:
            assert self.ask(f"SELECT {database}\r\nFLUSHDB\r\n".encode()).startswith(b"+OK")
        self.next += 1
        return self.url(database)


class RabbitMQ(Server):
    """A RabbitMQ with many virtual hosts, and an Erlang port mapper of its own that ends with it."""

    def __init__(self, hosts: int = RABBITMQ_HOSTS) -> None:
        self.hosts = hosts
        self.next = 0
        super().__init__()

    def renew(self) -> None:
        super().renew()
        self.ports = (free_port(), free_port())

    def command(self) -> tuple[list[str], dict[str, str]]:
        server = program("rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
        mapper = program("epmd", "erlang-base", "/usr/lib/erlang/erts-*/bin/epmd")
        hosts = ["/", *(f"test{number}" for number in range(self.hosts))]
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        quorum = {"name": QUORUM, "default_queue_type": "quorum", "metadata": {"default_queue_type": "quorum"}}
        definitions = {
            "users": [{"name": "guest", "password": "guest", "tags": "administrator", "limits": {}}],
            "vhosts": [*({"name": host} for host in hosts), quorum],
            "permissions": [{"user": "guest", "vhost": host, **everything} for host in (*hosts, QUORUM)],
        }
        (self.folder / "definitions.json").write_text(json.dumps(definitions))
        (self.folder / "plugins").write_text("[].\n")
        lines = (
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            "log.console = true",
            "log.console.level = warning",
            "log.file = false",
            "disk_free_limit.absolute = 50MB",
            f"load_definitions = {self.folder}/definitions.json",
        )
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        environment = {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"multi{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self.ports[0]),
            "ERL_EPMD_PORT": str(self.ports[1]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # a small node: few schedulers, which do not spin
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none +A 16",
        }
        return ["sh", "-c", f'"{mapper}" & exec "{server}"'], environment

    def remembers(self, host: str, queue: str) -> bool:
        """Whether a durable queue is on disk: the server writes declarations down about a second after it has said OK."""
        name = re.compile(re.escape(host.encode()) + b".{,32}" + re.escape(queue.encode()), re.DOTALL)
        return any(name.search(file.read_bytes()) for file in self.folder.glob("mnesia/*/*") if file.is_file())

    def answers(self) -> bool:
        return self.ask(b"AMQP\x00\x00\x09\x01").startswith(b"\x01")

    def url(self, host: str = "%2F") -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{host}"

    def fresh(self) -> str:
        """The URL of a virtual host that no other test has had."""
        if self.next == self.hosts:
            self.stop()  # used up; a new server is simpler than emptying the old one's hosts
            self.renew()
            self.start()
            self.next = 0
        self.next += 1
        return self.url(f"test{self.next - 1}")


def started(make: Callable[[], Server]) -> Server:
    """Make a server and start it; nothing is left of one that doesn't start."""
    server = make()
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server
