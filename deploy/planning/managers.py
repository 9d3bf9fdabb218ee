"""What a host's manager of nodes is told: command lines, built here and run there. Nothing of `multi` is needed for
systemd and supervisord."""

from __future__ import annotations

from collections.abc import Container, Sequence

from multi.deploy.hosts.facts import NONE, PASSWORD, ROOT, HostFacts, NodeFact
from multi.deploy.hosts.settings import AUTO, KEEPER, SUPERVISORD, SYSTEMD, SYSTEMD_USER, Settings
from multi.deploy.steps import Command
from multi.units.unit_names import stem, unescaped


class Manager:
    """One host's manager. `unit` is what it calls a node; times in seconds."""

    name = ""
    #: The name of the format of its files (`multi.units`); None: it has none.
    format: str | None = None
    sudo = False
    #: Whether its start and restart return when the node is ready, or with an error when it isn't.
    waits = False

    def start(self, unit: str, timeout: float | None = None) -> Command:
        raise NotImplementedError

    def stop(self, unit: str, timeout: float | None = None) -> Command:
        """Returns when the node's processes are gone."""
        raise NotImplementedError

    def restart(self, unit: str, timeout: float | None = None) -> Command:
        """The node finishes what it runs, and is started again; returns when it is up as far as the manager can tell."""
        raise NotImplementedError

    def reload(self, unit: str, timeout: float | None = None) -> Command | None:
        """New code without a gap; None where only a restart can do that."""
        return None

    def read_again(self) -> Command | None:
        """To be run when its files have changed, before anything is started; touches no node."""
        return None

    def apply(self, unit: str, timeout: float | None = None) -> Command | None:
        """Takes over what has changed in the files about this unit, by a restart of all that hangs together with it: the units
        of `together`. None: a restart of the unit itself does."""
        return None

    def together(self, unit: str) -> str:
        """What is the same for units that can be changed only together."""
        return unit

    def enable(self, units: Sequence[str]) -> Command | None:
        """They start with the machine; None where they do anyway."""
        return None

    def disable(self, units: Sequence[str]) -> Command | None:
        return None

    def state(self, units: Sequence[str]) -> Command:
        """Exits with 0 when all of these are up."""
        raise NotImplementedError

    def logs(self, unit: str, lines: int) -> Command:
        """The last lines that the node has printed."""
        raise NotImplementedError


class Systemd(Manager):
    """The machine's systemd, or a user's own."""

    format = "systemd"

    def __init__(self, *, uid: int | None = None) -> None:
        self.user = uid is not None
        self.name = SYSTEMD_USER if self.user else SYSTEMD
        self.sudo = not self.user
        # a session over ssh has the variable only where pam_systemd is set up
        self._env = {"XDG_RUNTIME_DIR": f"/run/user/{uid}"} if self.user else {}

    def _systemctl(self, *words: str, timeout: float | None = None, sudo: bool | None = None) -> Command:
        argv = ("systemctl", *(("--user",) if self.user else ()), *words)
        return Command(argv, sudo=self.sudo if sudo is None else sudo, env=self._env, timeout=timeout)

    def start(self, unit: str, timeout: float | None = None) -> Command:
        return self._systemctl("start", unit, timeout=timeout)

    def stop(self, unit: str, timeout: float | None = None) -> Command:
        return self._systemctl("stop", unit, timeout=timeout)

    def restart(self, unit: str, timeout: float | None = None) -> Command:
        return self._systemctl("restart", unit, timeout=timeout)

    def reload(self, unit: str, timeout: float | None = None) -> Command | None:
        return self._systemctl("reload-or-restart", unit, timeout=timeout)

    def read_again(self) -> Command | None:
        return self._systemctl("daemon-reload", timeout=60)

    def enable(self, units: Sequence[str]) -> Command | None:
        return self._systemctl("enable", "--quiet", *units, timeout=60)

    def disable(self, units: Sequence[str]) -> Command | None:
        return self._systemctl("disable", "--quiet", *units, timeout=60)

    def state(self, units: Sequence[str]) -> Command:
        return self._systemctl("is-active", *units, timeout=30, sudo=False)

    def logs(self, unit: str, lines: int) -> Command:
        argv = ("journalctl", "--no-pager", "-o", "cat", "-n", str(lines), "--user-unit" if self.user else "-u", unit)
        return Command(argv, sudo=self.sudo, env=self._env, timeout=30)


class Supervisord(Manager):
    """supervisord by supervisorctl. A program in a group is `group:program`, and changes only together with its group."""

    name = SUPERVISORD
    format = "supervisord"
    sudo = True

    def _ctl(self, *words: str, timeout: float | None = None) -> Command:
        return Command(("supervisorctl", *words), sudo=True, timeout=timeout)

    def start(self, unit: str, timeout: float | None = None) -> Command:
        return self._ctl("start", unit, timeout=timeout)

    def stop(self, unit: str, timeout: float | None = None) -> Command:
        return self._ctl("stop", unit, timeout=timeout)

    def restart(self, unit: str, timeout: float | None = None) -> Command:
        return self._ctl("restart", unit, timeout=timeout)

    def read_again(self) -> Command | None:
        return self._ctl("reread", timeout=60)

    def apply(self, unit: str, timeout: float | None = None) -> Command | None:
        return self._ctl("update", self.together(unit), timeout=timeout)

    def together(self, unit: str) -> str:
        return unit.partition(":")[0]

    def state(self, units: Sequence[str]) -> Command:
        return self._ctl("status", *units, timeout=30)

    def logs(self, unit: str, lines: int) -> Command:
        return self._ctl("tail", f"-{lines * 120}", unit, timeout=30)


