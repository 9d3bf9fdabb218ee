"""The peers' virtual environments: exact versions, made once, kept in .venv-bench/."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".venv-bench"
PROGRAMS = Path(__file__).resolve().parent / "contenders"


class NotMade(Exception):
    """An environment can't be made; the text is the command that has failed."""


def environment(name: str) -> Path:
    """The bin directory of the environment of peer `name`, made from contenders/NAME.txt when that has changed."""
    try:
        return made(KEPT / name, PROGRAMS / f"{name}.txt")
    except NotMade as error:
        raise SystemExit(f"benchmarks: cannot make the environment of {name}; this failed: {error}") from None


def made(home: Path, requirements: Path, python: str = sys.executable) -> Path:
    """The bin directory of the environment `home`, made when it is not yet what `requirements` says. Raises `NotMade`."""
    stamp_text = f"{python} {sys.version}\n{requirements.read_text()}"
    stamp = home / "made-from.txt"
    if stamp.is_file() and stamp.read_text() == stamp_text:
        return home / "bin"
    print(f"making the environment {home}", file=sys.stderr)
    home.parent.mkdir(exist_ok=True)
    (home.parent / ".gitignore").write_text("*\n")
    shutil.rmtree(home, ignore_errors=True)
    if not _with_uv(home, str(requirements), python):
        shutil.rmtree(home, ignore_errors=True)
        _run([python, "-m", "venv", str(home)])
        _run([str(home / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(requirements)])
    stamp.write_text(stamp_text)
    return home / "bin"


def versions(name: str) -> dict[str, str]:
    """Package → version, as pinned."""
    lines = (PROGRAMS / f"{name}.txt").read_text().split()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def _with_uv(home: Path, requirements: str, python: str) -> bool:
    """Whether uv was there and did it (in a tenth of pip's time)."""
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        return False
    options = ["-q", "--compile-bytecode", "--python", str(home / "bin" / "python")]
    commands = (
        [uv, "venv", "-q", "--no-python-downloads", "--python", python, str(home)],
        [uv, "pip", "install", *options, "-r", requirements],
    )
    return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands)


def _run(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        raise NotMade(" ".join(command))
