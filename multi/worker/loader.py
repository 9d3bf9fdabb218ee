"""The loader: imports an app once for many nodes, and forks a worker for each.

```
loader              imports the app, then obeys orders on its channel: one for each node
└─ (a fork that ends at once, so that what follows belongs to whoever started the loader)
   └─ keeper w1     this fork runs the keeper's program once its own fork below is there: an exec keeps the children
      └─ worker w1  waits at a gate for what its keeper knows, then goes on as if it had just been started
```

The nodes share the pages of what was imported, and nothing else: each has its session, its descriptors, its keeper.
Whenever a worker that was forked would not be like one that was started (the import failed, or has left threads,
connections or processes behind), the keeper is started all the same, and starts a worker of its own.

An order is a datagram, a JSON object: `node`, `run` (its runtime directory), `keeper` (command line), `argv` (the
worker's), `claim` (a file that is removed here; when it is gone already, the node is not wanted any more). The answer is an
object with `node` and what has happened: `started` (the keeper's pid; with a descriptor of the process, and one on which
the keeper's last words can be read) or `dropped`.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable
from typing import Any, NoReturn

#: How a keeper learns of its worker: its pid, the gate's descriptor, the worker's lock.
INHERITED = "MULTI_INHERITED"
_LONGEST = 1 << 18


class Loader:
    """`serve` returns in the workers only; the loader itself ends in it."""

    def __init__(self, channel: socket.socket, settle: Callable[[dict[str, Any]], None]) -> None:
        self._channel = channel
        self._settle = settle  # does in a worker what its keeper's word says of limits and the like
        self._environment = dict(os.environ)  # that of the keepers: an import may change ours
        os.environ.pop("MULTI_BY", None)  # a word for them
        self._printed = os.memfd_create("import", os.MFD_CLOEXEC)
        self._before: set[str] = set()
        self._why_not = ""

    def load(self, bring_in: Callable[[], None]) -> None:
        """Import the app; whatever goes wrong, each node will find out for itself and say so in its log."""
        os.dup2(self._printed, 1)
        os.dup2(self._printed, 2)
        self._before = _descriptors()
        try:
            bring_in()
        except BaseException as error:
            self._why_not = f"{type(error).__name__}: {error}"
        sys.stdout.flush()
        sys.stderr.flush()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in (1, 2):
            os.dup2(null, fd)
        os.close(null)
        self._why_not = self._why_not or self._left_behind()
        gc.collect()
        gc.freeze()

    def _left_behind(self) -> str:
        """What a fork could not share or would not have."""
        if len(sys._current_frames()) > 1:
            return "the import has left threads running"
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            if file.read().strip():
                return "the import has left processes running"
        for name in _descriptors() - self._before:
            try:
                mode = os.stat(f"/proc/self/fd/{name}").st_mode
            except OSError:
                continue  # the listing's own
            # what is no file at all is an epoll, a timer or the like
            if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode) or not stat.S_IFMT(mode):
                return "the import has left connections open"
        return ""

    def serve(self) -> list[str]:
        """Obey orders until there are no more; in a worker, return its command line."""
        self._send({"loaded": not self._why_not, "why": self._why_not})
        while order := self._channel.recv(_LONGEST):
            found = self._obey(json.loads(order))
            if found is not None:
                return found
        os._exit(0)

    def _send(self, answer: dict[str, Any], *fds: int) -> None:
        try:
            socket.send_fds(self._channel, [json.dumps(answer).encode()], fds)
        except OSError:
            pass  # the command is gone; the nodes don't need it

    def _obey(self, order: dict[str, Any]) -> list[str] | None:
        try:
            os.unlink(order["claim"])
        except OSError:
            self._send({"node": order["node"], "dropped": True})
            return None
        if pid := os.fork():
            os.waitpid(pid, 0)
            return None
        try:
            if os.fork():
                os._exit(0)
            return self._become_keeper(order)
        except BaseException:
            os._exit(1)

    # ---- in the forks

    def _become_keeper(self, order: dict[str, Any]) -> list[str]:
        os.setsid()
        words, writer = os.pipe2(os.O_CLOEXEC)
        self._send({"node": order["node"], "started": os.getpid()}, os.pidfd_open(os.getpid()), words)
        environment, kept = self._environment, set[int]()
        lock = -1 if self._why_not else _open_lock(order["run"])
        if lock >= 0:
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = os.fork()
            if pid == 0:
                here.close()
                os.close(writer)
                os.close(words)
                return self._become_worker(order, there, lock)
            kept = {here.fileno(), lock}
            environment = {**environment, INHERITED: f"{pid}:{here.fileno()}:{lock}"}
        return self._exec(order["keeper"], environment, writer, kept)

    def _exec(self, words: list[str], environment: dict[str, str], errors: int, kept: set[int]) -> NoReturn:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(errors, 2)
        os.chdir("/")
        for name in _descriptors():
            if (number := int(name)) > 2:
                try:
                    os.set_inheritable(number, number in kept)
                except OSError:
                    pass  # the listing's own
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        try:
            os.execve(words[0], words, environment)
        except OSError as error:
            os.write(2, f"{words[0]} can't be run: {error.strerror}\n".encode())
        os._exit(1)

    def _become_worker(self, order: dict[str, Any], gate: socket.socket, lock: int) -> list[str]:
        os.setsid()
        self._channel.close()
        data, fds, _, _ = socket.recv_fds(gate, _LONGEST, 1)
        if not data or gate.recv(1) != b"1":
            os._exit(0)  # the keeper is gone, or has no use for us
        gate.close()
        (out,) = fds
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(out)
        word: dict[str, Any] = json.loads(data)
        if word["limits"] or word["nice"]:
            self._settle(word)
        os.umask(word["umask"])
        os.environ.update(word["variables"])
        os.environ["MULTI_LOCK_FD"] = str(lock)
        printed = os.pread(self._printed, os.fstat(self._printed).st_size, 0)
        os.close(self._printed)
        os.write(2, printed)  # what the import has written belongs into every log
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()  # as `random` does by itself
        sys.argv[1:] = order["argv"][3:]
        sys.orig_argv[:] = order["argv"]
        show_command_line(order["argv"])
        argv: list[str] = order["argv"]
        return argv


def show_command_line(argv: list[str]) -> None:
    """Let `ps` show this command line, as far as there is room for it: that of the present one."""
    try:
        import ctypes

        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[45]), int(fields[46])
        data = b"".join(os.fsencode(word) + b"\0" for word in argv)
        if begin and len(data) <= end - begin:
            ctypes.memmove(begin, data.ljust(end - begin, b"\0"), end - begin)
    except (ImportError, OSError, ValueError, IndexError):
        pass  # it goes on under the loader's


def _open_lock(rundir: str) -> int:
    try:
        return os.open(f"{rundir}/worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1  # what is wrong there is for the keeper to say


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))
