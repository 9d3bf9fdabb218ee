"""Prepares hosts for deploys: the owner, the folders, Python with its environments; what is the machine's and no release's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multi.deploy import steps as kinds
from multi.deploy.base import Session
from multi.deploy.hosts.facts import PASSWORD, HostFacts
from multi.deploy.hosts.inventory import Host, Inventory
from multi.deploy.hosts.settings import SYSTEMD_USER
from multi.deploy.planning.first_units import FirstUnits, first_units, put_rules
from multi.deploy.planning.managers import may_be_root
from multi.deploy.planning.rendering import Renderer
from multi.deploy.releases.wanted import Release
from multi.deploy.steps import PREPARE, Command, Do, HostPlan, Plan, Step
from multi.errors import HostUnreachable

#: The least Python that runs multi.
MINIMUM = (3, 11)

#: owner's user, group, interpreter → a line for each that is there.
_PROBE = """
PATH=$PATH:$HOME/.local/bin:/usr/local/bin:/usr/sbin:/sbin
id -u "$1" >/dev/null 2>&1 && echo user
[ -z "$2" ] || getent group "$2" >/dev/null 2>&1 && echo group
"$3" -c 'import venv, ensurepip' >/dev/null 2>&1 && echo venv
command -v uv >/dev/null 2>&1 && echo uv
command -v apt-get >/dev/null 2>&1 && echo apt
command -v useradd >/dev/null 2>&1 && echo useradd
for one in systemctl supervisorctl; do at=$(command -v "$one" 2>/dev/null) && echo "program $one $at"; done
{ [ -e "/var/lib/systemd/linger/$1" ] && echo linger; } || :
owner=$(stat -c %U "$4" 2>/dev/null) && echo "owner $owner" || :
"""


#: interpreter, its package, that of its venv. apt may believe that something is there which isn't.
_INSTALL = """
DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$2" "$3" || exit
"$1" -c 'import venv, ensurepip' && exit
echo "apt says that $2 and $3 are installed, and $1 makes no environments all the same; put it right there, for instance with: \
apt-get install --reinstall $2-minimal $2 $3" >&2
exit 1
"""


class Probe(NamedTuple):
    """What preparing wants to know beside the facts."""

    found: frozenset[str]

    def has(self, word: str) -> bool:
        return word in self.found

    @property
    def programs(self) -> dict[str, str]:
        """Where managers' programs are."""
        rows = [word.split(" ", 2) for word in self.found if word.startswith("program ")]
        return {row[1]: row[2] for row in rows}

    @property
    def owner(self) -> str | None:
        """Whom the project's folder belongs to."""
        return next((word.partition(" ")[2] for word in self.found if word.startswith("owner ")), None)


def probe(session: Session, login: str) -> Probe:
    """Ask a host."""
    settings = session.host.settings
    user, _, group = (settings.owner or login).partition(":")
    argv = ("sh", "-c", _PROBE, "multi-probe", user, group, settings.python, settings.path)
    result = session.run(Command(argv, timeout=60))
    if result.code is None:
        raise HostUnreachable(session.host.name, result.err)
    return Probe(frozenset(result.out.splitlines()))


def make_plan(
    inventory: Inventory,
    hosts: Sequence[Host],
    facts: Mapping[str, HostFacts],
    probes: Mapping[str, Probe],
    *,
    password: bool = False,
    release: Release | None = None,
) -> Plan:
    """What is missing on each host. `release` is what would be deployed, whose units are written where there is none yet."""
    renderer = Renderer(inventory)
    plans = {}
    for host in hosts:
        known = facts[host.name]
        if known.error is not None:
            plans[host.name] = HostPlan(host.name, None, error=known.error)
            continue
        planner = _Planner(host, known, probes[host.name], may_be_root(known, host.settings, password=password))
        programs = probes[host.name].programs
        plans[host.name] = planner.plan(first_units(host, known, renderer, release, programs, password=password))
    return Plan(inventory.project, None, plans, [])


