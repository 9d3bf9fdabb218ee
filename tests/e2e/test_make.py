"""`make` and the set-up behind it, as somebody meets them on a new machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = ["demo", "test", "check", "format", "bench", "docs", "clean", "dist"]

#: What `.ci/setup` may use of a machine beside Python, git and uv.
TOOLS = ["sh", "dirname", "basename", "awk", "touch"]


def test_make_alone_lists_the_targets_with_a_line_each() -> None:
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    listed = [line.split(maxsplit=2) for line in done.stdout.splitlines() if line.startswith("  make ")]
    assert [line[1] for line in listed] == TARGETS
    assert all(len(line) == 3 for line in listed)


def test_the_lock_names_no_index_and_has_a_hash_for_everything() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    entries = [entry for entry in text.split("\n") if entry and not entry.startswith((" ", "#"))]
    assert entries and all("==" in entry and entry.endswith("\\") for entry in entries)


def test_the_lock_pins_everything_that_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["project"]["dependencies"],
        *extras["redis"],
        *extras["rabbitmq"],
        *project["dependency-groups"]["dev"],
    ]
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert {re.split(r"[>=<\[ ]", requirement)[0] for requirement in wanted} <= locked


class Machine:
    """A bare machine: a PATH of our own making."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            self.link(tool)
        # a copy, so that nothing is set up in this repository
        self.tree = folder / "tree"
        (self.tree / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "setup", self.tree / ".ci" / "setup")

    def link(self, tool: str, to: str = "") -> None:
        program = to or shutil.which(tool)
        assert program
        (self.bin / tool).symlink_to(program)

    def script(self, name: str, text: str) -> None:
        (self.bin / name).write_text("#!/bin/sh\n" + text + "\n")
        (self.bin / name).chmod(0o755)

    def setup(self, **env: str) -> str:
        """What the set-up says when it refuses."""
        done = subprocess.run(
            ["sh", ".ci/setup"],
            cwd=self.tree,
            env={"PATH": str(self.bin), "HOME": str(self.tree), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert not (self.tree / ".venv").exists()
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_missing_python_is_named_with_the_command_that_installs_it(machine: Machine) -> None:
    said = machine.setup()
    assert "Python 3.11 or newer is needed" in said and "apt-get install python3 python3-venv" in said


def test_an_old_python_is_passed_over(machine: Machine) -> None:
    machine.script("python3", 'case "$*" in *version_info*) exit 1;; esac; echo Python 3.9.2')
    assert "Python 3.11 or newer is needed" in machine.setup()


def test_an_old_python_that_was_asked_for_is_refused_by_its_version(machine: Machine) -> None:
    machine.script("python3.9", 'case "$*" in *version_info*) exit 1;; esac; echo Python 3.9.2')
    assert "python3.9 is Python 3.9.2; Python 3.11 or newer is needed" in machine.setup(PYTHON="python3.9")


def test_a_python_that_is_not_there_is_named(machine: Machine) -> None:
    assert "there is no program python3.99" in machine.setup(PYTHON="python3.99")


def test_a_python_without_its_venv_module_is_told_from_a_whole_one(machine: Machine, tmp_path: Path) -> None:
    # as Debian's python3 is without python3-venv: ensurepip refuses to be imported
    (tmp_path / "ensurepip.py").write_text("raise ImportError('not in this package')\n")
    machine.script("python3", f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    machine.link("git")
    said = machine.setup()
    assert "has no venv module" in said and "apt-get install python3-venv" in said


def test_a_missing_git_is_named_with_the_command_that_installs_it(machine: Machine) -> None:
    machine.script("python3", f'exec {os.path.realpath(sys.executable)} "$@"')
    assert "apt-get install git" in machine.setup()
