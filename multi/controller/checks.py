"""Looks whether what a description names is there: interpreters, apps, directories, files, users, programs. Starts nothing
of the project, and imports nothing of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from multi.controller.keeper import envfile
from multi.errors import ConfigurationError
from multi.nodes.description import ERROR, WARNING, Described, Description, Problem
from multi.nodes.spec import NodeSpec

_PATIENCE = 20.0
# finding the spec of a top module imports nothing; it knows more ways to install one than the path tells
_ASK = """\
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
found = [name for name in sys.argv[2:] if importlib.util.find_spec(name)]
print(json.dumps([list(sys.version_info[:3]), found]))
"""
_OLDEST = (3, 11)


class Interpreter(NamedTuple):
    """What an interpreter says about itself; `why` tells why it says nothing."""

    version: tuple[int, ...]
    modules: list[str]  # of those that were asked for, the ones that it finds
    why: str = ""


def examine(description: Description, nodes: Iterable[Described] | None = None) -> list[Problem]:
    """All that is wrong with what these nodes (all of them) need on this machine; of the nodes of one table once."""
    examination = _Examination(description)
    chosen = list(description.nodes if nodes is None else nodes)
    firsts = {node.section: node for node in reversed(chosen)}
    for node in description.nodes:
        if firsts.get(node.section) is node:
            examination.node(node)
    examination.together(chosen)
    return examination.problems


class _Examination:
    def __init__(self, description: Description) -> None:
        self.description = description
        self.problems: list[Problem] = []
        self._interpreters: dict[tuple[str, ...], Interpreter] = {}

    def add(self, node: Described, text: str, level: str = ERROR) -> None:
        problem = Problem(self.description.path, node.line, f"nodes.{node.section}", text, level)
        if problem not in self.problems:
            self.problems.append(problem)

    def node(self, node: Described) -> None:
        spec = node.spec
        if not os.path.isdir(spec.cwd):
            self.add(node, f"directory: there is no directory {spec.cwd}")
        elif not os.access(spec.cwd, os.X_OK):
            self.add(node, f"directory: {spec.cwd} can't be entered: no permission")
        self._engine(node)
        self._who(node)
        for path in spec.env_files:
            self._env_file(node, path)
        for option, key in (("logfile", "log.file"), ("pidfile", "pidfile")):
            if option in spec.options:
                self._writable(node, key, str(spec.options[option]))
        for event, hooks in spec.hooks.items():
            for hook in hooks:
                if "argv" in hook:
                    self._program(node, f"hooks.{event}", hook["argv"][0])
        for need in node.needs:
            if need.kind == "command":
                self._program(node, "depends_on", need.target[0])
        self._times(node)

    def _engine(self, node: Described) -> None:
        spec = node.spec
        runs_python = spec.engine in ("multi", "celery")
        if runs_python and not self._runs(node):
            return  # what the engine finds is the same
        try:
            spec.check()
        except ConfigurationError as error:
            # it names the node that it looked at, and there may be more of its kind
            self.add(node, re.sub(rf"^{re.escape(str(spec.name))}: ", "", str(error)))
        if not runs_python or not os.path.isdir(spec.cwd):
            return
        found = self._ask(spec)
        app = spec.options.get("app")
        if app and _module(str(app)) not in found.modules:
            self.add(
                node,
                f"app: there is no module {_module(str(app))}, neither in {spec.cwd} nor where {spec.executable} imports from",
            )
        if spec.engine == "celery" and "celery" not in found.modules:
            self.add(
                node, f"python: Celery is not installed for {spec.executable}; name the interpreter of the project"
            )
        if spec.engine == "multi" and "multi" not in found.modules:
            self.add(
                node,
                f'python: multi is not installed for {spec.executable}; install it there, or use engine = "celery"',
            )

    def _runs(self, node: Described) -> bool:
        spec = node.spec
        found = self._ask(spec)
        if found.why:
            self.add(node, f"python: {spec.executable} can't be run: {found.why}")
        elif spec.engine == "multi" and found.version < _OLDEST:
            self.add(
                node, f"python: {spec.executable} is Python {found.version[0]}.{found.version[1]}; multi needs 3.11"
            )
        return not found.why

    def _ask(self, spec: NodeSpec) -> Interpreter:
        variables = {name: value for name, value in spec.env.items() if name.startswith("PYTHON")}
        module = _module(str(spec.options.get("app", "")))
        wanted = ["celery", "multi", *([module] if module.isidentifier() else [])]
        key = (spec.executable, spec.cwd, *wanted, *sorted(f"{name}={value}" for name, value in variables.items()))
        if key not in self._interpreters:
            self._interpreters[key] = ask(spec.executable, spec.cwd, wanted, variables)
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
                self.add(node, f"{what}: there is no {what} {name} on this machine")
                continue
            if os.geteuid() != 0:
                self.add(
                    node,
                    f"{what}: only root can start a node as somebody else; run multi as that user, without this key",
                )

    def _env_file(self, node: Described, path: str) -> None:
        try:
            envfile.read(path)
        except envfile.EnvFileError as error:
            self.add(node, f"env_files: {error}")

    def _writable(self, node: Described, key: str, pattern: str) -> None:
        from multi.nodes.names import expand

        path = os.path.join(node.spec.cwd, expand(pattern, node.spec.name))
        folder = os.path.dirname(path)
        while folder != "/" and not os.path.exists(folder):
            folder = os.path.dirname(folder)  # the rest is made at the start
        if os.path.isdir(path):
            self.add(node, f"{key}: {path} is a directory")
        elif not os.path.isdir(folder):
            self.add(node, f"{key}: {folder} is no directory")
        elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
            self.add(node, f"{key}: {path} can't be written: no permission in {folder}")

    def _program(self, node: Described, key: str, program: str) -> None:
        spec = node.spec
        if os.sep in program:
            found: str | None = os.path.join(spec.cwd, os.path.expanduser(program))
            found = found if found and os.access(found, os.X_OK) and not os.path.isdir(found) else None
        else:
            found = shutil.which(program, path=spec.env.get("PATH") or os.environ.get("PATH"))
        if found is None:
            self.add(node, f"{key}: there is no program {program}{'' if os.sep in program else ' on the PATH'}")

    def _times(self, node: Described) -> None:
        policy = node.spec.policy
        quit_after, kill_after = policy.get("quit_after"), policy.get("kill_after")
        if quit_after is not None and kill_after is not None and kill_after < quit_after:
            self.add(node, f"stop: KILL after {kill_after:g} s comes before QUIT after {quit_after:g} s", WARNING)
        limit = node.spec.options.get("time_limit")
        first = min((time for time in (quit_after, kill_after) if time is not None), default=None)
        if limit is not None and first is not None and float(str(limit)) > first:
            text = (
                f"stop: a task may run {float(str(limit)):g} s (time_limit), and a stop interrupts it after {first:g} s"
            )
            self.add(node, text, WARNING)
        if policy.get("max_age_jitter") is not None and policy.get("max_age") is None:
            self.add(node, "max_age_jitter: does nothing without max_age", WARNING)

    def together(self, nodes: list[Described]) -> None:
        """What can't be seen at one node alone."""
        beats: dict[str, list[str]] = {}
        for node in nodes:
            if node.spec.kind == "beat" or node.spec.options.get("beat"):
                beats.setdefault(str(node.spec.options.get("app")), []).append(node.name)
        for app, names in beats.items():
            if len(names) > 1:
                text = f"{', '.join(names)} each run a beat of {app}: whatever is scheduled is sent {len(names)} times"
                last = next(node for node in nodes if node.name == names[-1])
                self.add(last, text, WARNING)
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
                text = f"{', '.join(secrets)}: holds a password, and others can read this file; use chmod 600, or an env file"
                self.add(node, text, WARNING)
                return


def ask(python: str, folder: str, modules: list[str], variables: Mapping[str, str]) -> Interpreter:
    """Run an interpreter for a moment: its version, and which of these modules it finds from `folder`. Imports none of them."""
    try:
        done = subprocess.run(
            [python, "-c", _ASK, folder, *modules],
            check=False,
            cwd="/",
            env={**{name: value for name, value in os.environ.items() if name != "PYTHONHOME"}, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
        )
        version, found = json.loads(done.stdout)
        return Interpreter(tuple(version), found)
    except OSError as error:
        return Interpreter((), [], error.strerror or str(error))
    except subprocess.TimeoutExpired:
        return Interpreter((), [], f"it has not answered within {_PATIENCE:g} s")
    except (ValueError, TypeError):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Interpreter((), [], f"it is no Python (exit status {done.returncode}{': ' + said[-1] if said else ''})")


def _module(app: str) -> str:
    return re.split(r"[.:]", app, maxsplit=1)[0]
