"""Finds the Celery workers and beats that run on this machine without a keeper: started by hand, or by `celery multi`.

A process is looked at from outside: its command line, directory, user, environment and parents. Nothing is imported, and
nothing is asked of it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence

import psutil

from multi.controller.keeper import proc

#: The first words of a Celery program's command line, up to its subcommand.
_KINDS = ("worker", "beat")
#: Options of `celery` itself that take a value and may stand before the subcommand.
_BEFORE = frozenset(("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"))
#: Who looks after its children by itself, and how it is told about them.
MANAGERS = {
    "supervisord": "supervisord starts it again by itself; stop it there first: supervisorctl stop {program}",
    "circusd": "circus starts it again by itself; stop it there first: circusctl stop NAME",
    "runsv": "runit starts it again by itself; stop it there first: sv down {service}",
    "s6-supervise": "s6 starts it again by itself; stop it there first: s6-svc -d {service}",
    "pm2": "pm2 starts it again by itself; stop it there first: pm2 stop NAME",
    "honcho": "honcho looks after it; stop honcho first",
    "foreman": "foreman looks after it; stop foreman first",
}
#: Services of systemd that people's own processes are started from.
_NOT_MANAGING = re.compile(
    r"(user@\d+|sshd?(@.*)?|cron|crond|atd|getty@.*|dbus.*|screen.*|tmux.*|code-server.*)\.service"
)
#: A program that is a step between a manager and the worker, as in ExecStart=/bin/sh -c '…'.
_SHELLS = ("sh", "bash", "dash", "env", "chpst", "setpriv", "runuser")
_SHOWN_BY_TITLE = re.compile(r"\[?celery(d|beat)\b.*:")


class Foreign:
    """One running worker or beat. `refusal` says why it can't be taken over ("" where it can)."""

    def __init__(self, pid: int, words: list[str]) -> None:
        self.pid = pid
        self.start = proc.start_time(pid)
        self.words = words
        self.kind, self.executable, self.options = split(words)
        self.uid = 0
        self.cwd = ""
        self.env: dict[str, str] = {}
        self.umask = 0o022
        self.created = 0.0
        self.children = 0
        self.terminal = ""
        self.refusal = ""
        self.is_hidden = False  # what is known of it is a title, and no command line

    @property
    def app(self) -> str:
        """What `-A` says, or where that is not given, its environment; "" where nothing does."""
        for word, following in zip(self.options, [*self.options[1:], ""], strict=True):
            if word in ("-A", "--app"):
                return following
            if word.startswith(("--app=", "-A")):
                return word.removeprefix("--app=").removeprefix("-A")
        return self.env.get("CELERY_APP", "")

    def look(self, children: int) -> None:
        """Read what the system tells of it."""
        self.children = children
        try:
            process = psutil.Process(self.pid)
            self.uid = process.uids().effective
            self.created = process.create_time()
            self.terminal = process.terminal() or ""
            self.env = process.environ()
            self.cwd = _named(self.env.get("PWD", ""), process.cwd())
            self.executable = self._interpreter()
            self.umask = _umask(self.pid)
            self.refusal = _managed(process, self.env)
        except psutil.AccessDenied:
            import pwd

            try:
                owner = pwd.getpwuid(self.uid or os.stat(f"/proc/{self.pid}").st_uid).pw_name
            except (KeyError, OSError):
                owner = "another user"
            self.refusal = f"it belongs to {owner}; run multi adopt as that user, or as root"
        except psutil.NoSuchProcess:
            self.refusal = "it has just ended"

    def _interpreter(self) -> str:
        """The whole path of its interpreter, not resolved: a virtual environment's is a link to another one."""
        name = self.executable
        if os.path.basename(name) == "celery":
            name = os.path.join(os.path.dirname(name), "python")
        if os.sep in name:
            return os.path.normpath(os.path.join(self.cwd, name))
        return shutil.which(name, path=self.env.get("PATH")) or os.path.realpath(f"/proc/{self.pid}/exe")


