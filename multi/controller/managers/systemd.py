"""Nodes that systemd runs, through `systemctl`: the system's manager, or a user's own."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO

from multi.controller.keeper.standing import BACKOFF, FAILED, RELOADING, RUNNING, STARTING, STOPPED, STOPPING
from multi.controller.managers.base import GONE, Errand, ManagerDown, ManagerError, ManagerSilent, Standing, Unit
from multi.controller.watch import Watch

_STATES = {
    "active": RUNNING,
    "reloading": RELOADING,
    "activating": STARTING,
    "deactivating": STOPPING,
    "failed": FAILED,
    "inactive": STOPPED,
    "maintenance": STOPPING,
}
_SHOWN = (
    *("Id", "LoadState", "LoadError", "ActiveState", "SubState", "Result", "MainPID", "StatusText", "NRestarts"),
    *("ExecMainCode", "ExecMainStatus", "UnitFileState", "StateChangeTimestampMonotonic", "Environment", "Type"),
    *("ExecMainStartTimestampMonotonic", "CanReload"),
)
#: What systemd's words for the end of a unit mean to people.
RESULTS = {
    "exit-code": "it ended with exit status {status}",
    "signal": "it was ended by signal {status}",
    "core-dump": "it was ended by signal {status}, and has left a core dump",
    "timeout": "it took longer than its unit allows, and was killed",
    "watchdog": "its main loop said nothing for too long, and it was ended",
    "start-limit-hit": "systemd has given it up: it was started too often in too short a time",
    "oom-kill": "the kernel has killed it, since memory ran out",
    "protocol": "it ended before it said that it was ready",
    "resources": "the system had no room for it; see its journal",
}
_ASK = 30.0
_AUTHENTICATION = re.compile(r"authentication (is )?required|access denied|permission denied", re.IGNORECASE)


class Systemd:
    """One instance of systemd: the system's, or with `user` that of whoever calls."""

    def __init__(self, *, user: bool = False, program: str = "systemctl") -> None:
        self.user = user
        self.program = program

    def command(self, *words: str) -> list[str]:
        """A command line for it."""
        return [self.program, *(["--user"] if self.user else []), "--no-ask-password", "--no-pager", *words]

    @property
    def environment(self) -> dict[str, str]:
        """With the way to the user's manager, which cron, su and sudo don't know."""
        found = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
        if self.user:
            found.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        return found

    def run(self, *words: str, timeout: float = _ASK) -> str:
        """Its answer; a `ManagerError` with its words when it refuses."""
        try:
            done = subprocess.run(
                self.command(*words),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except FileNotFoundError:
            raise ManagerDown(f"systemd can't be asked: there is no {self.program} here") from None
        except subprocess.TimeoutExpired:
            raise ManagerSilent(f"systemd doesn't answer: `{' '.join(words)}` took longer than {timeout:g} s") from None
        if done.returncode:
            raise self.refused(f"`systemctl {' '.join(words)}`", done.stderr or done.stdout)
        return done.stdout

    def refused(self, what: str, words: str) -> ManagerError:
        """A refusal, with what can be done about it."""
        said = " ".join(words.split()).rstrip(".")
        if "not been booted with systemd" in said or "Failed to connect to bus" in said:
            whose = "your user's systemd" if self.user else "systemd"
            way = "; log in, or let it run without you: loginctl enable-linger" if self.user else ""
            return ManagerDown(f"{whose} does not run here ({said}){way}")
        if _AUTHENTICATION.search(said):
            return ManagerError(
                f"systemd refuses {what}: {said}. Run it as root, or give your user the right (multi render sudoers)"
            )
        return ManagerError(f"systemd refuses {what}: {said or 'without a word'}")

    # ---- its units

    def version(self) -> int:
        """The version of systemd."""
        found = re.match(r"systemd (\d+)", self.run("--version"))
        if found is None:
            raise ManagerError("`systemctl --version` tells no version of systemd")
        return int(found[1])

    def show(self, names: Sequence[str]) -> dict[str, Standing]:
        """What it says of these units, by name; names may be patterns, which match what is loaded."""
        if not names:
            return {}
        text = self.run("show", "--all", f"--property={','.join(_SHOWN)}", "--", *names)
        found = {}
        for block in text.split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if values.get("Id"):
                found[values["Id"]] = standing(values)
        return found

    def acting(self, verb: str, unit: str) -> list[str]:
        """The command line that does something to a unit: through sudo where that is who lets this user do it, in the very words
        that `multi render sudoers` allows."""
        if not self.user and os.geteuid() != 0:
            words = [shutil.which(self.program) or self.program, verb, unit]
            try:
                asked = ["sudo", "-n", "-l", *words]
                if subprocess.run(asked, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0:
                    return ["sudo", "-n", *words]
            except FileNotFoundError:
                pass  # there is no sudo here
        return self.command(verb, "--", unit)

    def begin(self, verb: str, unit: str) -> Job:
        """Have something done to a unit, without waiting for it."""
        return Job(self, verb, unit)

    def reload(self) -> None:
        """Read all unit files anew."""
        self.run("daemon-reload", timeout=120)

    def enable(self, names: Sequence[str]) -> None:
        """Start these units whenever the machine starts (or the user's manager)."""
        if names:
            self.run("enable", "--quiet", "--", *names)

    def disable(self, names: Sequence[str]) -> None:
        """No longer start them at boot."""
        if names:
            self.run("disable", "--quiet", "--", *names)

    def reset(self, names: Sequence[str]) -> None:
        """Forget that they have failed; a unit that it doesn't know is none that has."""
        for name in names:
            try:
                self.run("reset-failed", "--", name)
            except ManagerError:
                pass  # it is not loaded, so there is nothing to be forgotten


class Job(Errand):
    """A `systemctl` command that waits for a job of systemd's; its end is the job's end."""

    def __init__(self, systemd: Systemd, verb: str, unit: str) -> None:
        self._systemd = systemd
        self._what = f"`systemctl {verb} {unit}`"
        self._words: IO[bytes] | None = None
        # in a session of its own: Ctrl-C is for the command, and the job goes on anyway
        self._process = subprocess.Popen(
            systemd.acting(verb, unit),
            env=systemd.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._words = self._process.stderr
        self.fd = os.pidfd_open(self._process.pid)

    @property
    def is_over(self) -> bool:
        return self.fd < 0 or bool(select.select([self.fd], [], [], 0)[0])

    def trouble(self) -> str:
        """Why systemd has refused it, or why the job has failed; "" when it went well."""
        if not self._process.wait():
            return ""
        text = self._words.read().decode("utf-8", "replace") if self._words is not None else ""
        # what every failed job says: to look into the journal, which is shown
        told = re.sub(r"See \"systemctl.*", "", text, flags=re.DOTALL)
        return str(self._systemd.refused(self._what, told)) if _is_refusal(told) else " ".join(told.split())

    def close(self) -> None:
        super().close()
        if self._words is not None:
            self._words.close()
            self._words = None
        # one that goes on is init's to reap
        self._process.poll()
        self._process.returncode = self._process.returncode or 0


def _is_refusal(text: str) -> bool:
    return not text.startswith("Job for ")


class SystemdUnit(Unit):
    """One service that runs a node."""

    manager = "systemd"

    def __init__(self, systemd: Systemd, id: str, node: str) -> None:
        super().__init__(id, node)
        self.systemd = systemd

    def __str__(self) -> str:
        return f"systemd{' --user' if self.systemd.user else ''} ({self.id})"

    def ask(self) -> None:
        said = self.systemd.show([one.id for one in self.roster])
        for one in self.roster:
            one.told(said.get(one.id, GONE))

    def journal(self, *, follow: bool, lines: int | None, since: float | None) -> Sequence[str]:
        words = ["journalctl", "--no-pager", "--quiet", "--output=cat"]
        words += ["--user-unit" if self.systemd.user else "--unit", self.id]
        if since is not None:
            words.append(f"--since=@{since:.6f}")
        words.append(f"--lines={'all' if lines is None else lines}")
        return [*words, "--follow"] if follow else words

    def start(self) -> Errand:
        self.settle()  # or its limit of starts would hold
        return self.systemd.begin("start", self.id)

    def settle(self) -> None:
        self.systemd.reset([self.id])
        self.forget()

    def stop(self) -> Errand:
        return self.systemd.begin("stop", self.id)

    def reload(self) -> Errand:
        return self.systemd.begin("reload", self.id)

    def send(self, number: int) -> None:
        whom = "all" if number == signal.SIGKILL else "main"
        # its old name, which every version knows
        self.systemd.run("kill", f"--kill-who={whom}", f"--signal={signal.Signals(number).name}", "--", self.id)

    def is_over(self, errand: Errand, watch: Watch) -> bool:
        self.look()
        return True


def standing(values: Mapping[str, str]) -> Standing:
    """What `systemctl show` says of a service, in our words."""
    state = _STATES.get(values.get("ActiveState", ""), STOPPED)
    if values.get("SubState") == "auto-restart":
        state = BACKOFF
    result = values.get("Result", "success")
    if state == STOPPED and result not in ("success", ""):
        state = FAILED
    # of one that stops it is what was true before
    message = values.get("StatusText", "") if state in (RUNNING, STARTING, RELOADING) else ""
    if state in (FAILED, BACKOFF):
        text = RESULTS.get(result, f"systemd says {result!r} of it")
        message = text.format(status=values.get("ExecMainStatus", "?"))
    load = values.get("LoadState", "loaded")
    if load not in ("loaded", "not-found"):
        message = f"its unit file can't be used ({load}{': ' + error if (error := _quoted(values)) else ''})"
    enabled = values.get("UnitFileState", "")
    changed = values.get("ExecMainStartTimestampMonotonic" if state == RUNNING else "StateChangeTimestampMonotonic")
    return Standing(
        state,
        int(values.get("MainPID") or 0),
        _wall(changed),
        message,
        int(values.get("NRestarts") or 0),
        enabled in ("enabled", "enabled-runtime") if enabled else None,
        load != "not-found",
        result == "timeout",
        tuple(_variables(values.get("Environment", ""))),
    )


def _quoted(values: Mapping[str, str]) -> str:
    """The sentence in `LoadError`, which is an error's name and a sentence in quotation marks."""
    found = re.search(r'"(.*)"', values.get("LoadError", ""))
    return found[1] if found else ""


def _variables(text: str) -> list[tuple[str, str]]:
    import shlex

    try:
        words = shlex.split(text)
    except ValueError:
        return []
    return [(name, value) for name, equals, value in (word.partition("=") for word in words) if equals]


def _wall(monotonic: str | None) -> float:
    """A moment on the monotonic clock, in microseconds, as seconds since the epoch."""
    if not monotonic or not monotonic.isdecimal() or monotonic == "0":
        return 0.0
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + int(monotonic) / 1e6
