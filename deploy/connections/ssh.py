"""A session with one host: commands and files over one SSH connection, each on a channel of its own."""

from __future__ import annotations

import codecs
import contextlib
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from multi.deploy.base import Result
from multi.deploy.connections import scripts
from multi.deploy.steps import Build, Command, File, Link, Remove, Restore, Upload
from multi.errors import ConfigurationError, DeployError, HostUnreachable, StepFailed

if TYPE_CHECKING:
    import fabric
    import paramiko

    from multi.deploy.base import Sent
    from multi.deploy.hosts.inventory import Host
    from multi.deploy.releases.source import Source
    from multi.deploy.steps import Secret

#: Of the output of one command so much is kept: its beginning and its end.
KEPT = 4 * 1024 * 1024
#: The exit code of what took too long, as timeout(1) has it.
TIMED_OUT = 124
_BLOCK = 256 * 1024
_LINGER = 1.0  # for output that still comes after the end of the program, from what it left in the background
_TICK = 0.2


class SshSession:
    """One host. `login` is whom we are there."""

    def __init__(
        self,
        host: Host,
        connection: fabric.Connection,
        *,
        sudo_password: Secret | None = None,
        source: Source | None = None,
        is_ours: bool = True,
    ) -> None:
        self.host = host
        self.login = str(connection.user)
        self._connection = connection
        self._is_ours = is_ours
        self._password = sudo_password
        self._source = source
        self._sudo: tuple[str, ...] | None = None

    @property
    def is_alive(self) -> bool:
        transport = self._connection.transport
        return transport is not None and bool(transport.is_active())

    def close(self) -> None:
        """End the connection, unless it is somebody else's."""
        if self._is_ours:
            gateway = self._connection.gateway
            with contextlib.suppress(Exception):
                self._connection.close()
            if gateway is not None and not isinstance(gateway, str):
                with contextlib.suppress(Exception):
                    gateway.close()

    # ---- commands

    def run(self, command: Command, say: Callable[[str], None] | None = None) -> Result:
        """Run it to its end. A code of None says that the way was cut; `TIMED_OUT` that it took too long."""
        line, prefix = self._line(command)
        feed = [prefix, command.stdin or b""]
        try:
            return self._exec(line, feed, command.timeout, say)
        except HostUnreachable as error:
            return Result(None, "", error.reason)

    def put(self, file: File) -> None:
        content = file.content
        words = (file.path, str(len(content)), f"{file.mode:o}", file.owner or "", file.backup or "")
        self._script(f"write {file.path}", scripts.PUT, words, sudo=file.sudo, stdin=content)

    def restore(self, restore: Restore) -> None:
        words = (restore.path, restore.backup)
        self._script(f"restore {restore.path}", scripts.RESTORE, words, sudo=restore.sudo)

    def remove(self, remove: Remove) -> None:
        words = (remove.path, remove.backup or "")
        self._script(f"remove {remove.path}", scripts.REMOVE, words, sudo=remove.sudo, user=_user(remove.owner))

    def link(self, link: Link) -> None:
        words = (link.path, link.target or "")
        self._script(f"link {link.path}", scripts.LINK, words, user=_user(link.owner))

    def build(self, build: Build, say: Callable[[str], None] | None = None) -> Result:
        """Make the environment; its path is there when it is complete, and only then."""
        words = (build.path, build.python, build.installer, build.requirements or "", build.wheel or "")
        argv = ("sh", "-c", scripts.BUILD, "multi-build", *words)
        return self.run(Command(argv, user=_user(build.owner)), say)

    def send(self, upload: Upload, sent: Sent | None = None) -> None:
        """Put the source of the release there, with what is there already taken from `base`."""
        if self._source is None:
            raise DeployError("there is no source to be uploaded")
        title, user = f"upload {upload.release}", _user(upload.owner)
        known, other = self._known(title, upload.base, user) if upload.base else ({}, set())
        entries = self._source.entries
        same = {path for path, entry in known.items() if path not in other and entries.get(path) == entry}
        missing = [path for path in entries if path not in same]
        gone = sorted(({*known} | other) - same) if same else []
        drop = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in gone)
        words = (upload.into, (upload.base or "") if same else "", str(len(drop)))
        total = sum(entries[path].size for path in missing)

        def chunks() -> Iterator[bytes]:
            yield drop
            assert self._source is not None
            done = 0
            for chunk in self._source.tar(missing):
                yield chunk
                done += len(chunk)
                if sent is not None:
                    sent(min(done, total), total)

        argv = ("sh", "-c", scripts.RECEIVE, "multi-receive", *words)
        line, prefix = self._line(Command(argv, user=user))
        result = self._exec(line, _chain(prefix, chunks()), None, None)
        if not result.ok:
            raise StepFailed(self.host.name, title, f"exit code {result.code}", result.tail)

    def _known(self, title: str, base: str, user: str | None) -> tuple[dict[str, Any], set[str]]:
        """What the release at `base` was made of, and what in its folder is other than that by now."""
        from multi.deploy.releases.source import read_manifest

        result = self.run(Command(("sh", "-c", scripts.LOOK, "multi-look", base), user=user))
        if result.code is None:
            raise HostUnreachable(self.host.name, f"{title}: {result.err}")
        head, _, tail = result.out.partition("\n\n")
        if not result.ok or not head:
            return {}, set()
        changed = {line[2:] for line in tail.splitlines() if line.startswith("./")}
        return read_manifest(head), changed

    def _script(
        self,
        title: str,
        script: str,
        words: tuple[str, ...],
        *,
        sudo: bool = False,
        user: str | None = None,
        stdin: bytes | None = None,
    ) -> None:
        command = Command(("sh", "-c", script, "multi", *words), sudo=sudo, user=user, stdin=stdin)
        result = self.run(command)
        if result.code is None:
            raise HostUnreachable(self.host.name, f"{title}: {result.err}")
        if not result.ok:
            raise StepFailed(self.host.name, title, f"exit code {result.code}", result.tail)

    # ---- as somebody else

    def _line(self, command: Command) -> tuple[str, bytes]:
        """The line for the shell there, and what comes before the command's own input."""
        needs_sudo = self.login != "root" and (command.user or ("root" if command.sudo else self.login)) != self.login
        if not needs_sudo:
            return command.line(login=self.login, reveal=True), b""
        if self._sudo is None:
            self._sudo = self._how_to_sudo()
        if self._sudo[1] == "-n" or self._password is None:
            return command.line(login=self.login, sudo=self._sudo, reveal=True), b""
        # sudo reads the password only where it wants one; the mark tells where the command's own input begins
        mark = uuid.uuid4().hex
        wrapped = command._replace(argv=("sh", "-c", scripts.SKIP, mark, *command.argv))
        prefix = f"{self._password.reveal()}\n{mark}\n".encode()
        return wrapped.line(login=self.login, sudo=self._sudo, reveal=True), prefix

    def _how_to_sudo(self) -> tuple[str, ...]:
        """Without a password where that works, or where none was given."""
        without, with_one = ("sudo", "-n"), ("sudo", "-k", "-S", "-p", "")
        if self._password is None:
            return without
        if self._exec("sudo -n true", [], 30.0, None).ok:
            return without
        tried = self._exec("sudo -k -S -p '' true", [f"{self._password.reveal()}\n".encode()], 30.0, None)
        if not tried.ok:
            raise StepFailed(
                self.host.name,
                "sudo",
                f"the password is not taken for {self.login}, or sudo is not allowed",
                tried.tail,
            )
        return with_one

    # ---- channels

    def _exec(
        self, line: str, feed: Iterable[bytes], timeout: float | None, say: Callable[[str], None] | None
    ) -> Result:
        """Run a line of shell; raises `HostUnreachable` when the way is cut."""
        channel = self._channel()
        try:
            with self._told("the connection was cut"):
                channel.exec_command(line)
            trouble: list[DeployError] = []
            writer = threading.Thread(target=_write, args=(channel, feed, trouble), daemon=True)
            writer.start()
            output = _Output(say)
            deadline = None if timeout is None else time.monotonic() + timeout
            is_over = self._read(channel, output, deadline)
            if not is_over:
                out, err = output.finish()
                word = f"it took longer than {timeout:g} s, and may still run there"
                return Result(TIMED_OUT, out, f"{err.rstrip()}\n{word}".lstrip())
            if trouble:
                raise trouble[0]
            code = channel.recv_exit_status()
            out, err = output.finish()
            if code == -1:
                if not self.is_alive:
                    raise HostUnreachable(
                        self.host.name, "the connection was cut while a command ran; it may have been done or not"
                    )
                return Result(255, out, err or "ended by a signal")
            return Result(code, out, err)
        finally:
            with contextlib.suppress(Exception):
                channel.close()

    def _channel(self) -> paramiko.Channel:
        transport = self._connection.transport
        if transport is None or not transport.is_active():
            raise HostUnreachable(self.host.name, "the connection was cut")
        with self._told("no further command can be run there"):
            return transport.open_session(timeout=30)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        import paramiko

        try:
            yield
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise HostUnreachable(self.host.name, f"{what} ({error or type(error).__name__})") from None

    def _read(self, channel: Any, output: _Output, deadline: float | None) -> bool:
        """Read until the program has ended and all that it has said is here; False when the time is up."""
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        ended: float | None = None
        while True:
            got = False
            while channel.recv_ready():
                output.add(0, channel.recv(_BLOCK))
                got = True
            while channel.recv_stderr_ready():
                output.add(1, channel.recv_stderr(_BLOCK))
                got = True
            now = time.monotonic()
            if got:
                continue
            if channel.exit_status_ready():
                ended = ended or now
                if channel.closed or channel.eof_received or now - ended > _LINGER:
                    return True
            if deadline is not None and now > deadline:
                return False
            if channel.eof_received:
                channel.status_event.wait(_TICK)
                if not self.is_alive:
                    return True
            else:
                poll.poll(int(_TICK * 1000))