def find() -> list[Foreign]:
    """Those that run now, the eldest first. Their pool's children, which show the same command line, are not among them."""
    found: dict[int, list[str]] = {}
    parents: dict[int, int] = {}
    hidden: list[int] = []
    for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
        words = process.info["cmdline"] or []
        if len(words) == 1 or (words and not words[1]):
            if _SHOWN_BY_TITLE.match(words[0]) and "MainProcess" in words[0]:
                hidden.append(process.info["pid"])
            continue
        if is_celery(words):
            found[process.info["pid"]] = words
        parents[process.info["pid"]] = process.info["ppid"]
    workers = []
    for pid, words in found.items():
        if parents[pid] in found:
            continue
        worker = Foreign(pid, words)
        worker.look(sum(parent == pid for parent in parents.values()))
        workers.append(worker)
    for pid in hidden:
        worker = Foreign(pid, ["celery", "worker"])
        worker.is_hidden = True
        worker.look(0)
        worker.refusal = worker.refusal or (
            "its command line is hidden behind a title (setproctitle), so it could not be started again; stop it, and start "
            "it with multi start"
        )
        workers.append(worker)
    return sorted(workers, key=lambda worker: (worker.created, worker.pid))


def why_none(pid: int) -> str:
    """Why the process of this number is none of those that `find` finds; empty where it is one."""
    try:
        process = psutil.Process(pid)
        name, parents = process.name(), process.parents()
        if name.startswith("multi:") or any(parent.name().startswith("multi:") for parent in parents):
            return f"the process {pid} ({name}) belongs to a node already; see multi ps"
        for parent in parents:
            if is_celery(_cmdline(parent)):
                return f"the process {pid} is a child of the {split(_cmdline(parent))[0]} {parent.pid}; adopt that one"
        if is_celery(_cmdline(process)):
            return ""
    except psutil.NoSuchProcess:
        return f"there is no process {pid}"
    except psutil.AccessDenied:
        return f"the process {pid} can't be looked at; run multi adopt as its user, or as root"
    return f"the process {pid} ({name}) is no Celery worker or beat"


def is_celery(words: list[str]) -> bool:
    """Whether this is the command line of a Celery worker or beat."""
    return bool(_program(words)) and _kind(words) is not None


def split(words: list[str]) -> tuple[str, str, list[str]]:
    """Kind, interpreter, and the words of Celery's own options, the subcommand left out."""
    at = _program(words)
    kind = _kind(words)
    if not at or kind is None:
        return "worker", words[0], []
    first, second = words[at:kind], words[kind + 1 :]
    return words[kind], words[0], first + second


def _program(words: list[str]) -> int:
    """How many words name the program (`python -m celery`, `python /venv/bin/celery`, `celery`); 0 where it is another."""
    if not words:
        return 0
    if os.path.basename(words[0]) == "celery":
        return 1
    if not re.match(r"(python|pypy)[\d.]*$", os.path.basename(words[0])):
        return 0
    at = 1
    while at < len(words) and words[at].startswith("-") and words[at] != "-m":
        at += 2 if words[at] in ("-W", "-X") else 1
    if words[at : at + 2] == ["-m", "celery"]:
        return at + 2
    return at + 1 if at < len(words) and os.path.basename(words[at]) in ("celery", "celery.py") else 0


def _kind(words: list[str]) -> int | None:
    """Where its subcommand stands, if that is one of ours. Old ones have it in front of the options, new ones behind."""
    at = _program(words)
    while at < len(words):
        word = words[at]
        if word in _KINDS:
            return at
        if not word.startswith("-"):
            return None  # multi, inspect and the like
        at += 2 if word in _BEFORE else 1
    return None


def _named(given: str, real: str) -> str:
    """The directory as its user named it, so that a later start follows the links in it."""
    try:
        if os.path.isabs(given) and os.path.samefile(given, real):
            return given
    except OSError:
        pass  # PWD names something that is gone
    return real


