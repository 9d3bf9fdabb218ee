"""A backend of deploys for this machine: what is done on a host over SSH is done by a shell here, beside a private systemd."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from multi.deploy.base import Result, Sent
from multi.deploy.connections import scripts
from multi.deploy.hosts.inventory import Host
from multi.deploy.steps import Build, Command, File, Link, Remove, Restore, Upload
from multi.errors import StepFailed


class Here:
    """Backend and session in one. `words` go before each command line, `manifests` are the sources of releases by name."""

    def __init__(self, host: Host, words: list[str], env: dict[str, str], manifests: dict[str, str]) -> None:
        self.host = host
        self._words = words
        self._env = env
        self._manifests = manifests
        self.lines: list[str] = []

    def connect(self, host: Host) -> Here:
        return self

    def close(self) -> None:
        """Nothing is open."""

    def run(self, command: Command, say: Callable[[str], None] | None = None) -> Result:
        line = command.line(login="root", reveal=True)
        self.lines.append(line)
        done = subprocess.run(
            [*self._words, "sh", "-c", line],
            env=self._env,
            input=command.stdin or b"",
            capture_output=True,
            timeout=command.timeout or 60,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def put(self, file: File) -> None:
        words = (file.path, str(len(file.content)), f"{file.mode:o}", file.owner or "", file.backup or "")
        self._script(scripts.PUT, words, file.content)

    def restore(self, restore: Restore) -> None:
        self._script(scripts.RESTORE, (restore.path, restore.backup))

    def remove(self, remove: Remove) -> None:
        self._script(scripts.REMOVE, (remove.path, remove.backup or ""))

    def link(self, link: Link) -> None:
        self._script(scripts.LINK, (link.path, link.target or ""))

    def send(self, upload: Upload, sent: Sent | None = None) -> None:
        folder = Path(upload.into)
        folder.mkdir(parents=True)
        (folder / ".multi-manifest").write_text(self._manifests[upload.release])

    def build(self, build: Build, say: Callable[[str], None] | None = None) -> Result:
        raise AssertionError("these tests have no environments")

    def _script(self, script: str, words: tuple[str, ...], stdin: bytes = b"") -> None:
        result = self.run(Command(("sh", "-c", script, "sh", *words), stdin=stdin))
        if not result.ok:
            raise StepFailed(self.host.name, words[0], f"exit code {result.code}", result.tail)


def folder_of(pid: int) -> str:
    """Where a process works."""
    return os.readlink(f"/proc/{pid}/cwd")
