"""Starts a worker: everything about it is settled in the keeper, and done in the fork before the program runs."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from . import proc, record
from .worker import STOPS, Worker

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

#: Exit status of a fork that can't become the worker, for a reason that a restart won't change.
UNUSABLE = 78


class Unstartable(Exception):
    """What the specification asks for can't be had."""


class Plan:
    """A worker about to be started. Making it reads what is to be read afresh at each start: users, environment files."""

    def __init__(self, spec: dict[str, Any], variables: dict[str, str]) -> None:
        self.argv: list[str] = spec["argv"]
        self.cwd: str = spec["cwd"]
        self.umask: int = spec.get("umask", 0o022)
        self.limits: dict[str, Any] = spec.get("limits") or {}
        self.nice: int = spec.get("nice") or 0
        self.added: dict[str, str] = {}
        self.user: tuple[int, int, list[int]] | None = None
        if spec.get("user") or spec.get("group"):
            from . import owner

            found = owner.of(spec)
            self.user = found.ids
            self.added.update(found.variables)
        if spec.get("env_files"):
            from . import envfile

            try:
                for path in spec["env_files"]:
                    self.added.update(envfile.read(path))
            except envfile.EnvFileError as error:
                raise Unstartable(str(error)) from None
        self.added.update(variables, PWD=self.cwd)
        self.environment = {**os.environ, **self.added}


def spawn(plan: Plan, generation: int, out: int, lock: int) -> tuple[Worker, int]:
    """Fork the next worker; it starts the program when a byte is written to the returned descriptor.

    If that descriptor is closed instead, as by the keeper's death, it ends without having done anything: so no worker
    ever runs that is not on record.
    """
    gate, opener = os.pipe2(os.O_CLOEXEC)
    # a signal that arrives between the fork and the return to default handling must end the child, not get lost in it
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, STOPS)
    pid = os.fork()
    if pid == 0:
        try:
            _become(plan, generation, out, lock, gate, opener)
        finally:
            os._exit(127)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    os.close(gate)
    return Worker(pid, proc.start_time(pid), os.pidfd_open(pid), generation, is_child=True), opener


def fresh_process(standard_input: int, out: int) -> None:
    """In a fork of the keeper: a session of its own, signals as they are by default, no trace of the keeper's loop."""
    _signal.set_wakeup_fd(-1)
    for number in range(1, 32):
        if number not in (_signal.SIGKILL, _signal.SIGSTOP):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    os.setsid()
    os.dup2(standard_input, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)


def execute(argv: list[str], environment: dict[str, str]) -> None:
    """Become the program, found on the PATH of `environment`; an OSError when it can't be.

    `os.execvpe` does the same, but imports a module for it, which the node's user may not be able to read.
    """
    program = argv[0]
    if "/" in program:
        os.execve(program, argv, environment)
    refused: OSError | None = None
    for folder in environment.get("PATH", os.defpath).split(":"):
        try:
            os.execve(f"{folder or '.'}/{program}", argv, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = refused or error
    raise refused or FileNotFoundError(2, "No such file or directory", program)


def become_user(user: tuple[int, int, list[int]] | None) -> None:
    """Take on a user's identity for good."""
    if user is not None:
        uid, gid, groups = user
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _become(plan: Plan, generation: int, out: int, lock: int, gate: int, opener: int) -> None:
    os.close(opener)
    fresh_process(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), out)
    os.set_inheritable(lock, True)
    if not os.read(gate, 1):
        os._exit(0)
    code = UNUSABLE
    what = ""
    try:
        if plan.limits:
            what = limit(plan.limits)
            if what:
                _say(plan, generation, what)
                os._exit(UNUSABLE)
        what = f"the niceness {plan.nice} can't be had"
        if plan.nice:
            os.setpriority(os.PRIO_PROCESS, 0, plan.nice)
        what = "the user of the node can't be taken on"
        become_user(plan.user)
        code = 127
        os.umask(plan.umask)
        what = f"the directory {plan.cwd!r} can't be entered"
        os.chdir(plan.cwd)
        what = f"{plan.argv[0]!r} can't be run"
        plan.environment.update(MULTI_LOCK_FD=str(lock), MULTI_GENERATION=str(generation))
        execute(plan.argv, plan.environment)
    except OSError as error:
        _say(plan, generation, f"{what}: {error.strerror}")
        os._exit(code)


def _say(plan: Plan, generation: int, why: str) -> None:
    """Leave in the log, and for the keeper, why there is no worker."""
    os.write(2, f"multi: {why}\n".encode("utf-8", "surrogateescape"))
    folder = plan.environment.get("MULTI_RUN_DIR")
    if folder:
        text = record.encode({"pid": os.getpid(), "reason": why})
        try:
            fd = os.open(f"{folder}/exit.{generation}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(fd, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # the log has it


def limit(limits: dict[str, Any]) -> str:
    """Set resource limits of this process; what is wrong, or nothing."""
    import resource  # only here, in the fork: the keeper itself has no use for it

    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            return f"the limit {name!r} is not known on this system"
        pair = value if isinstance(value, list) else [value, value]
        soft, hard = (resource.RLIM_INFINITY if one is None or one == -1 else one for one in pair)
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError) as error:
            allowed = resource.getrlimit(number)[1]
            ceiling = "unlimited" if allowed == resource.RLIM_INFINITY else allowed
            return f"the limit {name} = {value} can't be set: {error}; the most that is allowed here is {ceiling}"
    return ""