def _umask(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass  # ended, or an old kernel
    return 0o022


def _managed(process: psutil.Process, env: Mapping[str, str]) -> str:
    """Why it must stay with whoever looks after it; empty where nobody does."""
    if _other_namespace(process.pid):
        return "it runs in a container; what is in a container is started and stopped by whoever runs that"
    parents = process.parents()
    for parent in parents:
        name = parent.name()
        words = _cmdline(parent)
        for manager, way in MANAGERS.items():
            if name == manager or any(os.path.basename(word) == manager for word in words[:2]):
                service = words[1] if len(words) > 1 and not words[1].startswith("-") else "SERVICE"
                return way.format(program=_program_of_supervisord(env), service=service)
        if name.startswith("multi:"):
            return f"it is a node already, or a task of one (its keeper is {name}); see multi ls --all"
    unit = unit_in(_cgroup(process.pid), env)
    if not unit and _is_started_by_systemd(process, parents, env):
        unit = "--user UNIT" if env.get("MANAGERPID") else "UNIT"
    if not unit:
        return ""
    which = f"as {unit.split()[-1]}"
    if unit.endswith("UNIT"):
        which = f"as which unit tells systemctl {unit.replace('UNIT', 'status')} {process.pid}"
    return f"systemd looks after it, {which}; stop it there first, for good: systemctl disable --now {unit}"


def _program_of_supervisord(env: Mapping[str, str]) -> str:
    """What supervisorctl calls it, as supervisord tells its children."""
    name, group = env.get("SUPERVISOR_PROCESS_NAME"), env.get("SUPERVISOR_GROUP_NAME")
    if not name:
        return "NAME"
    return name if group in (None, "", name) else f"{group}:{name}"


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


def _cgroup(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def unit_in(cgroup: str, env: Mapping[str, str]) -> str:
    """The service of systemd that a process with this /proc/PID/cgroup belongs to, if it is one for it alone; with --user
    where it is a user's own. On a machine with both versions of cgroups systemd may use either."""
    lines = [line.split(":", 2) for line in cgroup.splitlines()]
    for path in [line[2] for line in lines if len(line) == 3 and (line[0] == "0" or line[1] == "name=systemd")]:
        leaf = path.rpartition("/")[2]
        if leaf.endswith(".service") and not _NOT_MANAGING.fullmatch(leaf):
            is_users = "/user@" in path or (path.startswith("/app.slice/") and bool(env.get("MANAGERPID")))
            return f"--user {leaf}" if is_users else leaf
    return ""


def _is_started_by_systemd(process: psutil.Process, parents: Sequence[psutil.Process], env: Mapping[str, str]) -> bool:
    """Whether systemd has started it itself: it tells each main process its own pid. What people start from a service of
    theirs, as a terminal, inherits another one's."""
    pid = env.get("SYSTEMD_EXEC_PID")
    if pid is None:
        return False
    own = [process.pid]
    for parent in parents:
        words = _cmdline(parent)
        if not words or os.path.basename(words[0]) not in _SHELLS or len(words) < 2:
            break  # a shell without words is one that somebody types in
        own.append(parent.pid)
    return pid in map(str, own)


def _other_namespace(pid: int) -> bool:
    try:
        return any(
            os.stat(f"/proc/{pid}/ns/{kind}").st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino
            for kind in ("pid", "mnt")
        )
    except OSError:
        return False


def worth_keeping(environment: Mapping[str, str]) -> dict[str, str]:
    """Its variables, without those of the session in which it was started."""
    return {name: value for name, value in environment.items() if not _OF_A_SESSION.fullmatch(name)}


_OF_A_SESSION = re.compile(
    r"_|SHLVL|PWD|OLDPWD|TERM|COLORTERM|COLUMNS|LINES|LS_COLORS|SSH_.*|XDG_.*|DBUS_.*|DISPLAY|WINDOWID|TMUX.*|STY|"
    r"SUDO_.*|MAIL|PS1|INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET|WATCHDOG_.*|MAINPID|MULTI_(RUN_DIR|GENERATION|LOCK_FD|LOG_FILE)|"
    r"CELERY_LOG_.*|_MP_FORK_.*|FORKED_BY_MULTIPROCESSING"
)
