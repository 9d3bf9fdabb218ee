"""A private supervisord for a test: a real one, with a socket and a folder of files of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from multi.controller.managers.supervisord import Supervisord
from support.wait import until


class PrivateSupervisord:
    """Started with `env`; what it runs gets that environment, too."""

    def __init__(self, env: dict[str, str]) -> None:
        # a socket's path is short
        self.folder = Path(tempfile.mkdtemp(prefix="multi-sv-"))
        self.files = self.folder / "conf.d"
        self.files.mkdir()
        self.config = self.folder / "supervisord.conf"
        self.config.write_text(
            f"""
[unix_http_server]
file=%(here)s/s.sock
chmod=0700
[supervisord]
nodaemon=true
logfile=%(here)s/log
pidfile=%(here)s/pid
childlogdir=%(here)s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{self.folder}/s.sock
[include]
files = conf.d/*.conf
"""
        )
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Supervisord.from_file(str(self.config))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config)],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until((self.folder / "s.sock").exists, what="supervisord has its socket")
        until(self._answers, what="supervisord answers")

    def _answers(self) -> bool:
        from multi.controller.managers.base import ManagerError

        try:
            return bool(self.client.call("supervisor.getState"))
        except ManagerError:
            return False

    def program(self, name: str, command: str, **more: str) -> None:
        """Give it a program, and have it take notice."""
        lines = [f"[program:{name}]", f"command={command}", *(f"{key}={value}" for key, value in more.items())]
        (self.files / f"{name}.conf").write_text("\n".join(lines) + "\n")
        self.client.reread()
        self.client.add(name)

    def process_of(self, name: str) -> dict[str, Any]:
        """What it says of a program."""
        found = self.client.process(name)
        assert found is not None, f"supervisord knows no {name}"
        return found

    def stop(self) -> None:
        """End it with all that it runs."""
        self.client.close()
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)
