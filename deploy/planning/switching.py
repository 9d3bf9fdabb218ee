"""The part of a host's plan that changes what runs: units, the link to the release, restarts one by one, and the way back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from multi.deploy import steps as kinds
from multi.deploy.hosts.facts import FAILED, RUNNING, STARTING, NodeFact
from multi.deploy.hosts.settings import SUPERVISORD, SYSTEMD, SYSTEMD_USER
from multi.deploy.planning.managers import Keepers, Manager, Supervisord, Systemd, node_of
from multi.deploy.planning.wayback import WayBack
from multi.deploy.releases.wanted import Kept, hook, kept_at
from multi.deploy.steps import SWITCH, File, Gate, Link, Remove, Secret, Watch
from multi.units.base import File as UnitFile
from multi.units.unit_names import stem

if TYPE_CHECKING:
    from multi.deploy.planning.hostplan import HostPlanner
    from multi.deploy.planning.rendering import Rendered

#: Beside the time that a node may take to stop: to start, and to say so.
MARGIN = 120.0
#: Units that hold others together; nothing runs in them.
_FRAMES = (".target", ".slice")


class Turn(NamedTuple):
    """What is done to a node, and why."""

    kind: str  # START or RESTART
    reason: str


class Switch:
    """Adds the steps to a host's planner. What it compares was found before; it asks nothing of the host."""

    def __init__(self, planner: HostPlanner, manager: Manager, rendered: Rendered, secrets: Secret | None) -> None:
        self.planner = planner
        self.manager = manager
        self.rendered = rendered
        self.settings = planner.settings
        self.facts = planner.facts
        self.release = planner.release
        self._undo = f"{self.settings.own}/undo"
        self.backups: dict[str, str] = {}
        self.files = [file for file in rendered.files if self.facts.files.get(file.path) != rendered.digests[file.path]]
        self.removed = sorted(
            path
            for path in self.facts.files
            if path not in rendered.digests and path != self.settings.secrets_file and self._is_ours(path)
        )
        self.secrets = self._changed_secrets(secrets)
        self.moved = self._under_another()
        self.gone = self._gone()
        self.turns = self._turns()
        self.enabled = self._to_enable()
        targets = [path.rpartition("/")[2] for path in rendered.digests if path.endswith(".target")]
        self.targets = [target for target in targets if target not in self.facts.active]
        self.is_linked = self.release is not None and self.facts.current != self.release.name

    # ---- what differs

    def _changed_secrets(self, secrets: Secret | None) -> File | None:
        path = self.settings.secrets_file
        if secrets is None:
            return None
        owner = self.planner.given_owner
        file = File(path, secrets, 0o600, owner, owner is not None)
        return None if self.facts.files.get(path) == file.digest else file._replace(backup=self._backup(path))

    def _under_another(self) -> dict[str, NodeFact]:
        """Nodes of this host that another manager runs, or the same one under another name, by name."""
        found = {}
        for node, unit in self.rendered.units.items():
            for fact in self.facts.nodes.values():
                is_other = fact.manager != self.manager.name or (fact.unit != unit and self._has_file(fact, node))
                is_up = fact.state in (RUNNING, STARTING)
                if is_up and is_other and self.node_of(fact) == node:
                    found[node] = fact
        return found

    def _gone(self) -> dict[str, NodeFact]:
        """Nodes of the project that run here and are not to, by unit."""
        wanted = set(self.rendered.units)
        return {
            unit: fact
            for unit, fact in self.facts.nodes.items()
            if fact.state in (RUNNING, STARTING)
            and (node := self.node_of(fact)) is not None
            and node not in wanted
            and self._has_file(fact, node)
        }

    def _has_file(self, fact: NodeFact, node: str) -> bool:
        """Whether a program of supervisord is there by a file of ours: others may have names that begin like ours."""
        name = f"/multi-{self.planner.project}.{node}.conf"
        return fact.manager != SUPERVISORD or any(path.endswith(name) for path in self.facts.files)

    def _turns(self) -> dict[str, Turn]:
        """The nodes that are started or restarted, in their order."""
        changed = self.changed()
        found = {}
        for node, unit in self.rendered.units.items():
            fact = self.facts.nodes.get(unit)
            if node in self.moved:
                former = self.moved[node]
                is_same = former.manager == self.manager.name
                found[node] = Turn(kinds.START, f"{former.unit if is_same else former.manager} has run it")
            elif fact is None or fact.manager != self.manager.name or fact.state not in (RUNNING, STARTING, FAILED):
                found[node] = Turn(kinds.START, "it is not running")
            elif (reason := self._why(node, fact, changed)) is not None:
                found[node] = Turn(kinds.RESTART, reason)
        # what isn't up comes first, so that the others can go down
        up = {node for node in found if self._is_up(node)}
        return {node: found[node] for node in sorted(found, key=up.__contains__)}

    def _is_up(self, node: str) -> bool:
        fact = self.moved.get(node) or self.facts.nodes.get(self.rendered.units[node])
        return fact is not None and fact.state == RUNNING

    def changed(self) -> set[str]:
        """The nodes that would run otherwise with the files as they are to be."""
        facts, found = self.facts, set()
        for file in self.files:
            if file.path.endswith(_FRAMES):
                continue
            is_asleft = facts.files.get(file.path, "") == facts.recorded_files.get(file.path)
            for node in file.nodes or self.rendered.units:
                unit = self.rendered.units.get(node, "")
                meaning = self.rendered.effects.get(unit)
                # where the file is as the last deploy wrote it, what that noted tells whether more than a comment has changed
                if not (is_asleft and meaning is not None and facts.recorded_units.get(unit) == meaning):
                    found.add(node)
        return found

    def _why(self, node: str, fact: NodeFact, changed: set[str]) -> str | None:
        """Why a node that is there has to be restarted; None: it needn't."""
        if fact.state == FAILED:
            return "it has failed"
        if node in changed:
            return "its unit has changed"
        if self.secrets is not None:
            return "secret variables have changed"
        if self.release is None:
            return None
        if self.planner.is_new:
            return f"it runs {fact.release or 'an earlier release'}"
        if fact.release is not None and fact.release != self.release.name:
            return f"it runs {fact.release} still"
        if fact.release is None and fact.age is not None:
            return "it began before the release was put in place"
        return None

    def _to_enable(self) -> list[str]:
        """Units that don't start with the machine and should."""
        if not isinstance(self.manager, Systemd):
            return []
        targets = [path.rpartition("/")[2] for path in self.rendered.digests if path.endswith(".target")]
        # the target wants its services by itself
        return [unit for unit in targets or self.rendered.units.values() if unit not in self.facts.wanted]

    @property
    def is_empty(self) -> bool:
        return not (
            self.files
            or self.removed
            or self.secrets
            or self.moved
            or self.gone
            or self.turns
            or self.enabled
            or self.is_linked
            or self.targets
            or self._record() is not None
        )

    # ---- the steps

    def add(self) -> None:
        """All of them, in order; none where nothing differs."""
        if self.is_empty:
            return
        planner, release = self.planner, self.release
        if self.files or self.removed or self.secrets:
            clear = Remove(self._undo, sudo=self.manager.sudo)
            planner.add(kinds.REMOVE, "forget the last way back", "a new one is laid", clear)
        if release is not None:
            planner.hooks("before_restart", release, SWITCH, "before nodes are restarted")
        self._add_stops()
        self._add_files()
        if self.is_linked and release is not None:
            link = Link(self.settings.current, f"releases/{release.name}", planner.given_owner)
            reason = f"it is {self.facts.current}" if self.facts.current else "there is none yet"
            planner.add(kinds.LINK, f"current -> {release.name}", reason, link)
        if self.enabled and (command := self.manager.enable(self.enabled)) is not None:
            planner.add(kinds.RUN, f"enable {', '.join(self.enabled)}", "they are to start with the machine", command)
        self._add_turns()
        self._forget()
        if self.turns:
            nodes = list(self.turns)
            planner.add(kinds.GATE, "health", "before other hosts follow", self._gate(nodes, whole=True))
        if release is not None:
            planner.hooks("after_restart", release, SWITCH, "nodes are restarted and up")
        for target in self.targets:
            reason = "by it all nodes are stopped and started together"
            planner.add(kinds.RUN, f"start {target}", reason, self.manager.start(target, MARGIN))
        if (record := self._record()) is not None:
            planner.add(kinds.WRITE, "note what the units mean", "for the next deploy to compare", record)
        if release is not None and self.rendered.files and (planner.is_new or self.files):
            kept = Kept(
                self.manager.name, tuple(map(self._file, self.rendered.files)), self.rendered.units, planner.agent
            )
            owner = planner.given_owner
            file = File(kept_at(self.settings.own, release.name), kept.write(), 0o600, owner, owner is not None)
            planner.add(kinds.WRITE, "keep the units", "a rollback takes them from there", file)
        planner.back += WayBack(self).steps()

    def _record(self) -> File | None:
        """What this deploy leaves for the next one; None where it is there."""
        rendered, facts = self.rendered, self.facts
        if not rendered.files or (rendered.digests, rendered.effects) == (facts.recorded_files, facts.recorded_units):
            return None
        owner = self.planner.given_owner
        return File(f"{self.settings.own}/units", rendered.record, 0o644, owner, owner is not None)

    def _add_stops(self) -> None:
        for fact in self.gone.values():
            node = self.node_of(fact)
            self._stop(fact, node, "the description has no such node here any more")

    def _stop(self, fact: NodeFact, node: str | None, reason: str) -> None:
        command = self.manager_of(fact).stop(fact.unit, self.time(node))
        watch = self.watch(fact.manager, [node or fact.unit], [fact.unit])
        self.planner.add(kinds.STOP, f"stop {node}", reason, command, node=node, watch=watch)

    def _add_files(self) -> None:
        planner = self.planner
        if self.secrets is not None:
            reason = "they have changed" if self.secrets.path in self.facts.files else "there are none yet"
            planner.add(kinds.WRITE, "write secret variables", reason, self.secrets)
        for file in self.files:
            reason = "it has changed" if file.path in self.facts.files else "it is missing"
            wanted = self._file(file)._replace(sudo=self.manager.sudo, backup=self._backup(file.path))
            planner.add(kinds.WRITE, f"write {file.path}", f"{reason}{f': {file.why}' if file.why else ''}", wanted)
        for target, manager in self.left().items():
            if target in self.facts.wanted and (command := manager.disable([target])) is not None:
                planner.add(kinds.RUN, f"disable {target}", "its nodes are run otherwise, or not at all", command)
        for path in self.removed:
            remove = Remove(path, self.manager.sudo, self._backup(path))
            planner.add(kinds.REMOVE, f"remove {path}", "the description has no such thing any more", remove)
        if self.files or self.removed:
            for manager in {self.manager.name: self.manager, **self.others()}.values():
                self._read_again(manager)

    def _read_again(self, manager: Manager) -> None:
        command = manager.read_again()
        if command is not None:
            self.planner.add(kinds.RELOAD, f"have {manager.name} read its files", "they have changed", command)

    def _forget(self) -> None:
        """supervisord knows programs whose files are gone until it is told to take that over."""
        facts = [fact for fact in (*self.moved.values(), *self.gone.values()) if fact.manager == SUPERVISORD]
        supervisord = Supervisord()
        for group in sorted({supervisord.together(fact.unit) for fact in facts}):
            if (command := supervisord.apply(group)) is not None:
                self.planner.add(kinds.RELOAD, f"have {supervisord.name} forget {group}", "its files are gone", command)
        for target, manager in self.left().items():
            if target in self.facts.active:
                self.planner.add(kinds.RUN, f"stop {target}", "its files are gone", manager.stop(target, MARGIN))

    def left(self) -> dict[str, Manager]:
        """Targets whose files are removed."""
        paths = [path for path in self.removed if path.endswith(".target")]
        system = Systemd()
        return {
            path.rpartition("/")[2]: system if path.startswith("/etc/") else Systemd(uid=self.facts.uid)
            for path in paths
        }

    def others(self) -> dict[str, Manager]:
        """The managers that had nodes which they have no more."""
        facts = [*self.moved.values(), *self.gone.values()]
        return {fact.manager: self.manager_of(fact) for fact in facts if fact.manager != self.manager.name}

    def _add_turns(self) -> None:
        """Starts and restarts, one node after the other; programs of a group that has changed, together."""
        changed = self.changed()
        done: set[str] = set()
        turned: set[str] = set()
        for node, turn in self.turns.items():
            unit = self.rendered.units[node]
            together = self.manager.together(unit)
            if together in done:
                continue
            timeout = self.rendered.stop_times[node] + MARGIN
            nodes = [one for one, other in self.rendered.units.items() if self.manager.together(other) == together]
            # a program whose file was there before supervisord was told of it is not known either
            is_known = self.manager.name != SUPERVISORD or unit in self.facts.nodes
            apply = self.manager.apply(unit, timeout) if changed & set(nodes) or not is_known else None
            for one in nodes if apply is not None else [node]:
                if one in self.moved:
                    is_same = self.moved[one].manager == self.manager.name
                    by = self.rendered.units[one] if is_same else self.manager.name
                    self._stop(self.moved[one], one, f"from now on {by} runs it, and never both")
            if apply is not None:
                done.add(together)
                reason = "supervisord takes changes over for a whole group" if len(nodes) > 1 else turn.reason
                title, others = f"{turn.kind} {', '.join(nodes)}", tuple(one for one in nodes if one != node)
                self.planner.add(turn.kind, title, reason, apply, node=node, also=others, watch=self._watch(nodes))
            else:
                nodes = [node]
                act = self.manager.start if turn.kind == kinds.START else self.manager.restart
                command = act(unit, timeout)
                title = f"{turn.kind} {node}"
                self.planner.add(turn.kind, title, turn.reason, command, node=node, watch=self._watch(nodes))
            turned.update(nodes)
            if not self.manager.waits and not turned.issuperset(self.turns):
                # the next one goes only when this one works; after the last one the whole host is looked at
                gate = self._gate(nodes)
                title = f"{', '.join(nodes)} {'is' if len(nodes) == 1 else 'are'} up"
                self.planner.add(kinds.GATE, title, "before the next one is touched", gate, node=node)

    def _gate(self, nodes: list[str], *, whole: bool = False) -> Gate:
        """That these are up; `whole`: as all of the host are to be in the end."""
        settings, release = self.settings, self.release
        folder = f"{settings.releases}/{release.name}" if release is not None else None
        asked, unseen = self.planner.readiness(nodes, self.manager.name)
        command = None
        if whole and settings.health_command is not None and release is not None:
            command = hook(self.planner.host, settings.health_command, release.name)
        return Gate(
            tuple(nodes),
            self.manager.name,
            tuple(self.rendered.units[node] for node in nodes),
            settings.min_healthy_time if whole else 0,
            settings.healthy_deadline,
            f"{settings.current}/.venv/bin/multi" if self.planner.agent else None,
            command,
            folder if whole else None,
            asked=asked,
            unseen=unseen,
        )

    # ---- helpers

    def time(self, node: str | None) -> float:
        """How long a stop or a restart of the node may take (s)."""
        return self.rendered.stop_times.get(node or "", 600) + MARGIN

    def _watch(self, nodes: list[str]) -> Watch:
        return self.watch(self.manager.name, nodes, [self.rendered.units[node] for node in nodes])

    def watch(self, manager: str, nodes: list[str], units: list[str]) -> Watch:
        """How these are looked at while their manager stops or starts them."""
        stop = max(self.time(node) - MARGIN for node in nodes)
        return Watch(manager, tuple(nodes), tuple(units), stop, self.settings.healthy_deadline)

    @staticmethod
    def _file(file: UnitFile) -> File:
        return File(file.path, Secret(file.text) if file.secret else file.text, file.mode, file.owner)

    def _backup(self, path: str) -> str:
        self.backups[path] = backup = f"{self._undo}/{path.strip('/').replace('/', '%')}"
        return backup

    def _is_ours(self, path: str) -> bool:
        """Whether a file is one of this project's, and not of one whose name begins in the same way."""
        project = re.escape(self.planner.project)
        units, slices = (
            re.escape(stem(name)) for name in (self.planner.project, self.planner.project.replace("-", "_"))
        )
        names = rf"{units}(@[^/]*)?\.(service|target)|multi-{project}(\.[^/.]+)?\.conf|{slices}\.slice"
        is_named_so = re.fullmatch(rf".*/({names}|multi/{project}/[^/]+\.env)", path) is not None
        return is_named_so or path in self.facts.recorded_files

    def node_of(self, fact: NodeFact) -> str | None:
        """The node that a unit runs, where it is one of this project's."""
        return node_of(self.planner.project, fact, self.facts.recorded_units)

    def manager_of(self, fact: NodeFact) -> Manager:
        """The manager that runs a node now, which may be another than the one that is to."""
        if fact.manager == self.manager.name:
            return self.manager
        if fact.manager == SYSTEMD:
            return Systemd()
        if fact.manager == SYSTEMD_USER:
            return Systemd(uid=self.facts.uid)
        if fact.manager == SUPERVISORD:
            return Supervisord()
        return Keepers(f"{self.settings.current}/.venv/bin/multi", self.settings.current, self.planner.user)
