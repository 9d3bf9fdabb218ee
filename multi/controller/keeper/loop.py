"""The keeper's loop: it sleeps until a signal, a message, an end or a time, and does the step that follows."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import select
import struct
import time

from . import libc, pidfile, proc, record, requests
from .channel import Channel
from .logfile import PAUSE
from .node import Node, try_lock
from .standing import FAILED, RELOADING, STOPPED, STOPPING, Unusable
from .worker import Worker, ended

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TRIES, _PAUSE = 20, 0.002
_ROUNDS = 8  # of looking for what is left of a session: each generation of it may just be starting another
#: The head of a signalfd_siginfo: number, and from whom.
_SIGINFO = struct.Struct("<IiiII")
_SIGINFO_SIZE = 128

_STOP = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT)
_PASS_ON = (_signal.SIGUSR1, _signal.SIGTTIN, _signal.SIGTTOU)
_FROM_OTHERS = (*_STOP, *_PASS_ON, _signal.SIGHUP, _signal.SIGUSR2)
_HANDLED = (*_FROM_OTHERS, _signal.SIGCHLD)


def lock(fd: int) -> bool:
    # a command that looks whether the node is running holds the lock for an instant
    for _ in range(_TRIES):
        if try_lock(fd):
            return True
        time.sleep(_PAUSE)
    return False


class Keeper:
    """Turns what happens into the node's steps."""

    def __init__(self, node: Node, channel: Channel) -> None:
        self.node = node
        self.channel = channel
        self.on_terminal = os.isatty(0)
        self.poll = select.poll()
        self.wakeup, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.mailbox = -1  # signals with their senders, where the system can tell
        self.sweeping: dict[int, tuple[Worker, os.waitid_result | None]] = {}
        self.started_by = os.environ.pop("MULTI_BY", "")
        node.run_by = os.environ.pop("MULTI_RUN_BY", "")

    def prepare(self) -> None:
        """Everything that can fail, before anybody is told that the node has a keeper."""
        node = self.node
        node.address = self.channel.address
        node.keeper = {"pid": os.getpid(), "start": proc.start_time(os.getpid()), "boot": node.boot}
        _signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in _HANDLED:
            _signal.signal(number, _ignore)
        self.mailbox = libc.signalfd(_FROM_OTHERS)
        if self.mailbox >= 0:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, _FROM_OTHERS)
            self.poll.register(self.mailbox, select.POLLIN)
        libc.become_subreaper()
        libc.set_name(f"multi:{node.name.partition('@')[0]}")
        for fd in (self.wakeup, self.channel.fileno()):
            self.poll.register(fd, select.POLLIN)
        if node.log.watch_fd >= 0:
            self.poll.register(node.log.watch_fd, select.POLLIN)
        self._look_later()
        before = record.read(f"{node.rundir}/status.json")
        if node.spec.get("pidfile"):
            try:
                self._pidfile(lambda path: pidfile.claim(path, _known(node.rundir, before, node.boot)))
            except OSError as error:
                path = node.spec["pidfile"]
                raise Unusable(
                    f"the pid file {path} can't be written: {error.strerror}; name another with --pidfile"
                ) from None
        node.has_lock = lock(node.lock)
        node.generation = before.get("generation", 0)
        node.engine = before.get("engine", "")
        if os.path.exists(f"{node.kept}/paused.json"):
            from . import pause

            node.paused = pause.load(node.kept)
        if node.spec.get("hooks"):
            from .hooks import Hooks

            node.hooks = Hooks(node)
        if not node.has_lock or os.path.exists(f"{node.rundir}/adopt.json") or _has_foreign(before):
            from . import adoption

            adoption.adopt(node)
            for one in node.workers:
                self.poll.register(one.pidfd, select.POLLIN)
        if not node.workers and before.get("state", STOPPED) not in (STOPPED, FAILED):
            from . import lost

            lost.note(node.kept, node.rundir, before, node.boot)
            # in the log it also parts what was said before from what the next worker says without a time
            node.log.say(
                "WARNING", f"{node.name}: it was found gone without a word; multi why {node.name.partition('@')[0]}"
            )
        alive = {str(one.generation) for one in node.workers}
        for folder in {node.rundir, node.files}:
            _clean_up(folder, alive)
        node.write(must=True)  # nobody would ever learn of a node that can't say how it is

    def _pidfile(self, action: Callable[[str], None]) -> None:
        path = self.node.spec["pidfile"]
        if self.node.owner is None:
            action(path)
            return
        from . import owner

        with owner.Acting(self.node.owner, path):
            action(path)

    def run(self) -> int:
        """The loop."""
        node = self.node
        if not node.workers:
            node.start(by=self.started_by)
        elif node.inherited is not None:
            node.inherited.drop()
        if node.run_by and not all(one.is_child for one in node.workers):
            if node.state == STOPPING:
                # its keeper was killed while it finished its tasks, and whoever runs us has started the node again
                node.state, node.replacing = RELOADING, True
                node.write()
            else:
                # whoever read what it says did so for the keeper that is gone; a write to nobody is an error in its tasks
                node.hup(reason="what it writes has no reader any more")
        if node.log.path is not None:
            # whoever started us has read so far; from here on the log is the place for what we say
            os.dup2(node.log.fd, 1)
            os.dup2(node.log.fd, 2)
        while node.done is None:
            self._turn()
        if node.spec.get("pidfile"):
            try:
                self._pidfile(pidfile.release)
            except OSError:
                pass  # somebody was quicker
        if node.hooks is not None:
            node.hooks.last()
        self.channel.close()
        return node.done

    def _turn(self) -> None:
        node = self.node
        timeout = None
        if node.timers:
            timeout = max(0.0, min(node.timers.values()) - time.monotonic()) * 1000 + 1
        ready = {fd for fd, _ in self.poll.poll(timeout)}
        if self.channel.fileno() in ready:
            # before the ends: what a worker said last is worth hearing
            self._hear()
        if self.wakeup in ready:
            for number in os.read(self.wakeup, 4096):
                if number == _signal.SIGCHLD:
                    self._reap()
                else:
                    self._signalled(number)
        if self.mailbox in ready:
            self._read_mailbox()
        if node.log.watch_fd in ready:
            self.poll.unregister(node.log.watch_fd)
            node.timers["log"] = time.monotonic() + PAUSE
        for one in [*node.workers]:
            if not one.is_child and one.pidfd in ready:
                self.poll.unregister(one.pidfd)
                self._sweep(one, None)
        for pid in [*self.sweeping]:
            if pid in self.sweeping:
                self._swept(*self.sweeping[pid])
        now = time.monotonic()
        for timer in [name for name, due in node.timers.items() if due <= now]:
            node.timers.pop(timer, None)
            self._due(timer)

    def _due(self, timer: str) -> None:
        node = self.node
        if timer == "start":
            node.start()
        elif timer in ("quit", "kill"):
            node.climb(timer)
        elif timer == "log":
            if node.log.look():
                node.tell(_signal.SIGUSR2)
            if node.log.watch_fd >= 0:
                self.poll.register(node.log.watch_fd, select.POLLIN)
            self._look_later()
        elif timer.startswith("alive."):
            for one in node.workers:
                if f".{one.generation}" == timer[5:] and one.pid not in self.sweeping:
                    node.was_ready(one)
        elif timer.startswith("hook.") and node.hooks is not None:
            node.hooks.late(int(timer[5:]))
        else:
            from . import watching

            watching.due(node, timer)

    def _look_later(self) -> None:
        """Look at the log at the time at which it wants that, even if nobody writes to it."""
        if self.node.log.pause is not None:
            self.node.timers["log"] = time.monotonic() + self.node.log.pause

    def _hear(self) -> None:
        while (message := self.channel.receive()) is not None:
            if not message.is_request:
                requests.heard(self.node, message)
            elif message.may_command and self.node.done is None:
                requests.asked(self.node, message)

    def _read_mailbox(self) -> None:
        try:
            data = os.read(self.mailbox, 16 * _SIGINFO_SIZE)
        except BlockingIOError:
            return
        for at in range(0, len(data), _SIGINFO_SIZE):
            number, _, _, pid, uid = _SIGINFO.unpack_from(data, at)
            self._signalled(number, pid, uid)

    def _signalled(self, number: int, pid: int = 0, uid: int = 0) -> None:
        node = self.node
        by = requests.signalled(number, pid, uid)
        if node.done is not None:
            return
        if number in _STOP:
            node.stop(number, by=by)
        elif number == _signal.SIGHUP and self.on_terminal:
            node.stop(_signal.SIGTERM, by="its terminal, which has been closed")
        elif number == _signal.SIGHUP:
            node.hup(by)
        elif number == _signal.SIGUSR2:
            node.log.reopen()
            node.tell(number)
        else:
            node.tell(number)

    # ---- ends

    def _reap(self) -> None:
        """Look which children have ended: a worker is held as a zombie until its session is empty."""
        workers = {one.pid: one for one in self.node.workers if one.is_child}
        for pid in [*workers]:
            if pid not in self.sweeping:
                info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if info is not None:
                    self._sweep(workers[pid], info)
        if self.node.hooks is not None:
            self.node.hooks.reap()
        for pid in proc.children() or ():
            if pid not in workers and (self.node.hooks is None or pid not in self.node.hooks.running):
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass  # gone already

    def _sweep(self, one: Worker, info: os.waitid_result | None) -> None:
        """A worker has ended; whatever is left of its session ends now, since nobody looks after it any more."""
        self.sweeping[one.pid] = (one, info)

    def _swept(self, one: Worker, info: os.waitid_result | None) -> None:
        """Go on with that, until nobody is left."""
        for _ in range(_ROUNDS):
            left = one.leftovers()
            if not left:
                break
            one.left_behind = True
            killed = [fd for pid in left if (fd := _kill_member(pid, one)) >= 0]
            if not one.is_child:
                _wait_for(killed)
                continue
            for fd in killed:
                os.close(fd)
            if killed:
                return  # they are children of ours now: the end of each wakes us, and then there is another look
        del self.sweeping[one.pid]
        node = self.node
        warm = node.meant(_signal.SIGTERM, one)
        end = ended(one, info, f"{node.files}/exit.{one.generation}.json", warm)
        if end.code == 0 and one.ready is None and node.spec.get("engine") == "command" and node.state != STOPPING:
            from . import background

            ran_on = background.end_all(
                [
                    one.pid,
                    *(other.pid for other in node.workers),
                    *(node.hooks.running if node.hooks is not None else ()),
                ]
            )
            if ran_on or one.left_behind:
                end.kind, end.text = "crash", background.WHY
        node.worker_ended(one, end)