def _chain(prefix: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield prefix
    yield from chunks


def _write(channel: Any, feed: Iterable[bytes], trouble: list[DeployError]) -> None:
    """Send the input and say that it is over. A program doesn't have to read it to its end; its exit code tells."""
    try:
        for chunk in feed:
            view = memoryview(chunk)
            while view:
                view = view[channel.send(view[:_BLOCK]) :]
        channel.shutdown_write()
    except DeployError as error:  # what is to be sent can't be read
        trouble.append(error)
        channel.close()
    except Exception:
        pass  # the channel is closed: its reader tells why


def _user(owner: str | None) -> str | None:
    """The user of "user:group"."""
    return owner.partition(":")[0] if owner else None


class _Output:
    """What a command says: told line by line, and kept, but for the middle of what is very long."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self._say = say
        self._decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in range(2)]
        self._parts: tuple[list[str], list[str]] = ([], [])
        self._sizes = [0, 0]
        self._rest = ["", ""]

    def add(self, stream: int, data: bytes) -> None:
        text = self._decoders[stream].decode(data)
        self._parts[stream].append(text)
        self._sizes[stream] += len(text)
        if self._sizes[stream] > KEPT and len(self._parts[stream]) > 2:
            whole = "".join(self._parts[stream])
            half = KEPT // 4
            self._parts[stream][:] = [whole[:half], "\n…\n", whole[-half:]]
            self._sizes[stream] = 2 * half
        if self._say is not None:
            *lines, self._rest[stream] = (self._rest[stream] + text).split("\n")
            for line in lines:
                self._say(line.rstrip("\r"))

    def finish(self) -> tuple[str, str]:
        for rest in self._rest:
            if rest and self._say is not None:
                self._say(rest)
        return "".join(self._parts[0]), "".join(self._parts[1])


def wrap(connection: fabric.Connection, host: Host) -> SshSession:
    """A session on somebody's own open connection, which stays theirs."""
    if not connection.is_connected:
        raise ConfigurationError(f"{host.name}: the connection is not open; call its open() first")
    return SshSession(host, connection, is_ours=False)
