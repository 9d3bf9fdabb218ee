"""The plan for one host: the steps that bring it from what it has to what it is to have, and the way back."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence

from multi.deploy import steps as kinds
from multi.deploy.hosts.facts import PASSWORD, RUNNING, HostFacts, ReleaseFact
from multi.deploy.hosts.inventory import Host, Inventory
from multi.deploy.hosts.settings import KEEPER, SYSTEMD_USER
from multi.deploy.planning.managers import Manager, NoManager, choose, may_be_root
from multi.deploy.planning.rendering import Rendered, Renderer
from multi.deploy.planning.switching import Switch
from multi.deploy.releases.wanted import Kept, Release, hook, kept_at, shown
from multi.deploy.rollout.answering import only_alive, unseen
from multi.deploy.steps import (
    FINISH,
    PREPARE,
    SWITCH,
    Build,
    Command,
    Do,
    File,
    HostPlan,
    Link,
    Remove,
    Secret,
    Step,
    Upload,
    Watch,
)
from multi.errors import ConfigurationError
from multi.nodes.spec import NodeSpec
from multi.units.base import File as UnitFile

_MINIMUM = (3, 11)  # of Python, where multi is part of the release


class CannotPlan(Exception):
    """Why nothing can be planned for a host."""


class HostPlanner:
    """Makes the plan for one host. Nothing is kept from one plan to the next."""

    def __init__(
        self,
        inventory: Inventory,
        host: Host,
        facts: HostFacts,
        release: Release | None,
        renderer: Renderer,
        *,
        secrets: Secret | None,
        kept: Kept | None,
        password: bool,
    ) -> None:
        self.host = host
        self.settings = host.settings
        self.facts = facts
        current = facts.release(facts.current)
        if release is not None and current is not None and current.digest == release.digest and not release.is_there:
            # the same content under another name, from a push to some of the hosts: it is there, and nothing is gained by
            # a restart
            release = release._replace(name=current.name)
        self.release = release
        self.steps: list[Step] = []
        self.back: list[Step] = []
        self.notes: list[str] = []
        self.project = inventory.project
        self._inventory = inventory
        self._renderer = renderer
        self._secrets = secrets
        self._kept = kept
        self._password = password
        login = facts.user
        self.owner = self.settings.owner or login
        self.user = self.owner.partition(":")[0]
        self.is_new = release is not None and facts.current != release.name

    def plan(self) -> HostPlan:
        """The whole plan; where there can be none, its `error` says why."""
        if self.facts.error is not None:
            return HostPlan(self.host.name, None, error=self.facts.error)
        try:
            manager, rendered = self._wanted()
            self._check(manager)
            if self.release is not None and not self.release.is_there:
                self._prepare(self.release)
            switch = Switch(self, manager, rendered, self._secrets)
            switch.add()
            _, blind = self.readiness(list(rendered.units), manager.name)
            is_vouched = not blind or self.settings.health_command is not None
            if switch.turns and (blind := {node: why for node, why in blind.items() if node in switch.turns}):
                self.notes.append(only_alive(blind, vouched=is_vouched))
            if self.release is not None and (self.steps or self._surplus()):
                self._finish(self.release, backups=bool(switch.backups), is_seen=is_vouched)
        except (CannotPlan, NoManager, ConfigurationError) as error:
            return HostPlan(self.host.name, self.facts.current, error=str(error))
        return HostPlan(
            self.host.name, self.facts.current, tuple(self.steps), tuple(self.back), None, tuple(self.notes)
        )

    def readiness(self, nodes: Sequence[str], manager: str) -> tuple[tuple[NodeSpec, ...], dict[str, str]]:
        """Those of the nodes that Celery is to be asked about, and those of which only processes can be seen, with the reason."""
        if self.agent:
            return (), {}
        asked, unknown = [], {}
        for spec in self._inventory.nodes(self.host):
            name = spec.name.short
            if name not in nodes or spec.engine == "command":
                continue
            reason = unseen(spec, manager, is_shared=len(self._inventory.places(name)) > 1)
            if reason is not None:
                unknown[name] = reason
            elif spec.engine == "celery":
                asked.append(spec)
        return tuple(asked), unknown

    # ---- what is wanted, and whether it can be

    @property
    def agent(self) -> bool:
        """Whether multi is in the release and may be used."""
        if self._kept is not None:
            return self._kept.agent
        if self.settings.agentless is not None:
            return not self.settings.agentless
        if self.release is not None:
            return self.release.has_multi and self.settings.installer != "none"
        return self.facts.multi is not None and self.settings.installer != "none"

    def _wanted(self) -> tuple[Manager, Rendered]:
        manager = choose(self.facts, self.settings, has_multi=self.agent, password=self._password)
        if self._kept is not None:
            files = self._kept.files
            digests = {file.path: file.digest for file in files}
            times = self._renderer.of(self.host, self.facts, manager, agent=self.agent).stop_times
            return manager, Rendered(_as_units(files), self._kept.units, times, digests)
        return manager, self._renderer.of(self.host, self.facts, manager, agent=self.agent)

    def _check(self, manager: Manager) -> None:
        """Refuse what would fail half-way."""
        facts, settings, release = self.facts, self.settings, self.release
        if facts.lacks is not None:
            raise CannotPlan(f"there is no user {facts.lacks}, the owner; multi deploy setup makes it")
        if self._needs_root() and not may_be_root(facts, settings, password=self._password):
            how = (
                "give its password with --ask-sudo-password"
                if facts.sudo == PASSWORD
                else "log in as the owner, or as root"
            )
            raise CannotPlan(f"{facts.user} may not write below {settings.path} for {self.user}; {how}")
        if manager.name == SYSTEMD_USER and self.user != facts.user:
            raise CannotPlan(
                f"a user's own systemd runs nodes as that user: log in as {self.user} (user = …), or leave out the owner"
            )
        if settings.env and manager.name == KEEPER:
            raise CannotPlan(
                "`env` of hosts reaches no node of multi's own keepers; put it into [defaults], or use systemd"
            )
        if settings.secrets and manager.name == KEEPER:
            path = settings.secrets_file
            lacking = [node.name.short for node in self._inventory.nodes(self.host) if path not in node.env_files]
            if lacking:
                raise CannotPlan(
                    f"secrets reach {', '.join(lacking)} under multi's own keepers only by a file that multi.toml names: put "
                    f'env_files = ["{path}"] into [defaults]'
                )
        if release is None or not self.is_new:
            return
        if release.is_there:
            if facts.release(release.name) is None:
                there = ", ".join(one.name for one in facts.releases) or "none"
                raise CannotPlan(f"the release {release.name} is not there; there are: {there}")
            return
        if settings.installer == "none":
            if facts.python is None:
                raise CannotPlan(f"there is no interpreter {settings.python} there that runs; name the project's own")
            return
        if facts.by_digest(release.digest) is not None and self._environment(release) in facts.environments:
            return
        if facts.python is None:
            raise CannotPlan(
                f'there is no interpreter {settings.python} there that runs; install it, or name another: python = "…"'
            )
        if self.agent and tuple(map(int, facts.python.split(".")[:2])) < _MINIMUM:
            raise CannotPlan(
                f"its {settings.python} is Python {facts.python}, and multi, which the requirements name, needs 3.11; name a "
                "newer one (python = …), or serve the host without multi (agentless = true, and requirements without it)"
            )
        if release.requirements is None and release.wheel is None:
            raise CannotPlan(
                "nothing says what the release's environment is to hold: name a file of requirements (requirements = …), or "
                'the interpreter that has it all (installer = "none", python = …)'
            )
        free = facts.disk_free
        if free is not None and free < settings.min_free_space + release.size:
            raise CannotPlan(
                f"{free >> 20} MB are free on its disk, and a release wants {(settings.min_free_space + release.size) >> 20} MB "
                "(min_free_space, and what it is large itself); free some: `multi deploy prune` removes old releases"
            )
        if facts.inodes_free is not None and 0 < facts.inodes_free < 10_000:
            raise CannotPlan(f"only {facts.inodes_free} inodes are free on its disk; remove files there")

    def _needs_root(self) -> bool:
        return self.facts.user != self.user and self.facts.user != "root"

    # ---- before anything that runs is touched

    def _prepare(self, release: Release) -> None:
        settings, facts = self.settings, self.facts
        folders = [settings.path, settings.releases, settings.environments, settings.shared_folder, settings.own]
        folders.append(f"{settings.own}/kept")
        missing = [folder for folder in folders if folder not in facts.folders]
        if missing:
            self.add(kinds.RUN, f"make {', '.join(missing)}", "they are missing", self._make(missing), PREPARE)
        folder = f"{settings.releases}/{release.name}"
        here = facts.release(release.name)
        if here is None:
            base = facts.by_digest(release.digest) or facts.release(facts.current) or _newest(facts)
            upload = Upload(
                folder,
                release.name,
                release.digest,
                f"{settings.releases}/{base.name}" if base else None,
                self.given_owner,
            )
            self.add(kinds.UPLOAD, f"upload {release.name}", "the host doesn't have it", upload, PREPARE)
        if settings.installer != "none":
            self._environments(release, folder, here.environment if here else None)
        if here is None and settings.shared:
            self.add(
                kinds.LINK,
                f"link {', '.join(settings.shared)}",
                "they are shared by all releases",
                self._share(folder),
                PREPARE,
            )
        if here is None:
            self.hooks("after_build", release, PREPARE, "the release and its environment are there")

    def _environments(self, release: Release, folder: str, present: str | None) -> None:
        settings = self.settings
        name = self._environment(release)
        path = f"{settings.environments}/{name}"
        if present == name and name in self.facts.environments:
            return
        # the link comes first, so that hooks find what was there already
        if name not in self.facts.environments or self.facts.release(release.name) is None:
            self.hooks("before_build", release, PREPARE, "the release is there, and its environment comes next")
        if name not in self.facts.environments:
            requirements = f"{folder}/{release.requirements}" if release.requirements else None
            wheel = f"{folder}/{release.wheel}" if release.wheel else None
            build = Build(path, settings.python, settings.installer, requirements, wheel, self.given_owner)
            reason = "the requirements have changed" if self.facts.environments else "there is none yet"
            self.add(kinds.BUILD, f"build environment {name}", reason, build, PREPARE)
        if present != name:
            link = Link(f"{folder}/.venv", f"../../environments/{name}", self.given_owner)
            self.add(kinds.LINK, "link .venv", "the release's environment", link, PREPARE)

    def _environment(self, release: Release) -> str:
        """The environment's name: the same for the same requirements, interpreter and wheel."""
        version = ".".join((self.facts.python or "").split(".")[:2])
        parts = (release.requirements_digest or "", release.wheel_digest or "", self.settings.python, version)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _make(self, folders: list[str]) -> Command:
        if not self._needs_root() and self.facts.user != "root":
            is_ours = posixpath.dirname(self.settings.path) == self.facts.home
            argv = ("mkdir", "-p", *folders)
            if is_ours or not may_be_root(self.facts, self.settings, password=self._password):
                return Command(argv)
        user, _, group = self.owner.partition(":")
        given = ("-o", user, *(("-g", group) if group else ()))
        return Command(("install", "-d", "-m", "0755", *given, *folders), sudo=True)

    def _share(self, folder: str) -> Command:
        script = (
            'cd "$1" || exit 1; shared=$2; shift 2; for one in "$@"; do there=$shared/$one; '
            'mkdir -p "$(dirname "$one")" "$(dirname "$there")"; '
            'if [ ! -e "$there" ]; then if [ -e "$one" ]; then cp -R "$one" "$there"; else mkdir "$there"; fi; fi; '
            'rm -rf "$one" && ln -s "$shared/$one" "$one" || exit 1; done'
        )
        argv = ("sh", "-c", script, "sh", folder, self.settings.shared_folder, *self.settings.shared)
        return Command(argv, user=self.user)

    # ---- afterwards

    def _finish(self, release: Release, *, backups: bool, is_seen: bool) -> None:
        """What the next deploys go by, and old releases and environments that nothing uses any more."""
        if self.is_new and is_seen:
            mark = f"{self.settings.own}/good/{release.name}"
            argv = ("sh", "-c", 'mkdir -p "$(dirname "$1")" && : > "$1"', "sh", mark)
            note = Command(argv, user=self.user)
            self.add(kinds.GOOD, f"note that {release.name} is good", "a rollback goes to it", note, FINISH)
        if backups:
            undo = Remove(f"{self.settings.own}/undo", sudo=self.facts.user != "root" and self.settings.sudo)
            self.add(kinds.REMOVE, "forget the way back", "it is not needed any more", undo, FINISH)
        surplus = self._surplus()
        if surplus:
            names = ", ".join(posixpath.basename(path) for path in surplus if not path.startswith(self.settings.own))
            command = Command(("rm", "-rf", "--", *surplus), user=self.user)
            self.add(kinds.PRUNE, f"remove {names}", f"{self.settings.keep} releases are kept", command, FINISH)

    def _surplus(self) -> list[str]:
        settings, facts = self.settings, self.facts
        running = {node.release for node in facts.nodes.values() if node.state == RUNNING}
        wanted = self.release.name if self.release is not None else facts.current
        names = sorted({one.name for one in facts.releases} | ({wanted} if wanted else set()))
        # those that were never healthy are no way back, and must not push out one that is
        good = sorted({one.name for one in facts.releases if one.good} | ({wanted} if wanted else set()))
        # the release before is the way back, whatever its place in the order
        kept = {*good[-settings.keep :], wanted, facts.current}
        # what has failed is removed on occasion: it is no reason for a deploy
        old = [name for name in names if name not in kept and (name in good or self.steps)]
        old = [name for name in old if name not in running or self.is_new]
        used = {one.environment for one in facts.releases if one.name not in old}
        if self.release is not None:
            used.add(self._environment(self.release))
        unused = sorted(name for name in facts.environments if name not in used) if old or self.steps else []
        notes = [path for name in old for path in (kept_at(settings.own, name), f"{settings.own}/good/{name}")]
        folders = [f"{settings.releases}/{name}" for name in old]
        return [*folders, *(f"{settings.environments}/{name}" for name in unused), *notes]

    # ---- adding

    @property
    def given_owner(self) -> str | None:
        """Whom files are to belong to, where that isn't who logs in anyway."""
        return self.owner if self.owner != self.facts.user else None

    def add(
        self,
        kind: str,
        title: str,
        reason: str,
        do: Do,
        phase: str = SWITCH,
        node: str | None = None,
        also: tuple[str, ...] = (),
        watch: Watch | None = None,
    ) -> None:
        self.steps.append(Step(self.host.name, kind, title, reason, do, phase, node, also, watch))

    def hooks(self, moment: str, release: Release, phase: str, reason: str) -> None:
        for words in self.settings.hooks.get(moment, ()):
            self.add(kinds.HOOK, f"{moment}: {shown(words)}", reason, hook(self.host, words, release.name), phase)


def _newest(facts: HostFacts) -> ReleaseFact | None:
    return max(facts.releases, default=None, key=lambda one: one.name)


def _as_units(files: tuple[File, ...]) -> tuple[UnitFile, ...]:
    """Files that were kept, in the form that rendered ones have."""
    return tuple(
        UnitFile(
            file.path,
            file.content.decode(),
            file.mode,
            file.owner,
            isinstance(file.text, Secret),
            "as the release had it",
        )
        for file in files
    )