def _clean_up(folder: str, alive: set[str]) -> None:
    """Remove what workers have left that are gone."""
    for name in os.listdir(folder):
        if name.startswith(("stats.", "exit.", "control.", "stacks.")) and name.split(".")[1] not in alive:
            try:
                os.unlink(f"{folder}/{name}")
            except OSError:
                pass  # of another user's own making


def _known(rundir: str, before: dict[str, Any], boot: str) -> tuple[int, ...]:
    """The processes of the node that are on record, and one that it is about to adopt."""
    found = [*(before.get("workers") or ()), before.get("keeper") or {}] if before.get("boot") == boot else []
    found.append(record.read(f"{rundir}/adopt.json"))
    return tuple(one["pid"] for one in found if one.get("pid"))


def _has_foreign(status: dict[str, Any]) -> bool:
    return any(entry.get("foreign") for entry in status.get("workers") or ())


def _kill_member(pid: int, worker: Worker) -> int:
    """Kill a process if it belongs to this worker's session, or family; a descriptor of it, or -1."""
    fd = proc.open_identified(pid, worker.relatives.get(pid) or proc.start_time(pid))
    if fd < 0:
        return -1
    try:
        if worker.is_foreign or proc.session(pid) == worker.pid:
            _signal.pidfd_send_signal(fd, _signal.SIGKILL)
            return fd
    except OSError:
        pass  # it has just ended, or has become another user's
    os.close(fd)
    return -1


def _wait_for(fds: list[int]) -> None:
    """Wait until these processes, which have been sent KILL, are gone."""
    for fd in fds:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(5000)
        os.close(fd)


def _ignore(number: int, frame: object) -> None:
    """The number has gone through the wake-up descriptor already."""
