"""Environments of Celery projects, in which multi is not installed: exact versions, made once, kept in .venv-celery/."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".venv-celery"
PINS = Path(__file__).with_suffix("")

VERSIONS = ("5.3", "5.4", "5.7")
#: An old project has an old interpreter, where the machine has one.
OLD_PYTHON = {"5.3": ("3.8", "3.9")}


class NotMade(Exception):
    """There is no such environment, and the package index can't be reached; the text says so."""


@functools.cache
def python(version: str) -> str:
    """The interpreter of a project with this version of Celery. Raises `NotMade`."""
    environments = _environments()
    KEPT.mkdir(exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes of one test run, one makes it
        try:
            folder: Path = environments.made(KEPT / version, PINS / f"celery-{version}.txt", _interpreter(version))
        except environments.NotMade as error:
            raise NotMade(f"Celery {version} can't be installed, is the package index reachable? {error}") from None
    return str(folder / "python")


def _environments() -> Any:
    # that of the benchmarks, which are no package that tests could import
    spec = importlib.util.spec_from_file_location("environments", ROOT / "benchmarks" / "environments.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _interpreter(version: str) -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for wanted in OLD_PYTHON.get(version, ()):
        found = shutil.which(f"python{wanted}")
        for candidate in [*([found] if found else []), *map(str, pyenv.glob(f"versions/{wanted}.*/bin/python"))]:
            # a shim may be there without what it leads to
            if subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                return candidate
    return sys.executable