class Keepers(Manager):
    """No manager but multi's own keepers, by the release's `multi`; units are the nodes' short names."""

    name = KEEPER
    waits = True

    def __init__(self, multi: str, folder: str, owner: str | None = None, *, deadline: float | None = None) -> None:
        """`deadline`: what isn't ready so long (s) after its start has failed."""
        self._multi = multi
        self._folder = folder
        self._owner = owner
        self._deadline = (f"--timeout={deadline:g}",) if deadline is not None else ()

    def _run(self, *words: str, timeout: float | None = None) -> Command:
        # sudo forgets by which path the folder was entered, and `current` is to be followed at each start anew
        env = {"PWD": self._folder} if self._owner is not None else {}
        return Command((self._multi, *words), user=self._owner, cwd=self._folder, env=env, timeout=timeout)

    def start(self, unit: str, timeout: float | None = None) -> Command:
        return self._run("up", "--only", unit, *self._deadline, timeout=timeout)

    def stop(self, unit: str, timeout: float | None = None) -> Command:
        return self._run("stopwait", unit, "--force", timeout=timeout)

    def restart(self, unit: str, timeout: float | None = None) -> Command:
        # the plan has looked at the whole fleet's queues; the host knows of its own nodes only
        return self._run("restart", unit, "--force", *self._deadline, timeout=timeout)

    def reload(self, unit: str, timeout: float | None = None) -> Command | None:
        return self._run("reload", unit, timeout=timeout)

    def state(self, units: Sequence[str]) -> Command:
        return self._run("status", *units, timeout=30)

    def logs(self, unit: str, lines: int) -> Command:
        return self._run("logs", unit, "-n", str(lines), timeout=30)


class NoManager(Exception):
    """Why nothing on a host can run nodes."""


def may_be_root(facts: HostFacts, settings: Settings, *, password: bool) -> bool:
    """Whether a command can be run as root there; `password`: sudo's is known."""
    if facts.sudo == ROOT:
        return True
    return settings.sudo and facts.sudo != NONE and (facts.sudo != PASSWORD or password)


def choose(facts: HostFacts, settings: Settings, *, has_multi: bool, password: bool = False) -> Manager:
    """The manager that runs nodes there. Raises `NoManager` with the reason, and what to do about it."""
    wanted: str | None = settings.manager
    root = may_be_root(facts, settings, password=password)
    how = _how_to_be_root(facts, settings)
    if wanted == AUTO:
        wanted = _found(facts, root=root, has_multi=has_multi)
        if wanted is None:
            if facts.systemd is not None or facts.supervisord is not None:
                found = "systemd" if facts.systemd is not None else "supervisord"
                raise NoManager(f"{found} is there, and {facts.user} may not steer it: {how}")
            raise NoManager(
                "neither systemd nor supervisord runs there"
                + (f" ({facts.supervisor_error})" if facts.supervisor_error else "")
                + '; start one of them, or put multi-workers into the requirements, so that manager = "multi" can be'
            )
    if wanted == SYSTEMD:
        if facts.systemd is None:
            raise NoManager('it is not run by systemd; put manager = "auto"')
        if not root:
            raise NoManager(f"systemd's units are root's: {how}")
        return Systemd()
    if wanted == SYSTEMD_USER:
        if not facts.systemd_user:
            raise NoManager(f"no systemd runs for {facts.user}; as root: loginctl enable-linger {facts.user}")
        return Systemd(uid=facts.uid)
    if wanted == SUPERVISORD:
        if facts.supervisord is None:
            why = f" ({facts.supervisor_error})" if facts.supervisor_error else ""
            raise NoManager(f"supervisord doesn't answer there{why}; start it, and see that supervisorctl reaches it")
        if not root:
            raise NoManager(f"supervisord's files are root's: {how}")
        return Supervisord()
    if not has_multi:
        raise NoManager('manager = "multi" needs multi-workers among the requirements, and agentless not to be true')
    owner = settings.owner.partition(":")[0] if settings.owner else None
    program = f"{settings.current}/.venv/bin/multi"
    return Keepers(program, settings.current, owner, deadline=settings.healthy_deadline)


def node_of(project: str, fact: NodeFact, recorded: Container[str] = ()) -> str | None:
    """The node's short name, by what its manager calls it; None for what is none of this project's. `recorded` are units that an
    earlier deploy has noted: in a group of supervisord, whose name may be any, programs are called as their nodes."""
    if fact.manager == KEEPER:
        return fact.unit
    if fact.manager == SUPERVISORD:
        group, _, program = fact.unit.rpartition(":")
        if group and (group == project or fact.unit in recorded):
            return program
        return program.removeprefix(f"{project}-") if program.startswith(f"{project}-") else None
    prefix, suffix = f"{stem(project)}@", ".service"
    if not (fact.unit.startswith(prefix) and fact.unit.endswith(suffix)):
        return None
    return unescaped(fact.unit[len(prefix) : -len(suffix)])


def _found(facts: HostFacts, *, root: bool, has_multi: bool) -> str | None:
    if facts.systemd is not None and root:
        return SYSTEMD
    if facts.supervisord is not None and root:
        return SUPERVISORD
    if facts.systemd is not None and facts.systemd_user and facts.linger:
        return SYSTEMD_USER
    if has_multi and facts.systemd is None and facts.supervisord is None:
        return KEEPER
    return None


def _how_to_be_root(facts: HostFacts, settings: Settings) -> str:
    if not settings.sudo:
        return 'sudo = false forbids sudo; log in as root, or put manager = "systemd-user"'
    if facts.sudo == PASSWORD:
        return f"sudo asks {facts.user} for a password there; give it with --ask-sudo-password"
    return f"there is no sudo for {facts.user}; log in as root, or install it"
