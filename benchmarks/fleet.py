"""Ten or two hundred nodes under a controller: `multi`, `celery multi`, or supervisord with Celery's workers."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

from benchmarks import environments
from benchmarks.contender import Contender
from benchmarks.environments import PROGRAMS
from benchmarks.node import Broken, Scene
from benchmarks.processes import processor_time

_CONF = """
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[unix_http_server]
file={folder}/ctl
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/ctl
"""
_PROGRAM = """
[program:{name}]
command={command}
directory={directory}
stdout_logfile={folder}/{name}.log
redirect_stderr=true
stopwaitsecs=60
"""


class Fleet:
    """The nodes w1, w2, … of one contender, started by one manager."""

    def __init__(self, scene: Scene, contender: Contender, manager: str, count: int, *options: str) -> None:
        self.scene = scene
        self.manager = manager
        self.names = [f"w{number}" for number in range(1, count + 1)]
        self._contender = contender
        self._files = [f"--pidfile={scene.directory}/%n.pid", f"--logfile={scene.directory}/%n.log"]
        self._options = ["-A", f"{contender.name}_app", "-l", "INFO", *options]

    # ---- what is measured

    def start(self, timeout: float = 120) -> tuple[float, float]:
        """Seconds until the command returned, and until all nodes had logged that they are ready."""
        began = time.monotonic()
        if self.manager == "supervisord":
            command = self._run("start", [str(environments.environment("supervisord") / "supervisord"), *self._conf()])
        else:
            command = self._run("start", self._words("start", self.names, [*self._options, *self._files]))
        return self._until_ready("start", command, began, len(self.names), timeout)

    def restart(self, count: int, timeout: float = 120) -> float:
        """Seconds until the first `count` nodes, told to restart, were all ready again."""
        before, began, some = self._ready(), time.monotonic(), self.names[:count]
        if self.manager == "supervisord":
            words = [*self._ctl(), "restart", *some]
        elif self.manager == "celery":
            words = self._words("restart", some, [*self._options, *self._files])  # it keeps nothing
        else:
            words = self._words("restart", some, [])
        return self._until_ready("restart", self._run("restart", words), began, before + count, timeout)[1]

    def stopwait(self) -> tuple[float, float]:
        """Seconds until the command returned, and how long that was after the end of the last process; none may be left."""
        pids = set(self.scene.group.parents()) - self._managers()
        ends = {os.pidfd_open(pid): pid for pid in pids}
        began = time.monotonic()
        if self.manager == "supervisord":
            words = [*self._ctl(), "stop", "all"]
        else:
            words = self._words("stopwait", self.names, self._files if self.manager == "celery" else [])
        command = self._run("stopwait", words)
        own = os.pidfd_open(command.pid)
        poll = select.poll()
        for fd in (*ends, own):
            poll.register(fd, select.POLLIN)
        returned = last = 0.0
        while not returned or (ends and time.monotonic() - returned < 5):
            for fd, _ in poll.poll(5000):
                poll.unregister(fd)
                if fd == own:
                    returned = time.monotonic()
                else:
                    last = time.monotonic()
                    os.close(fd)
                    del ends[fd]
            if time.monotonic() - began > 120:
                raise Broken(f"stopwait takes more than 120 s:\n{self.output('stopwait')}")
        os.close(own)
        if code := command.wait():
            raise Broken(f"stopwait exits with {code}:\n{self.output('stopwait')}")
        if left := set(self.scene.group.parents()) - self._managers():
            raise Broken(f"{len(left)} processes are left after stopwait")
        return returned - began, returned - last

    def run(self, *words: str, timeout: float = 240) -> float:
        """Seconds that a command of the manager takes; it must succeed."""
        began = time.monotonic()
        code = self._run(words[0], self._words(words[0], [], list(words[1:]))).wait(timeout)
        if code:
            raise Broken(f"{' '.join(words)} exits with {code}:\n{self.output(words[0])[-2000:]}")
        return time.monotonic() - began

    def roots(self) -> dict[int, set[int]]:
        """The nodes' first processes with what is below each; those of the manager itself left out."""
        if self.manager != "supervisord":
            return {root: below for root, below in self.scene.group.roots().items() if below}
        (manager,) = self._managers()
        parents = self.scene.group.parents()
        found: dict[int, set[int]] = {pid: set() for pid, parent in parents.items() if parent == manager}
        for pid, parent in parents.items():
            if parent in found:
                found[parent].add(pid)
        return found

    def idle(self, seconds: float) -> float:
        """Percent of one core that the keepers use together while nothing happens."""
        keepers = list(self.roots())
        before, began = processor_time(keepers), time.monotonic()
        time.sleep(seconds)
        return 100 * (processor_time(keepers) - before) / (time.monotonic() - began)

    def output(self, action: str) -> str:
        return (self.scene.directory / f"{action}.out").read_text(errors="replace")

    # ---- how

    def _words(self, action: str, names: list[str], more: list[str]) -> list[str]:
        words = ("multi", action) if self.manager == "multi" else ("celery", "multi", action)
        return [*self._contender.command(words), *names, *more]

    def _run(self, action: str, words: list[str]) -> subprocess.Popen[bytes]:
        with (self.scene.directory / f"{action}.out").open("wb") as out:
            return subprocess.Popen(
                words,
                cwd=PROGRAMS,
                env=self.scene.variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def _until_ready(
        self, action: str, command: subprocess.Popen[bytes], began: float, count: int, timeout: float
    ) -> tuple[float, float]:
        returned = ready = 0.0
        while not (returned and ready):
            now = time.monotonic() - began
            if not returned and (code := command.poll()) is not None:
                returned = now
                if code:
                    raise Broken(f"{action} exits with {code}:\n{self.output(action)[-2000:]}")
            if not ready and self._ready() >= count:
                ready = now
            if now > timeout:
                raise Broken(f"{self._ready()} of {count} were ready after {timeout:.0f} s:\n{self.output(action)}")
            time.sleep(0.005)
        return returned, ready

    def _ready(self) -> int:
        logs = (Path(self.scene.directory, f"{name}.log") for name in self.names)
        return sum(log.read_bytes().count(b" ready.") for log in logs if log.is_file())

    def _managers(self) -> set[int]:
        file = self.scene.directory / "supervisord.pid"
        return {int(file.read_text())} if file.exists() else set()

    def _ctl(self) -> list[str]:
        return [str(environments.environment("supervisord") / "supervisorctl"), *self._conf()]

    def _conf(self) -> list[str]:
        folder = self.scene.directory
        file = folder / "supervisord.conf"
        if not file.exists():
            program = self._contender.command(("celery",))[0]
            text = _CONF.format(folder=folder)
            for name in self.names:
                words = [program, *self._options[:2], "worker", *self._options[2:], "-n", f"{name}@%%h"]
                text += _PROGRAM.format(name=name, command=" ".join(words), directory=PROGRAMS, folder=folder)
            file.write_text(text)
        return ["-c", str(file)]
