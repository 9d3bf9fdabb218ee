"""The specification of a node: everything that is needed to start it again, kept from one start to the next."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError
from multi.nodes.engines import find
from multi.nodes.names import NodeName
from multi.nodes.options import Value

if TYPE_CHECKING:
    from multi.nodes.engines.base import Engine

VERSION = 1
KINDS = ("worker", "beat", "command")
#: A node of this name, or a table of nodes, is a scheduler unless something else is said of it.
BEAT = "beat"
#: What is kept beside the command line, by the names under which it is kept and given.
_MORE = (
    *("kind", "engine", "singleton", "command", "user", "group", "env_files", "limits", "nice", "hooks"),
    *("description", "section"),
)
#: Where another attribute than that of the same name holds what was given.
_ATTRIBUTES = {"kind": "given_kind", "engine": "given_engine", "singleton": "given_singleton"}

#: Variables of these names change what the app is, so they are kept with the node; any other comes from whoever starts it.
KEPT_PREFIXES = ("MULTI_", "CELERY_", "DJANGO_", "PYTHON")
KEPT_NAMES = frozenset({"C_FORCE_ROOT", "TZ"})
#: These belong to one process and one moment.
NEVER_KEPT = frozenset(
    {
        *(
            "MULTI_RUN_DIR",
            "MULTI_GENERATION",
            "MULTI_LOG_FILE",
            "MULTI_LOCK_FD",
            "MULTI_MANAGER_SOCKET",
            "MULTI_PREDECESSOR",
            "MULTI_BY",
            "MULTI_RUN_BY",
            "MULTI_PAUSED",
            "MULTI_LOG_FORMAT",
        ),
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID"),
    }
)

LOG_SIZE = 10 * 1024 * 1024
LOG_KEEP = 5


class NodeSpec:
    """One node. `options` holds the options of the worker by name, `policy` what the keeper goes by.

    What is None or empty was not given: a kept specification that is changed by another keeps its own there.
    """

    def __init__(
        self,
        name: NodeName,
        *,
        executable: str,
        cwd: str,
        options: Mapping[str, Value],
        rest: list[str] | None = None,
        env: dict[str, str] | None = None,
        umask: int = 0o022,
        policy: dict[str, Any] | None = None,
        kind: str | None = None,
        engine: str | None = None,
        singleton: bool | None = None,
        command: Sequence[str] | None = None,
        user: str | None = None,
        group: str | None = None,
        env_files: Sequence[str] = (),
        limits: dict[str, Any] | None = None,
        nice: int | None = None,
        hooks: dict[str, list[dict[str, Any]]] | None = None,
        description: str | None = None,
        section: str | None = None,
    ) -> None:
        self.name = name
        self.executable = executable
        self.cwd = cwd
        self.options: dict[str, Value] = dict(options)
        self.rest = rest or []
        self.env = env or {}
        self.umask = umask
        self.policy = policy or {}
        self.given_kind = kind
        self.given_engine = engine
        self.given_singleton = singleton
        self.command = list(command or ())
        self.user = user
        self.group = group
        self.env_files = list(env_files)
        self.limits = limits or {}
        self.nice = nice
        self.hooks = hooks or {}
        self.description = description
        self.section = section

    # ---- what it is

    @property
    def engine(self) -> str:
        """The name of its engine; a program that is no option of an interpreter is run as it is."""
        if self.given_engine is not None:
            return self.given_engine
        is_program = bool(self.command) and not self.command[0].startswith("-")
        return "command" if is_program or self.given_kind == "command" else "multi"

    @property
    def kind(self) -> str:
        """ "worker", "beat" or "command"."""
        return self.given_kind or ("command" if self.engine == "command" else "worker")

    @property
    def singleton(self) -> bool:
        """Whether the project has just one of its kind on this host, as of a beat; of multi's own any number may run."""
        if self.given_singleton is not None:
            return self.given_singleton
        return self.kind == "beat" and self.engine != "multi"

    @property
    def only_one_of(self) -> str | None:
        """What there is to be one of, where it is a singleton: the beat; one program with its words; of workers those of one
        table of multi.toml, or all that are in none. Its name can be part of a file's."""
        if not self.singleton:
            return None
        if self.kind == "beat":
            return "beat"
        what = self.command if self.kind == "command" else [self.section] if self.section else []
        if not what:
            return self.kind
        from hashlib import sha256

        return f"{self.kind}.{sha256(chr(0).join(what).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"

    def check(self) -> None:
        """Raise `ConfigurationError` for what can't be, before anything is started."""
        if self.given_kind not in (None, *KINDS):
            raise ConfigurationError(
                f"{self.name}: there is no kind {self.given_kind!r}; there are: {', '.join(KINDS)}"
            )
        find(self.engine).check(self)

    # ---- what follows from it

    def argv(self, log_file: str | None) -> list[str]:
        """Its command line, without what is secret. `log_file` may still hold %i or %I, which the worker fills in per
        process."""
        return find(self.engine).argv(self, log_file)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that belong to it. URLs with a password are among them: everybody can read a command line."""
        return find(self.engine).environment(self)

    def public(self, secrets: Mapping[str, str]) -> dict[str, Value]:
        """The options without those, of the given ones, whose value holds a password."""
        hidden = self.secrets(secrets)
        return {name: value for name, value in self.options.items() if secrets.get(name) not in hidden}

    def secrets(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Those of the given options (name → variable) whose value holds a password, as variables of the environment."""
        from multi.urls import mask

        urls = {variable: str(self.options.get(name, "")) for name, variable in variables.items()}
        return {variable: url for variable, url in urls.items() if url != mask(url)}

    def changed(self, other: NodeSpec) -> NodeSpec:
        """This specification with what `other` gives anew in place of its own."""
        changed = NodeSpec(
            self.name,
            executable=str(other.options.get("executable", self.executable)),
            cwd=other.cwd if "workdir" in other.options else self.cwd,
            options={**self.options, **other.options},
            rest=other.rest or self.rest,
            env=self.env,
            umask=other.umask if "umask" in other.options else self.umask,
            policy={**self.policy, **other.policy},
        )
        for field in _MORE:
            attribute = _ATTRIBUTES.get(field, field)
            theirs, ours = getattr(other, attribute), getattr(self, attribute)
            setattr(changed, attribute, ours if theirs is None or theirs in ([], {}) else theirs)
        changed.limits = {**self.limits, **other.limits}
        return changed

    def record(self, log_file: str | None, pidfile: str, log_pattern: str | None = None) -> dict[str, Any]:
        """The file's content: what is kept, and ready for the keeper what follows from it.

        `log_file` is where the keeper finds the log; `log_pattern` is what the worker is told, in which %i, %I and %% are to be
        filled in (if not given: just the log file).
        """
        if log_pattern is None and log_file is not None:
            log_pattern = log_file.replace("%", "%%")
        engine = find(self.engine)
        return {
            "version": VERSION,
            "kind": self.kind,
            "engine": self.engine,
            "singleton": self.singleton,
            "only_one_of": self.only_one_of,
            "name": str(self.name),
            "argv": engine.argv(self, log_pattern),
            "cwd": self.cwd,
            "umask": self.umask,
            "user": self.user,
            "group": self.group,
            "env_files": self.env_files,
            "limits": self.limits,
            "nice": self.nice,
            "hooks": self.hooks,
            "log_file": log_file,
            "pidfile": pidfile,
            "description": self.description,
            "section": self.section,
            **self.policy,
            **self._keeping(engine),
            "engines": {name: self._keeping(find(name)) for name in engine.becomes},
            "kept": {
                "executable": self.executable,
                "options": self.options,
                "rest": self.rest,
                "env": self.env,
                "policy": self.policy,
                **{field: getattr(self, _ATTRIBUTES.get(field, field)) for field in _MORE},
            },
        }

    def _keeping(self, engine: Engine) -> dict[str, Any]:
        keeping = engine.keeping(self)
        if self.singleton:
            keeping["overlap"] = False
        return keeping

    @classmethod
    def from_record(cls, value: dict[str, Any]) -> NodeSpec:
        """The specification in a kept file; an error when it is none that this version understands."""
        try:
            if value["version"] > VERSION:
                raise ConfigurationError(
                    f"the specification of {value.get('name')} was written by a newer multi (format {value['version']}, "
                    f"this one knows {VERSION}); upgrade multi, or define the node anew: multi start … -A …"
                )
            short, _, host = value["name"].partition("@")
            kept = value["kept"]
            return cls(
                NodeName(short, host),
                executable=kept["executable"],
                cwd=value["cwd"],
                options=kept["options"],
                rest=kept["rest"],
                env=kept["env"],
                umask=value["umask"],
                policy=kept["policy"],
                **{field: kept[field] for field in _MORE if field in kept},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"a kept specification can't be read ({error!r}); define the node anew") from error


