"""A user's project in a temporary folder, and the command `multi` run in it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

#: The example that README and the tour use.
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"

#: Nothing of the person's own settings may reach a test, nor the size of a terminal that a parallel run is told.
OURS = ("MULTI_", "CELERY_", "XDG_", "PYTHON", "NOTIFY_SOCKET", "COLUMNS", "LINES")


class Project:
    """A folder with a package, a home of its own (state and logs land there) and a clean environment."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.path = folder / "project"
        self.home = folder / "home"
        self.path.mkdir()
        self.home.mkdir(mode=0o700)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.env = {
            **kept,
            "HOME": str(self.home),
            "PATH": os.path.dirname(sys.executable) + ":" + os.environ.get("PATH", os.defpath),
            "MULTI_STATE_DIR": str(self.home / "state"),
            "MULTI_TEST_MARK": mark,
            "PYTHONDONTWRITEBYTECODE": "1",  # a module that a test rewrites must not be taken from its old bytecode
        }

    def write(self, name: str, text: str) -> Path:
        """Write a file below the project's folder; the text's common indentation goes."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        return file

    def quickstart(self) -> Project:
        """Put the example's package `proj` here."""
        for file in (QUICKSTART / "proj").glob("*.py"):
            self.write(f"proj/{file.name}", file.read_text())
        return self

    def popen(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start `multi` with these arguments; standard output and error are pipes unless `options` say otherwise."""
        settings: dict[str, object] = {
            "cwd": self.path,
            "env": self.env,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        return subprocess.Popen([sys.executable, "-m", "multi", *arguments], **settings)  # type: ignore[call-overload,no-any-return]

    def multi(self, *arguments: str, timeout: float = 60, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `multi` to its end; fails when it doesn't exit with `code` (None: any)."""
        return self._run([sys.executable, "-m", "multi", *arguments], timeout, code)

    def python(self, program: str, timeout: float = 60, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a Python program in the project, as its user would."""
        return self._run([sys.executable, "-c", textwrap.dedent(program)], timeout, code)

    def _run(self, command: list[str], timeout: float, code: int | None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            check=False,
            cwd=self.path,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if code is not None and done.returncode != code:
            said = f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
            raise AssertionError(f"exit code {done.returncode} instead of {code} of {command[1:]}\n{said}")
        return done
