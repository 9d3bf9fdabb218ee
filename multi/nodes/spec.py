"""The specification of a node: everything that is needed to start it again, kept from one start to the next."""

from __future__ import annotations

import os
from typing import Any

from multi.errors import ConfigurationError
from multi.nodes import options as table
from multi.nodes.names import NodeName

VERSION = 1

#: Variables of these names change what the app is, so they are kept with the node; any other comes from whoever starts it.
KEPT_PREFIXES = ("MULTI_", "CELERY_", "DJANGO_", "PYTHON")
KEPT_NAMES = frozenset({"C_FORCE_ROOT", "TZ"})
#: These belong to one process and one moment.
NEVER_KEPT = frozenset(
    {
        *("MULTI_RUN_DIR", "MULTI_GENERATION", "MULTI_LOG_FILE", "MULTI_LOCK_FD", "MULTI_MANAGER_SOCKET"),
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID"),
    }
)

#: Options that may hold a password, and the variables that do the same for a worker.
SECRET_OPTIONS = {"broker": "MULTI_BROKER_URL", "result_backend": "MULTI_RESULT_BACKEND"}

LOG_SIZE = 10 * 1024 * 1024
LOG_KEEP = 5


class NodeSpec:
    """One node. `options` holds the options of the worker by name, `policy` what the keeper goes by."""

    def __init__(
        self,
        name: NodeName,
        *,
        executable: str,
        cwd: str,
        options: dict[str, str | bool],
        rest: list[str] | None = None,
        env: dict[str, str] | None = None,
        umask: int = 0o022,
        policy: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.executable = executable
        self.cwd = cwd
        self.options = options
        self.rest = rest or []
        self.env = env or {}
        self.umask = umask
        self.policy = policy or {}

    def argv(self, log_file: str | None) -> list[str]:
        """The worker's command line, without what is secret. `log_file` may still hold %i or %I, which the worker fills in per
        process."""
        public = {name: value for name, value in self.options.items() if name not in self._secrets}
        words = [self.executable, "-m", "multi", "worker", *table.words(public), "-n", str(self.name)]
        if log_file is not None:
            words += ["-f", log_file]
        return words + self.rest

    @property
    def environment(self) -> dict[str, str]:
        """The variables that belong to it. URLs with a password are among them: everybody can read a command line."""
        return {**self.env, **{SECRET_OPTIONS[name]: str(self.options[name]) for name in self._secrets}}

    @property
    def _secrets(self) -> list[str]:
        from multi.urls import mask

        return [name for name in SECRET_OPTIONS if (url := str(self.options.get(name, ""))) != mask(url)]

    def changed(self, other: NodeSpec) -> NodeSpec:
        """This specification with what `other` gives anew in place of its own."""
        return NodeSpec(
            self.name,
            executable=str(other.options.get("executable", self.executable)),
            cwd=other.cwd if "workdir" in other.options else self.cwd,
            options={**self.options, **other.options},
            rest=other.rest or self.rest,
            env=self.env,
            umask=other.umask if "umask" in other.options else self.umask,
            policy={**self.policy, **other.policy},
        )

    def record(self, log_file: str | None, pidfile: str, log_pattern: str | None = None) -> dict[str, Any]:
        """The file's content: what is kept, and ready for the keeper what follows from it.

        `log_file` is where the keeper finds the log; `log_pattern` is what the worker is told, in which %i, %I and %% are to be
        filled in (if not given: just the log file).
        """
        if log_pattern is None and log_file is not None:
            log_pattern = log_file.replace("%", "%%")
        return {
            "version": VERSION,
            "kind": "worker",
            "engine": "multi",
            "name": str(self.name),
            "argv": self.argv(log_pattern),
            "cwd": self.cwd,
            "umask": self.umask,
            "log_file": log_file,
            "pidfile": pidfile,
            **self.policy,
            "kept": {
                "executable": self.executable,
                "options": self.options,
                "rest": self.rest,
                "env": self.env,
                "policy": self.policy,
            },
        }

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
    """What has changed, a line each; of variables only the names, and no passwords."""
    from multi.urls import mask

    lines = []
    for name in sorted({*old.options, *new.options}):
        before, after = old.options.get(name), new.options.get(name)
        if before != after:
            lines.append(f"{name}: {_shown(before, mask)} -> {_shown(after, mask)}")
    before_after = [(what, getattr(old, what), getattr(new, what)) for what in ("cwd", "executable", "rest")]
    before_after += [(name, old.policy.get(name), new.policy.get(name)) for name in sorted({*old.policy, *new.policy})]
    lines += [
        f"{what}: {_shown(before, mask)} -> {_shown(after, mask)}"
        for what, before, after in before_after
        if before != after
    ]
    lines += [f"environment: {name}" for name in sorted({*old.env, *new.env}) if old.env.get(name) != new.env.get(name)]
    return lines


def _shown(value: object, mask: Any) -> str:
    if value is None or value is False:
        return "(not given)"
    if value is True:
        return "given"
    text = str(value)
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