def kept_environment(environment: dict[str, str], given: list[str]) -> dict[str, str]:
    """The variables that belong to a node: those that shape the app, and those given as NAME=VALUE or NAME."""
    kept = {
        name: value
        for name, value in environment.items()
        if (name.startswith(KEPT_PREFIXES) or name in KEPT_NAMES) and name not in NEVER_KEPT
    }
    for text in given:
        name, equals, value = text.partition("=")
        if not name:
            raise ConfigurationError(f"{text!r} names no variable; write NAME=VALUE, or NAME to keep its present value")
        if not equals:
            if name not in environment:
                raise ConfigurationError(
                    f"the variable {name} is not set, so its value can't be kept; write {name}=VALUE"
                )
            value = environment[name]
        kept[name] = value
    return kept


def difference(old: NodeSpec, new: NodeSpec) -> list[str]:
    """What has changed, a line each; of variables and hooks only the names, and no passwords."""
    from multi.urls import mask

    lines = []
    for name in sorted({*old.options, *new.options}):
        before, after = old.options.get(name), new.options.get(name)
        if before != after:
            lines.append(f"{name}: {_shown(before, mask, name)} -> {_shown(after, mask, name)}")
    fields = (
        "cwd",
        "executable",
        "rest",
        "kind",
        "engine",
        "singleton",
        "command",
        "user",
        "group",
        "env_files",
        "nice",
    )
    before_after = [(what, getattr(old, what), getattr(new, what)) for what in fields]
    tables: list[tuple[dict[str, Any], dict[str, Any]]]
    tables = [(old.policy, new.policy), (old.limits, new.limits)]
    for was, becomes in tables:
        before_after += [(name, was.get(name), becomes.get(name)) for name in sorted({*was, *becomes})]
    lines += [
        f"{what}: {_shown(before, mask)} -> {_shown(after, mask)}"
        for what, before, after in before_after
        if before != after
    ]
    # a hook's address is often a secret
    lines += [
        f"hook: {name}" for name in sorted({*old.hooks, *new.hooks}) if old.hooks.get(name) != new.hooks.get(name)
    ]
    lines += [f"environment: {name}" for name in sorted({*old.env, *new.env}) if old.env.get(name) != new.env.get(name)]
    return lines


def _shown(value: object, mask: Any, name: str = "") -> str:
    if value is None or value is False or value in ([], {}):
        return "(not given)"
    if value is True:
        return "given"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    if text == "0" and name == "concurrency":
        return "0 (as if not given)"
    return mask(text) if "://" in text else text


def logical_cwd() -> str:
    """The working directory as the user named it: links in it are kept, so that a restart follows them."""
    pwd, real = os.environ.get("PWD", ""), os.getcwd()
    try:
        if os.path.isabs(pwd) and os.path.samefile(pwd, real):
            return pwd
    except OSError:
        pass  # PWD names something that is gone
    return real
