"""Nodes that supervisord runs, through its XML-RPC interface."""

from __future__ import annotations

import http.client
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy

from multi.controller import places
from multi.controller.keeper import proc
from multi.controller.keeper.standing import BACKOFF, FAILED, RUNNING, STARTING, STOPPED, STOPPING
from multi.controller.managers import config_file
from multi.controller.managers.base import GONE, Errand, ManagerDown, ManagerError, ManagerSilent, Standing, Unit
from multi.controller.places import Places
from multi.controller.watch import Watch
from multi.errors import ConfigurationError, MultiError

if TYPE_CHECKING:
    from collections.abc import Callable

_STATES = {
    "STOPPED": STOPPED,
    "STARTING": STARTING,
    "RUNNING": RUNNING,
    "BACKOFF": BACKOFF,
    "STOPPING": STOPPING,
    "EXITED": STOPPED,
    "FATAL": FAILED,
    "UNKNOWN": FAILED,
}
_PATIENCE = 10.0  # for an answer
_GRUDGE = 30.0  # for so long one that gave no answer is not asked again
_REAPING = 5.0  # how long supervisord may take to notice that a process has ended
_LOOK = 0.01
#: supervisord's faults, by their numbers.
_BAD_NAME, _ALREADY_STARTED, _NOT_RUNNING, _STILL_RUNNING, _ALREADY_ADDED, _CANT_REREAD = 10, 60, 70, 91, 90, 92


class Supervisord:
    """One supervisord, at the address `url` (unix:///… or http://…)."""

    def __init__(
        self, url: str, username: str | None = None, password: str | None = None, config: str | None = None
    ) -> None:
        self.url = url
        self.config = config  # its configuration file, where that is known
        self._username = username
        self._password = password
        self._proxy: Any = None
        self._transport: Any = None
        self._silent_since = -_GRUDGE

    @classmethod
    def from_file(cls, path: str) -> Supervisord:
        """The one that runs with this configuration file."""
        values = config_file.read(path)
        for section, key in (
            ("supervisorctl", "serverurl"),
            ("unix_http_server", "file"),
            ("inet_http_server", "port"),
        ):
            address = values.get(section, {}).get(key)
            if not address:
                continue
            login = values["supervisorctl" if section == "supervisorctl" else section]
            return cls(config_file.url(section, address), login.get("username"), login.get("password"), path)
        raise ManagerError(
            f"{path} gives supervisord no socket, so nobody can ask it anything; add a section [unix_http_server] with "
            "file=… and chmod=0700"
        )

    # ---- its interface

    def call(self, name: str, *arguments: object) -> Any:
        """Call a method of its interface; a `Fault` when it refuses, a `ManagerError` when it can't be reached."""
        if time.monotonic() - self._silent_since < _GRUDGE:
            raise ManagerSilent(
                f"supervisord at {self.url} gives no answer"
            )  # who was waited for once is not asked again
        if not self.url:
            self.url = self.from_file(self.config or "").url  # says what is wrong with its file
        if self._proxy is None:
            self._transport = self._connector()
            self._proxy = ServerProxy("http://127.0.0.1", transport=self._transport, use_builtin_types=True)
        method = self._proxy
        for part in name.split("."):
            method = getattr(method, part)
        try:
            return method(*arguments)
        except FileNotFoundError:
            raise ManagerDown(f"supervisord does not run: there is no socket {self.url}") from None
        except PermissionError:
            raise ManagerError(
                f"supervisord can't be asked: no permission for {self.url}; run multi as the user who owns it"
            ) from None
        except ConnectionRefusedError:
            raise ManagerDown(f"supervisord does not run: nobody listens at {self.url}") from None
        except TimeoutError:
            self.close()  # a late answer would be taken for that of the next question
            self._silent_since = time.monotonic()
            raise ManagerSilent(f"supervisord at {self.url} gives no answer within {_PATIENCE:g} s") from None
        except ProtocolError as error:
            if error.errcode == 401:
                raise ManagerError(
                    f"supervisord at {self.url} wants another user name or password; they stand in [supervisorctl] "
                    "of its configuration file"
                ) from None
            raise ManagerError(f"supervisord at {self.url} answers with {error.errcode} {error.errmsg}") from None
        except (OSError, http.client.HTTPException) as error:
            raise ManagerError(f"supervisord at {self.url} can't be asked: {error}") from None

    def _connector(self) -> Any:
        try:
            from supervisor.xmlrpc import SupervisorTransport
        except ImportError:
            raise ConfigurationError(
                "speaking to supervisord needs the package supervisor: pip install 'multi-workers[supervisor]'"
            ) from None
        transport = SupervisorTransport(self._username, self._password, self.url)
        transport._get_connection = _patient(transport._get_connection)  # its own would wait for ever
        return transport

    def close(self) -> None:
        """Give the connection back; the next call makes another one."""
        if self._transport is not None:
            self._transport.close()

    def processes(self) -> list[dict[str, Any]]:
        """All its processes."""
        found: list[dict[str, Any]] = self.call("supervisor.getAllProcessInfo")
        return found

    def process(self, name: str) -> dict[str, Any] | None:
        """One of them, by GROUP:NAME; None where there is none."""
        try:
            found: dict[str, Any] = self.call("supervisor.getProcessInfo", name)
        except Fault as fault:
            if fault.faultCode == _BAD_NAME:
                return None
            raise refusal(fault) from None
        return found

    def reread(self) -> tuple[list[str], list[str], list[str]]:
        """Have it read its files anew; the groups that are new, changed and gone. Nothing is done to them yet."""
        try:
            ((added, changed, removed),) = self.call("supervisor.reloadConfig")
        except Fault as fault:
            raise refusal(fault) from None
        return list(added), list(changed), list(removed)

    def remove(self, group: str) -> None:
        """Take out a group whose processes are all down."""
        try:
            self.call("supervisor.removeProcessGroup", group)
        except Fault as fault:
            if fault.faultCode != _BAD_NAME:
                raise refusal(fault) from None

    def add(self, group: str) -> None:
        """Put in a group as its files describe it; what is to start by itself does."""
        try:
            self.call("supervisor.addProcessGroup", group)
        except Fault as fault:
            if fault.faultCode != _ALREADY_ADDED:
                raise refusal(fault) from None


