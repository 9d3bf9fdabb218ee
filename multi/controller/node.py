"""One node as commands see it: what is kept of it, whether it runs, and its keeper's ear."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from multi.controller.caller import caller
from multi.controller.keeper import adoption, channel, lost, proc
from multi.controller.keeper import record as keeper_record
from multi.controller.keeper import standing as life
from multi.controller.keeper.history import History
from multi.controller.keeper.owner import remove_folder
from multi.controller.places import NodePlace, NotYours, translated
from multi.controller.tail import regular
from multi.errors import NodeError
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.rundir import RunDir, held, hold

if TYPE_CHECKING:
    from multi.controller.managers.base import Unit

#: The engines whose workers hear requests; those of others are programs that may not.
OURS = ("multi", "celery", "command")
CRASHED, ORPHANED = "crashed", "orphaned"
#: Of a node of systemd's or supervisord's, when these give no answer.
UNKNOWN = "unknown"


class Status:
    """A node's state at one moment, from its locks and its keeper's record."""

    def __init__(self, state: str, record: dict[str, Any], *, is_loading: bool = False) -> None:
        self.state = state
        self.record = record
        self.is_loading = is_loading  # it has no keeper yet: a loader imports its app

    @property
    def keeper(self) -> dict[str, Any]:
        found: dict[str, Any] = self.record.get("keeper") or {}
        return found

    @property
    def keeper_pid(self) -> int:
        return int(self.keeper.get("pid", 0))

    @property
    def has_keeper(self) -> bool:
        return self.state not in (CRASHED, ORPHANED, life.STOPPED, life.FAILED, UNKNOWN)

    @property
    def is_up(self) -> bool:
        """Whether anything of the node runs."""
        return self.has_keeper or self.state == ORPHANED

    @property
    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.record.get("workers") or []
        return found

    @property
    def worker(self) -> dict[str, Any] | None:
        """The worker that does the work, or is about to."""
        return next((one for one in self.workers if one["role"] == "current"), None)

    @property
    def since(self) -> float:
        return float(self.record.get("since", 0.0))

    @property
    def message(self) -> str:
        """What the keeper has to say about the state."""
        return str(self.record.get("message") or self.record.get("text") or "")


class Node:
    """A node that has a place; it may be kept or new, running or not."""

    def __init__(self, name: NodeName, place: NodePlace) -> None:
        self.name = name
        self.place = place
        self.rundir = RunDir(place.run)
        #: what systemd or supervisord have of it, where they do
        self.unit: Unit | None = None

    def __str__(self) -> str:
        return str(self.name)

    def have(self, unit: Unit) -> None:
        """A manager runs it, or would: what its keeper writes is where that user's commands would look."""
        self.unit = unit
        if unit.places is not None:
            self.place = unit.places.node(self.place.project, str(self.name))
            self.rundir = RunDir(self.place.run)

    # ---- what is kept

    def record(self) -> dict[str, Any] | None:
        """The kept file as it is."""
        value = _read(self.place.spec_file)
        return value or None

    def spec(self) -> NodeSpec | None:
        """The kept specification, None for a node that was never started."""
        record = self.record()
        return NodeSpec.from_record(record) if record else None

    @property
    def log_file(self) -> str | None:
        """Where its lines are."""
        if self.unit is not None and self.unit.standing.is_known:
            return self.unit.log_file
        record = self.record() or {}
        return record.get("log_file")

    # ---- whether it runs

    def status(self) -> Status:
        """Its state now: as its locks and its keeper tell, or where it has none, the manager that runs it."""
        own = self._own_status()
        if self.unit is None or own.is_up:
            return own
        standing = self.unit.standing
        if standing.is_known and (standing.runs or own.state not in (life.FAILED, CRASHED)):
            return Status(standing.state, self.unit.record())
        return own

    @property
    def manager(self) -> Unit | None:
        """Its unit, where that runs it at this moment, or would when the node is started; None for a node of our own."""
        if self.unit is None:
            return None
        own = self._own_status()
        if not own.is_up:
            return self.unit
        # a manager that tries in vain to start a second one doesn't run it
        found = self.unit.standing
        is_its = not own.has_keeper or not own.keeper_pid or _descends(own.keeper_pid, found.pid)
        return self.unit if found.runs and is_its else None

    @property
    def comes_back(self) -> bool:
        """Whether somebody else gives it a new keeper, when it has lost its own."""
        if self.place.places.uid != os.geteuid():
            return True  # in that user's places nothing is done by others
        if self.unit is not None:
            return self.unit.standing.runs or bool(self.beyond)
        return bool(self.beyond)

    @property
    def beyond(self) -> str:
        """Why it can't be started or stopped from here: a manager runs it that can't be asked; "" where it can."""
        own = self._own_status()
        run_by = str(own.record.get("run_by") or "") if own.is_up else ""
        if self.unit is None:
            way = "use its supervisorctl, or name its configuration file with the variable SUPERVISORD_CONF"
            return f"{run_by} runs it, of which nothing is known here; {way}" if run_by else ""
        found = self.unit.standing
        if found.state != UNKNOWN or (own.is_up and not run_by):
            return ""
        return f"{self.unit} {'runs' if own.is_up else 'has'} it: {found.message}"

    @property
    def last_words(self) -> str:
        """Why its keeper has given up, if that is the last that is known of one."""
        own = self._own_status()
        return own.message if own.state == life.FAILED else ""

    @property
    def folder(self) -> str:
        """Its runtime directory: ours, or that which its unit gives it."""
        unit = self.manager
        return (unit.folder if unit is not None else None) or self.place.run

    @property
    def has_own_keeper(self) -> bool:
        """Whether a keeper of ours runs it, on its own account or in a manager's foreground."""
        return self._own_status().has_keeper

    def _own_status(self) -> Status:
        record = _read(self.rundir.status_file)
        state = record.get("state", life.STOPPED)
        if self._held(self.rundir.keeper_lock):
            keeper = record.get("keeper") or {}
            if keeper.get("start") != proc.start_time(keeper.get("pid", 0)) or state in (life.STOPPED, life.FAILED):
                # a new keeper that has not written yet, or one that has written its last and is about to go
                ending = keeper.get("start") == proc.start_time(keeper.get("pid", 0)) != ""
                return Status(life.STOPPING, record) if ending else Status(life.STARTING, {})
            return Status(state, record)
        if self._held(self.rundir.worker_lock) or adoption.foreign_on_record(record, proc.boot_id()):
            return Status(ORPHANED, record)
        if (loading := self._loading()) is not None:
            return loading
        if state not in (life.STOPPED, life.FAILED):
            return Status(CRASHED, {**record, "workers": []})
        return Status(state, record)

    def _loading(self) -> Status | None:
        """While a loader is about to start it."""
        record = keeper_record.read(self.rundir.loading)
        loader = record.get("keeper")
        if not loader or loader["boot"] != proc.boot_id() or loader["start"] != proc.start_time(loader["pid"]):
            return None
        return Status(life.STARTING, record, is_loading=True)

    def take_from_loader(self) -> bool:
        """Have the node started by no loader; False when one has it in hand already, or none was to."""
        try:
            os.unlink(self.rundir.loading)
        except FileNotFoundError:
            return False
        return True

    def _held(self, path: str) -> bool:
        try:
            return held(path)
        except PermissionError as error:
            raise NotYours(f"{self} is not yours: {path} can't be opened; run multi as its owner") from error

    def keeper_fd(self, status: Status) -> int:
        """A descriptor that becomes readable when the keeper of `status` ends; -1 when it has ended."""
        keeper = status.keeper
        if not keeper or keeper.get("boot") != proc.boot_id():
            return -1
        return proc.open_identified(keeper["pid"], keeper["start"])

    def ask(self, request: str, **fields: object) -> bool:
        """Send its keeper a request, with who makes it; False when no keeper listens."""
        address = channel.address(self.rundir.notify_socket)
        lines = [
            channel.HELLO,
            f"request={request}",
            *(f"{key}={value}" for key, value in {"by": caller(), **fields}.items() if value is not None),
        ]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)
            except PermissionError as error:
                raise NotYours(f"{self} is not yours: its keeper takes no requests from you") from error
            except OSError:
                return False
        return True

    # ---- changing what is kept

    def put(self, record: dict[str, Any]) -> str:
        """Write a new specification beside the kept one; its keeper puts it in place once it has the node."""
        path = f"{self.place.spec_file}.{os.getpid()}"
        with translated(self.place.spec_file):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                with open(fd, "w", encoding="utf-8") as file:
                    json.dump(record, file, indent=1)
                    file.write("\n")
            except BaseException as error:
                if os.path.exists(path):
                    os.unlink(path)
                if isinstance(error, OSError):
                    error.filename = self.place.spec_file  # nobody knows the temporary one
                raise
        return path

    def settle_stopped(self) -> None:
        """Put on record that a node without processes was stopped by its user, not just found dead."""
        lock = hold(self.rundir.keeper_lock)
        if lock is None:
            return  # somebody starts it at this moment
        try:
            record = _read(self.rundir.status_file)
            if record.get("state", life.STOPPED) == life.STOPPED or held(self.rundir.worker_lock):
                return
            if adoption.foreign_on_record(record, proc.boot_id()):
                return
            pid = (record.get("keeper") or {}).get("pid")
            lost.note(self.place.kept, self.place.run, record, proc.boot_id())
            was = "given up" if record["state"] == life.FAILED else "gone"
            History(self.place.kept).add("stopping", was=was, by=caller())
            with translated(self.place.run):
                keeper_record.write(
                    self.rundir.status_file,
                    {**record, "state": life.STOPPED, "since": time.time(), "workers": [], "message": "", "text": ""},
                )
                _remove_pidfile(record.get("pidfile"), pid)
        finally:
            os.close(lock)

    def forget(self) -> None:
        """Remove what is kept of it. Its log stays; so do the two locks, which a keeper that starts at this very moment may
        have opened."""
        if self.unit is not None:
            raise NodeError(
                f"{self} is run by {self.unit}; to have it taken out: multi disable {self.name.short} --now"
            )
        with translated(self.place.run):
            lock = hold(self.rundir.keeper_lock) if os.path.isdir(self.place.run) else -1
        runs = self._held(self.rundir.worker_lock) or adoption.foreign_on_record(
            _read(self.rundir.status_file), proc.boot_id()
        )
        if lock is None or runs:
            if lock is not None:
                os.close(lock)
            raise NodeError(f"{self} runs: stop it first, with multi stopwait {self.name.short}")
        try:
            with translated(self.place.kept):
                for name in os.listdir(self.place.kept):
                    os.unlink(os.path.join(self.place.kept, name))
                os.rmdir(self.place.kept)
                for name in os.listdir(self.place.run) if lock >= 0 else ():
                    path = os.path.join(self.place.run, name)
                    if path == self.rundir.own:
                        remove_folder(self.place.run)
                    elif path not in (self.rundir.keeper_lock, self.rundir.worker_lock):
                        os.unlink(path)
        finally:
            if lock >= 0:
                os.close(lock)


def _descends(pid: int, other: int) -> bool:
    """Whether a process is `other`, or one of its descendants."""
    while pid > 1 and other:
        if pid == other:
            return True
        fields = proc.stat(pid)
        pid = int(fields[1]) if fields else 0
    return False


def engine_of(node: Node, status: Status) -> str:
    """The engine that its worker is of: as that says, else as it was started."""
    return str(status.record.get("engine") or (node.record() or {}).get("engine") or "multi")


def _remove_pidfile(path: str | None, pid: object) -> None:
    try:
        if path is not None:
            with open(path, opener=regular) as file:
                is_ours = file.read(32).strip() == str(pid)
            if is_ours:
                os.unlink(path)
    except (OSError, ValueError):
        pass  # gone already, or not ours


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise NotYours(f"{path} can't be read: it belongs to another user; run multi as that user") from error
    except (OSError, ValueError) as error:
        raise NodeError(f"{path} can't be read: {error}; define the node anew with: multi start … -A …") from error
    if not isinstance(value, dict):
        raise NodeError(f"{path} holds no node; define the node anew with: multi start … -A …")
    return value
