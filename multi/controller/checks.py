"""Looks whether what a description names is there: interpreters, apps, directories, files, users, programs. Starts nothing
of the project, and imports nothing of it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable
from typing import Any

from multi import plugins
from multi.controller import places, trial
from multi.controller.interpreters import Interpreter, ask
from multi.controller.keeper import envfile
from multi.errors import ConfigurationError, MultiError
from multi.nodes.description import ERROR, WARNING, Described, Description, Problem
from multi.nodes.description.positions import Path
from multi.nodes.description.wording import in_keys
from multi.nodes.names import expand
from multi.nodes.spec import BEAT, NodeSpec

_OLDEST = (3, 11)
#: What says what a node is: with an error in one of them nothing more can be said of its engine.
_SHAPE = ("engine", "kind", "command", "inherits")
#: A worker without an app looks for this module, or for the one that one of these variables names.
_CONFIGURATION = "celeryconfig"
_APP_VARIABLES = (
    "MULTI_WORKER_APP",
    "CELERY_WORKER_APP",
    "CELERY_CONFIG_MODULE",
    "MULTI_WORKER_CONFIG",
    "CELERY_WORKER_CONFIG",
)


def examine(
    description: Description,
    nodes: Iterable[Described] | None = None,
    said_of: Callable[[NodeSpec], str] | None = None,
) -> list[Problem]:
    """All that is wrong with what these nodes (all of them) need on this machine; of the nodes of one table once.

    `said_of` has a worker look at its own options: what it says is wrong with them, or nothing."""
    examination = _Examination(description, said_of)
    chosen = list(description.nodes if nodes is None else nodes)
    firsts = {node.section: node for node in reversed(chosen)}
    for node in description.nodes:
        if firsts.get(node.section) is node:
            examination.node(node)
    examination.together(chosen)
    examination.project()
    return examination.problems


class _Examination:
    def __init__(self, description: Description, said_of: Callable[[NodeSpec], str] | None) -> None:
        self.description = description
        self.said_of = said_of
        self.problems: list[Problem] = []
        self._interpreters: dict[tuple[str, ...], Interpreter] = {}

    def add(self, node: Described, key: Path | str, text: str, level: str = ERROR) -> None:
        """Note what is wrong with a key of a node, where the file gives it that."""
        path: Path = tuple(key.split(".")) if isinstance(key, str) else key
        places = self.description.places
        if places.is_broken(node.section, path):
            return
        problem = places.problem(node.section, path, text, level)
        if problem not in self.problems:
            self.problems.append(problem)

    def said(self, node: Described, error: str, *otherwise: str) -> None:
        """Note what an engine or a worker says of its options, in the words of a description: about a key that it names, or
        that it may mean."""
        # it names the node that it looked at, and there may be more of its kind
        text = re.sub(rf"^{re.escape(str(node.spec.name))}: ", "", error)
        text, named = in_keys(text, node.spec.kind)
        places = self.description.places
        table: Path = ("nodes", node.section)
        keys = [*named, *otherwise]
        key = next((one for one in keys if places.of(node.section, tuple(one.split("."))) != table), keys[0])
        self.add(node, key, re.sub(rf"^{re.escape(key)}( = (\d+|\"[^\"]*\"|'[^']*'))?: ", "", text))

    def node(self, node: Described) -> None:
        spec = node.spec
        if not os.path.isdir(spec.cwd):
            self.add(node, "directory", f"there is no directory {spec.cwd}")
        elif not os.access(spec.cwd, os.X_OK):
            self.add(node, "directory", f"{spec.cwd} can't be entered: no permission")
        elif (owner := trial.owner_of(spec)) and (why := trial.directory(owner, spec.cwd)):
            self.add(node, "directory", f"{spec.cwd} can't be entered by {_name(spec)}: {why}")
        self._engine(node)
        self._who(node)
        for key, why in (("limits", trial.limits(spec)), ("nice", trial.niceness(spec))):
            if why:
                self.add(node, key, why)
        for number, path in enumerate(spec.env_files):
            self._env_file(node, ("env_files", number), path)
        for option, key in (("logfile", "log.file"), ("pidfile", "pidfile")):
            if option in spec.options:
                self._writable(node, key, str(spec.options[option]))
        for event, hooks in spec.hooks.items():
            for hook in hooks:
                if "argv" in hook:
                    self._program(node, ("hooks", event), hook["argv"][0])
        for need in node.needs:
            if need.kind == "command":
                self._program(node, ("depends_on",), need.target[0])
        self._times(node)

    def _engine(self, node: Described) -> None:
        spec = node.spec
        places = self.description.places
        if ("nodes", node.section) in places.report.broken or any(
            places.is_broken(node.section, (key,)) for key in _SHAPE
        ):
            return  # what it is to be isn't known
        runs_python = spec.engine in ("multi", "celery")
        if runs_python and not self._runs(node):
            return  # what the engine finds is the same
        try:
            spec.check()
        except ConfigurationError as error:
            self.said(node, str(error), "engine", "kind")
        else:
            if self.said_of is not None and (text := self.said_of(spec)):
                self.said(node, text, "args")
        if not runs_python or not os.path.isdir(spec.cwd):
            return
        found = self._ask(spec)
        app = spec.options.get("app")
        if app and _module(str(app)) not in found.modules:
            text = f"there is no module {_module(str(app))}, neither in {spec.cwd} nor where {spec.executable} imports from"
            self.add(node, "app", text)
        for key in ("config", "include"):
            for number, name in enumerate(filter(None, str(spec.options.get(key, "")).split(","))):
                if _module(name) not in found.modules:
                    self.add(
                        node,
                        (key, number),
                        f"there is no module {_module(name)}, neither in {spec.cwd} nor on the path",
                    )
        if not app and spec.engine == "multi" and spec.kind == "worker" and not self._has_app(spec, found):
            self.add(node, "app", 'no app is named: say where it is, as in app = "proj.tasks"')
        if spec.name.short == BEAT and spec.kind == "worker" and spec.given_kind is None and not spec.command:
            text = 'is a worker, since an engine is given: kind = "beat" makes it a scheduler, kind = "worker" leaves it one'
            self.add(node, "kind", text, WARNING)
        if spec.engine == "celery" and "celery" not in found.modules:
            text = f"Celery is not installed for {spec.executable}; name the interpreter of the project"
            self.add(node, "python", text)
        if spec.engine == "multi" and "multi" not in found.modules:
            text = f'multi is not installed for {spec.executable}; install it there, or use engine = "celery"'
            self.add(node, "python", text)
        if spec.engine == "multi" and spec.executable == sys.executable:
            self._schemes(node)  # what is installed elsewhere isn't known

    def _has_app(self, spec: NodeSpec, found: Interpreter) -> bool:
        """Whether a worker without `app` finds one: it is told by other ways, or the configuration is where it is looked for."""
        if spec.command or spec.rest or spec.options.get("config") or _CONFIGURATION in found.modules:
            return True
        variables = {**os.environ, **spec.env}
        for path in spec.env_files:
            try:
                variables |= envfile.read(path)
            except envfile.EnvFileError:
                pass  # told where it stands
        return any(name in variables for name in _APP_VARIABLES)

    def _schemes(self, node: Described) -> None:
        for key, group in (("broker", "multi.brokers"), ("result_backend", "multi.backends")):
            scheme, separator, _ = str(node.spec.options.get(key, "")).partition("://")
            known = plugins.names(group)
            if separator and scheme not in known:
                kind, what = plugins.words(group)
                self.add(node, key, f"no {kind} has the {what} {scheme!r}; there are: {', '.join(known)}")

    def _runs(self, node: Described) -> bool:
        spec = node.spec
        found = self._ask(spec)
        if found.why:
            who = f" by {_name(spec)}" if trial.owner_of(spec) else ""
            self.add(node, "python", f"{spec.executable} can't be run{who}: {found.why}")
        elif spec.engine == "multi" and found.version < _OLDEST:
            version = f"{found.version[0]}.{found.version[1]}"
            self.add(node, "python", f"{spec.executable} is Python {version}; multi needs 3.11")
        return not found.why

    def _ask(self, spec: NodeSpec) -> Interpreter:
        variables = {name: value for name, value in spec.env.items() if name.startswith("PYTHON")}
        named = ",".join(str(spec.options.get(key, "")) for key in ("app", "config", "include"))
        modules = sorted({module for name in named.split(",") if (module := _module(name.strip())).isidentifier()})
        wanted = ["celery", "multi", _CONFIGURATION, *modules]
        owner = trial.owner_of(spec)
        settings = sorted(f"{name}={value}" for name, value in variables.items())
        key = (spec.executable, spec.cwd, str(owner and owner.ids), *wanted, *settings)
        if key not in self._interpreters:
            self._interpreters[key] = ask(spec.executable, spec.cwd, wanted, variables, owner.ids if owner else None)
        return self._interpreters[key]

    def _who(self, node: Described) -> None:
        import grp
        import pwd

        finders: tuple[tuple[str, str | None, Callable[[str], Any]], ...] = (
            ("user", node.spec.user, pwd.getpwnam),
            ("group", node.spec.group, grp.getgrnam),
        )
        for what, name, find in finders:
            if name is None:
                continue
            try:
                if not name.isdecimal():
                    find(name)
            except KeyError:
                self.add(node, what, f"there is no {what} {name} on this machine")
                continue
            if os.geteuid() != 0:
                text = "only root can start a node as somebody else; run multi as that user, without this key"
                self.add(node, what, text)

    def _env_file(self, node: Described, key: Path, path: str) -> None:
        try:
            envfile.read(path)
        except envfile.EnvFileError as error:
            self.add(node, key, str(error))

    def _writable(self, node: Described, key: str, pattern: str) -> None:
        path = os.path.join(node.spec.cwd, expand(pattern, node.spec.name))
        owner = trial.owner_of(node.spec) if key == "log.file" else None
        if os.path.isdir(path):
            self.add(node, key, f"{path} is a directory")
        elif key == "log.file" and trial.is_pipe(path):
            self.add(node, key, f"{path} is a pipe; nodes would stand still whenever nobody reads it")
        elif owner is not None and (why := trial.file(owner, path, unwritable)):
            self.add(node, key, f"{path} can't be written by {_name(node.spec)}: {why}")
        elif not os.path.exists(path):
            if why := unwritable(os.path.dirname(path)):
                self.add(node, key, f"{path} can't be written: {why}")
        elif not os.access(path, os.W_OK):
            self.add(node, key, f"{path} can't be written: no permission")
        elif key == "pidfile" and not _holds_a_number(path):
            self.add(node, key, f"{path} holds no process id, so it is something else's; name another file")

    def _program(self, node: Described, key: Path, program: str) -> None:
        spec = node.spec
        if os.sep in program:
            found: str | None = os.path.join(spec.cwd, os.path.expanduser(program))
            found = found if found and os.access(found, os.X_OK) and not os.path.isdir(found) else None
        else:
            found = shutil.which(program, path=spec.env.get("PATH") or os.environ.get("PATH"))
        if found is None:
            self.add(node, key, f"there is no program {program}{'' if os.sep in program else ' on the PATH'}")

    def _times(self, node: Described) -> None:
        policy = node.spec.policy
        quit_after, kill_after = policy.get("quit_after"), policy.get("kill_after")
        if quit_after is not None and kill_after is not None and kill_after < quit_after:
            text = f"KILL after {kill_after:g} s comes before QUIT after {quit_after:g} s"
            self.add(node, "stop.kill_after", text, WARNING)
        limit = node.spec.options.get("time_limit")
        first = min((time for time in (quit_after, kill_after) if time is not None), default=None)
        if limit is not None and first is not None and float(str(limit)) > first:
            text = f"a task may run {float(str(limit)):g} s (time_limit), and a stop interrupts it after {first:g} s"
            self.add(node, "stop", text, WARNING)
        if policy.get("max_age_jitter") is not None and policy.get("max_age") is None:
            self.add(node, "max_age_jitter", "does nothing without max_age", WARNING)

    def together(self, nodes: list[Described]) -> None:
        """What can't be seen at one node alone."""
        beats: dict[str, list[str]] = {}
        for node in nodes:
            is_beat = node.spec.kind == "beat" or node.spec.options.get("beat")
            if is_beat and node.spec.engine != "multi" and not self._is_doubled(node):
                beats.setdefault(str(node.spec.options.get("app")), []).append(node.name)
        for app, names in beats.items():
            if len(names) > 1:
                text = f"{', '.join(names)} each run a beat of {app}: whatever is scheduled is sent {len(names)} times"
                last = next(node for node in nodes if node.name == names[-1])
                self.add(last, (), text, WARNING)
        self._shared_files(nodes)
        self._singletons(nodes)
        try:
            mode = os.stat(self.description.path).st_mode
        except OSError:
            return
        from multi.urls import mask

        for node in nodes:
            secrets = [
                name for name, value in node.spec.options.items() if isinstance(value, str) and mask(value) != value
            ]
            secrets += [f"env.{name}" for name, value in node.spec.env.items() if mask(value) != value]
            if secrets and mode & 0o044:
                key = tuple(secrets[0].split(".", 1))
                also = f" (so do {', '.join(secrets[1:])})" if secrets[1:] else ""
                text = f"holds a password{also}, and others can read this file; use chmod 600, or an env file"
                self.add(node, key, text, WARNING)
                return

    def project(self) -> None:
        """What is no single node's."""
        given = self.description.state_dir
        report = self.description.places.report
        if not self.description.nodes and not report.broken:
            text = "describes no nodes; add a table for them: [nodes.NAME]"
            self.problems.append(Problem(self.description.path, 0, "", text))
        if given is None:
            return
        base = os.path.normpath(os.path.join(self.description.folder, os.path.expanduser(given)))
        why = ""
        try:
            places.check(base)
            why = unwritable(base)
        except MultiError as error:
            why = str(error)
        if why:
            self.problems.append(report.problem(("state_dir",), why))

    def _is_doubled(self, node: Described) -> bool:
        """Whether it is told already that there can't be so many of it."""
        return ("nodes", node.section, "count") in self.description.places.report.broken

    def _singletons(self, nodes: list[Described]) -> None:
        """Of the same program, or of workers of the same table, there is one on a host; a beat is told of above."""
        seen: dict[str, Described] = {}
        for node in nodes:
            what = node.spec.only_one_of
            if what is None or node.spec.kind == "beat":
                continue
            other = seen.setdefault(what, node)
            if other.section != node.section:
                text = f"{other.name} and {node.name} run the same program as singletons: a host can run one of them"
                self.add(node, "singleton", text, WARNING)

    def _shared_files(self, nodes: list[Described]) -> None:
        """Two nodes must not write one log or pid file."""
        for option, key in (("logfile", "log.file"), ("pidfile", "pidfile")):
            seen: dict[str, Described] = {}
            for node in nodes:
                if option not in node.spec.options:
                    continue
                path = _file_of(node.spec, option)
                other = seen.setdefault(path, node)
                if other is not node and not _is_device(path):
                    self.add(node, key, f"{other.name} and {node.name} would both use {path}; put %n into it")


def unwritable(folder: str) -> str:
    """Why nothing can be made in a folder, or in the nearest one above it that is there (the rest is made when it is needed);
    empty where it can."""
    while folder != "/" and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        return f"{folder} is no directory"
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))  # has no name, and is gone at once
        return ""
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            return f"{error.strerror} in {folder}" if error.errno != errno.EACCES else f"no permission in {folder}"
    import tempfile

    try:
        os.rmdir(tempfile.mkdtemp(dir=folder))
    except OSError as error:
        return f"{error.strerror} in {folder}"
    return ""


def _name(spec: NodeSpec) -> str:
    """Whom a node runs as."""
    return spec.user or f"the group {spec.group}"


def _holds_a_number(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(64).strip().isdigit() or os.path.getsize(path) == 0
    except OSError:
        return True  # told by whoever needs it


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False  # not there yet


def _file_of(spec: NodeSpec, option: str) -> str:
    return os.path.join(spec.cwd, expand(os.path.expanduser(str(spec.options[option])), spec.name))


def _module(app: str) -> str:
    return re.split(r"[.:]", app, maxsplit=1)[0]
