"""Shell scripts that start nodes: how words are quoted in them, and how they are looked at."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from multi.units.base import ERROR, WARNING, File, Problem

#: The limits of a process as `ulimit` names them, those of them that every sh knows.
ULIMITS = {
    "core": "c",
    "cpu": "t",
    "data": "d",
    "fsize": "f",
    "memlock": "l",
    "nofile": "n",
    "nproc": "u",
    "stack": "s",
}
#: What `ulimit` counts these in, in bytes.
_UNITS = {"core": 512, "fsize": 512, "data": 1024, "memlock": 1024, "stack": 1024}


def quoted(value: object) -> str:
    """One word."""
    return shlex.quote(str(value))


def words(value: Sequence[str]) -> str:
    """Several words."""
    return shlex.join(value)


def ulimits(limits: dict[str, tuple[int, int]]) -> list[str]:
    """The arguments of `ulimit`, the hard one before the soft one."""
    found = []
    for name, (soft, hard) in limits.items():
        if name in ULIMITS:
            unit = _UNITS.get(name, 1)
            for sign, value in (("H", hard), ("S", soft)):
                found.append(f"-{sign}{ULIMITS[name]} {'unlimited' if value < 0 else value // unit}")
    return found


def check(files: Iterable[File]) -> list[Problem]:
    """What sh says of those that are scripts, without running them."""
    found = []
    shell = shutil.which("sh")
    for file in files:
        if file.text.startswith("#!"):
            if shell is None:
                found.append(Problem(file.path, "there is no sh on the PATH, so nothing was checked", WARNING))
                continue
            done = subprocess.run([shell, "-n"], input=file.text, capture_output=True, text=True, check=False)
            if done.returncode:
                found.append(Problem(file.path, done.stderr.strip(), ERROR))
    return found