class Sent(Errand):
    """Something that was sent to supervisord; `fd` tells of the end of the process that it was for."""

    def __init__(self, pid: int) -> None:
        start = proc.start_time(pid) if pid else ""
        self.fd = proc.open_identified(pid, start) if start else -1
        if self.fd < 0:
            self.fd = os.eventfd(1, os.EFD_CLOEXEC)  # there is no process: it is time to look at once


class SupervisordUnit(Unit):
    """One program of supervisord's that runs a node; its id is GROUP:NAME."""

    manager = "supervisord"

    def __init__(self, supervisord: Supervisord, id: str, node: str, aside: str = "") -> None:
        super().__init__(id, node)
        self.supervisord = supervisord
        #: the folder of files that it was started with, and is not to be started with again
        self.aside = aside
        self._log: str | None = None
        #: whether its files have changed, so that it is to be put in anew before it is started
        self.is_new = False

    def ask(self) -> None:
        if len(self.roster) == 1:
            found = self.supervisord.process(self.id)
            self.noted(found)
            return
        said = {name_of(values): values for values in self.supervisord.processes()}
        for one in self.roster:
            assert isinstance(one, SupervisordUnit)
            one.noted(said.get(one.id))

    def noted(self, values: dict[str, Any] | None) -> None:
        """What supervisord says of the process, in our words."""
        if values is None:
            self.told(GONE)
            return
        self._log = values.get("stdout_logfile") or None
        self.told(standing(values))

    @property
    def log_file(self) -> str | None:
        _ = self.standing
        return self._log

    @property
    def places(self) -> Places | None:
        if self.supervisord.config is None:
            return None
        group, _, node = self.id.rpartition(":")
        project = group or node.removesuffix(f"-{self.node}")
        name = f"multi-{project}.{self.node}.conf"
        try:
            paths = config_file.files(self.supervisord.config)
        except (ManagerError, ConfigurationError):
            paths = []  # which is told where it is asked how the node is
        paths.append(os.path.join(self.aside, name))
        return next((_places(path) for path in paths if os.path.basename(path) == name and os.path.exists(path)), None)

    @property
    def group(self) -> str:
        """The group that it is in."""
        return self.id.partition(":")[0]

    def start(self) -> Errand | None:
        if self.is_new:
            self.supervisord.remove(self.group)
            self.supervisord.add(self.group)
            self.is_new = False
        try:
            self.supervisord.call("supervisor.startProcess", self.id, False)
        except Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise refusal(fault) from None
        self.forget()
        return None

    def stop(self) -> Errand:
        found = self.standing
        errand = Sent(found.pid)
        try:
            self.supervisord.call("supervisor.stopProcess", self.id, False)
        except Fault as fault:
            errand.close()
            if fault.faultCode != _NOT_RUNNING:
                raise refusal(fault) from None
            errand = Sent(0)
        self.forget()
        return errand

    def send(self, number: int) -> None:
        try:
            self.supervisord.call("supervisor.signalProcess", self.id, str(int(number)))
        except Fault as fault:
            if fault.faultCode != _NOT_RUNNING:
                raise refusal(fault) from None

    def reload(self) -> Errand:
        raise ManagerError(
            f"supervisord watches one process, and a reload puts another in its place; restart it: multi restart {self.node}"
        )

    def is_over(self, errand: Errand, watch: Watch) -> bool:
        """Whether supervisord, too, has noticed that the process has ended."""
        deadline = time.monotonic() + _REAPING
        while time.monotonic() < deadline:
            found = self.look()
            if not found.runs:
                return True
            if found.pid and found.state != STOPPING:
                return True  # somebody has had it started again
            select.select([], [], [], _LOOK)
        raise ManagerError(f"supervisord has not noticed for {_REAPING:g} s that {self.id} has ended; see its log")