class _Planner:
    def __init__(self, host: Host, facts: HostFacts, found: Probe, root: bool) -> None:
        self.host = host
        self.settings = host.settings
        self.facts = facts
        self.found = found
        self.root = root
        self.user, _, self.group = (self.settings.owner or facts.user).partition(":")
        self.steps: list[Step] = []
        self.error: str | None = None

    def plan(self, units: FirstUnits) -> HostPlan:
        self._owner()
        self._python()
        self._folders()
        if self.settings.manager == SYSTEMD_USER and not self.found.has("linger"):
            argv = ("loginctl", "enable-linger", self.user)
            self._add(f"let {self.user}'s units run without a login", "they would end with it", self._as_root(argv))
        self._units(units)
        notes = (units.note,) if units.note else ()
        steps = tuple(self.steps) if not self.error else ()
        return HostPlan(self.host.name, self.facts.current, steps, (), self.error, notes)

    def _units(self, units: FirstUnits) -> None:
        files = [file for file in units.files if self.facts.files.get(file.path) != file.digest]
        for file in files:
            reason = "it has changed" if file.path in self.facts.files else "it is missing"
            self._add(f"write {file.path}", f"{reason}; nothing is started", file, kinds.WRITE)
        if files and units.reload is not None:
            self._add("have systemd read its files", "they have changed", units.reload, kinds.RELOAD)
        rules = units.rules
        if rules is not None and self.facts.files.get(rules.path) != rules.digest:
            reason = f"{self.facts.user} may steer the nodes without a password"
            self._add(f"write {rules.path}", reason, put_rules(rules), kinds.WRITE)

    def _add(self, title: str, reason: str, do: Do, kind: str = kinds.RUN) -> None:
        self.steps.append(Step(self.host.name, kind, title, reason, do, PREPARE))

    def _as_root(self, argv: tuple[str, ...]) -> Command:
        if not self.root and self.error is None:
            how = (
                "give sudo's password with --ask-sudo-password"
                if self.facts.sudo == PASSWORD
                else "log in as root once"
            )
            self.error = f"{self.facts.user} may not run {argv[0]} as root there, and it has to be: {how}"
        return Command(argv, sudo=True, timeout=900)

    def _owner(self) -> None:
        if not self.found.has("group") and self.group:
            self._add(
                f"make the group {self.group}", "it is missing", self._as_root(("groupadd", "--system", self.group))
            )
        if self.found.has("user"):
            return
        group = ("--gid", self.group) if self.group else ("--user-group",)
        argv: tuple[str, ...] = (
            "useradd",
            "--system",
            *group,
            "--create-home",
            "--shell",
            "/usr/sbin/nologin",
            self.user,
        )
        if not self.found.has("useradd"):
            argv = ("adduser", "-S", "-D", *(("-G", self.group) if self.group else ()), self.user)
        self._add(f"make the user {self.user}", "the project is to be theirs", self._as_root(argv))

    def _python(self) -> None:
        settings, version = self.settings, self.facts.python
        if settings.installer == "none":
            if version is None:
                self.error = f"there is no interpreter {settings.python} there that runs; name the project's own"
            return
        agentless = settings.agentless is True
        if version is not None and not agentless and tuple(map(int, version.split(".")[:2])) < MINIMUM:
            self.error = (
                f"its {settings.python} is Python {version}, and multi needs 3.11; install a newer one and name it "
                "(python = …), or serve the host without multi (agentless = true)"
            )
            return
        has_tool = self.found.has("venv") or self.found.has("uv")
        if version is not None and has_tool:
            return
        name = settings.python.rpartition("/")[2]
        if self.found.has("apt") and settings.python in (name, f"/usr/bin/{name}"):
            argv = ("sh", "-c", _INSTALL, "multi-install", settings.python, name, f"{name}-venv")
            what = "no Python" if version is None else "no tool for virtual environments"
            self._add(f"install {name} and {name}-venv", f"there is {what}", self._as_root(argv))
        elif version is None:
            self.error = f'there is no interpreter {settings.python} there; install it, or name another: python = "…"'
        else:
            self.error = (
                f"{settings.python} can make no virtual environments (no venv) and there is no uv; install one of them"
            )

    def _folders(self) -> None:
        settings = self.settings
        own = (settings.own, f"{settings.own}/kept")
        folders = (settings.path, settings.releases, settings.environments, settings.shared_folder, *own)
        missing = [folder for folder in folders if folder not in self.facts.folders]
        is_theirs = self.found.owner in (None, self.user)
        if not missing and is_theirs:
            return
        reason = "they are missing" if missing else f"they belong to {self.found.owner}, and are to be {self.user}'s"
        wanted = tuple(missing or folders)
        if self.user == self.facts.user and not self.root:
            self._add(f"make {', '.join(wanted)}", reason, Command(("mkdir", "-p", *wanted), timeout=60))
            return
        group = ("-g", self.group) if self.group else ()
        argv = ("install", "-d", "-m", "0755", "-o", self.user, *group, *wanted)
        self._add(f"make {', '.join(wanted)}", reason, self._as_root(argv))
