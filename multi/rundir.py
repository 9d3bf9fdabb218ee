"""The runtime directory of one node: where its keeper, its worker and the commands of a user meet.

```
keeper.lock     flock'ed by the keeper for life
worker.lock     flock'ed for the worker: its keeper takes the lock and the worker inherits it
status.json     written by the keeper: state, identities of the processes, restarts
loading         written by a command that has a loader start this node with others; who removes it has the node
notify          socket of the keeper: readiness from the worker, requests from commands
stats.<n>       the stats page of the node's n-th worker process
control.<n>     socket of that worker process: orders of its keeper
stacks.<n>      what its processes do, as `multi stack` has them write it
exit.<n>.json   why that worker process ended, in its own words
reload          how the last reload went, of a worker that has no keeper
```

Each worker process of a node has its own number, the generation: two of them live at once during a reload, and what
one leaves behind is never taken for another's.

Where the worker runs as another user than its keeper, root, those of its files lie in the directory `worker` here, which is
that user's; the rest stays root's.
"""

from __future__ import annotations

import fcntl
import os
import time

_current: RunDir | None = None


class RunDir:
    """Paths in a node's runtime directory, and the few things that are done to them."""

    def __init__(
        self, path: str, generation: int = 1, *, log_file: str | None = None, lock_fd: int = -1, paused: str = ""
    ) -> None:
        self.path = path
        self.generation = generation
        self.log_file = log_file
        self.lock_fd = lock_fd
        #: the queues that are paused from the start, as an order names them
        self.paused = paused
        #: without one a unit manager has named the directory, and the worker sees to its own reload and its own files
        self.has_keeper = lock_fd >= 0

    @classmethod
    def from_env(cls) -> RunDir | None:
        """The directory that the keeper of this process has named; None for a worker without a keeper.

        What the keeper has put into the environment is taken out of it (programs that a task starts are not this
        node), and the worker's lock is closed in every fork, so that the lock tells about the worker alone.
        """
        global _current
        path = os.environ.pop("MULTI_RUN_DIR", None)
        generation = os.environ.pop("MULTI_GENERATION", "1")
        log_file = os.environ.pop("MULTI_LOG_FILE", None)
        lock_fd = os.environ.pop("MULTI_LOCK_FD", "-1")
        paused = os.environ.pop("MULTI_PAUSED", "")
        if path is not None:
            _current = cls(path, int(generation), log_file=log_file, lock_fd=int(lock_fd), paused=paused)
            if _current.lock_fd >= 0:
                os.set_inheritable(_current.lock_fd, False)
                os.register_at_fork(after_in_child=_current.release)
        return _current

    @property
    def keeper_lock(self) -> str:
        return os.path.join(self.path, "keeper.lock")

    @property
    def worker_lock(self) -> str:
        return os.path.join(self.path, "worker.lock")

    @property
    def status_file(self) -> str:
        return os.path.join(self.path, "status.json")

    @property
    def loading(self) -> str:
        """Is there while a loader imports the app of this node, and names it."""
        return os.path.join(self.path, "loading")

    @property
    def notify_socket(self) -> str:
        return os.path.join(self.path, "notify")

    @property
    def spec_file(self) -> str:
        """The node's kept specification; a link here leads to it, wherever the state directory is."""
        return os.path.join(self.path, "spec.json")

    @property
    def own(self) -> str:
        """The directory of a worker that runs as another user, if there is one."""
        return os.path.join(self.path, "worker")

    @property
    def files(self) -> str:
        """Where the worker's own files are. (To the worker itself that is the whole of its runtime directory.)"""
        return self.own if os.path.isdir(self.own) else self.path

    @property
    def stats(self) -> str:
        """The stats page of this generation."""
        return os.path.join(self.files, f"stats.{self.generation}")

    @property
    def control(self) -> str:
        """Where the worker of this generation hears orders; `multi.control.address` says at which address."""
        return os.path.join(self.files, f"control.{self.generation}")

    @property
    def stacks(self) -> str:
        """Where the processes of this generation write what they are doing, when they are asked to."""
        return os.path.join(self.files, f"stacks.{self.generation}")

    @property
    def exit_file(self) -> str:
        """Where the worker of this generation says why it ends."""
        return os.path.join(self.files, f"exit.{self.generation}.json")

    @property
    def reload(self) -> str:
        """Where a worker that has no keeper says how its reload went."""
        return os.path.join(self.path, "reload")

    def tell_reload(self, trouble: str = "") -> None:
        """Say it, where no keeper does: without `trouble` all is well."""
        if self.has_keeper:
            return
        temporary = f"{self.reload}.{os.getpid()}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(f"{trouble}\n")
            os.replace(temporary, self.reload)
        except OSError:
            pass  # the directory is gone, and with it who could read it

    def variables(self, generation: int) -> dict[str, str]:
        """What tells another worker process to have its files here."""
        found = {"MULTI_RUN_DIR": self.path, "MULTI_GENERATION": str(generation)}
        return found if self.log_file is None else {**found, "MULTI_LOG_FILE": self.log_file}

    def clear(self) -> None:
        """Remove what this worker process has shown of itself, where no keeper does."""
        for path in () if self.has_keeper else (self.stats, self.stacks):
            try:
                os.unlink(path)
            except OSError:
                pass  # gone with the directory

    def release(self) -> None:
        """Close the worker's lock in this process; the lock itself lives on in the worker."""
        if self.lock_fd >= 0:
            try:
                os.close(self.lock_fd)
            except OSError:
                pass  # closed with all other descriptors already
            self.lock_fd = -1

    def write_exit(self, kind: str, code: int, reason: str) -> None:
        """Leave word why this worker ends: `kind` is "stop" (asked to, by whatever way) or "error".

        Only a parent learns an exit status, and after a keeper's death the worker has another parent.
        """
        import json

        text = json.dumps({"pid": os.getpid(), "kind": kind, "code": code, "reason": reason, "time": time.time()})
        temporary = f"{self.exit_file}.{os.getpid()}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self.exit_file)
        except OSError:
            pass  # a full or vanished directory: the exit status has to do

    def reopen_log(self) -> bool:
        """Let standard output and error lead to the log file's present name; False when there is none.

        The keeper asks for it with USR2 after renaming the file; until then lines go to the renamed file, so that
        none is lost. Every process of the node that writes to the log calls it.
        """
        if self.log_file is None:
            return False
        fd = os.open(self.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.dup2(fd, 1)
            os.dup2(fd, 2)
        finally:
            os.close(fd)
        return True


def hold(path: str) -> int | None:
    """Lock the file at `path` for as long as the returned descriptor is open; None while another holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def held(path: str) -> bool:
    """Whether somebody holds the lock at `path`.

    The question itself takes a shared lock for an instant; a keeper that meets it tries again, so nothing is refused
    because of a look.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