def name_of(values: dict[str, Any]) -> str:
    """How a process of supervisord's is called: by its name alone, where its group is just for it."""
    group, name = str(values["group"]), str(values["name"])
    return name if group == name else f"{group}:{name}"


def _places(path: str) -> Places | None:
    """Where the keeper that the file at `path` has supervisord run has its things; None where it is no keeper of another
    user's, or where that can't be told."""
    import pwd
    import shlex

    try:
        sections = config_file.read(path)
        values = next(sections[one] for one in sections if one.startswith("program:"))
        words = shlex.split(values.get("command", ""))
        owner = pwd.getpwnam(values["user"])
        if owner.pw_uid == os.geteuid() or "--foreground" not in words:
            return None
        state_dir = next((word.partition("=")[2] for word in words if word.startswith("--state-dir=")), None)
        given = config_file.variables(values)
        home = given.get("HOME") or owner.pw_dir
        return places.of_user(owner.pw_uid, home, given, state_dir, values.get("directory") or home)
    except (MultiError, StopIteration, ValueError, KeyError):
        return None  # not to be read, or not to be trusted: what supervisord says has to do


def standing(values: dict[str, Any]) -> Standing:
    """What supervisord says of a process, in our words."""
    name = str(values.get("statename"))
    state = _STATES.get(name, FAILED)
    end = int(values.get("exitstatus") or 0)
    message = str(values.get("spawnerr") or "")
    if name == "EXITED" and end:
        state, message = FAILED, f"it ended with exit status {end}, and supervisord doesn't start it again"
    elif state == BACKOFF:
        message = message or "it ended too soon after its start; supervisord tries again"
    elif name == "FATAL":
        message = f"supervisord has given it up: {message or 'it ended too often too soon after its start'}"
    when = float(values.get("start" if state in (RUNNING, STARTING, STOPPING) else "stop") or 0)
    return Standing(state, int(values.get("pid") or 0), when, message)


def refusal(fault: Fault) -> ManagerError:
    """A fault of supervisord's, as an error that tells what is wrong."""
    kind, _, detail = str(fault.faultString).partition(": ")
    said = {
        _CANT_REREAD: "its files can't be read",
        _STILL_RUNNING: "processes of the group still run",
        _BAD_NAME: "it knows no such program",
    }.get(int(fault.faultCode), kind.lower().replace("_", " "))
    return ManagerError(f"supervisord refuses: {said}{f' ({detail})' if detail else ''}")


def _patient(connect: Callable[[], Any]) -> Callable[[], Any]:
    def opened() -> Any:
        connection = connect()
        connection.connect()
        sock: socket.socket = connection.sock
        sock.settimeout(_PATIENCE)
        return connection

    return opened
