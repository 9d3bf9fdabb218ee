"""What a type checker sees of a project: `mypy --strict` finds every wrong call, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent / "support" / "typed"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, int, str]]:
    """The errors that mypy finds in the project: file, line, code."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file="]
    run = subprocess.run(
        # what is wrong with multi itself is no user's affair; installed, it would be silent anyway
        [*command, "--follow-imports=silent", "-p", "shop", f"--cache-dir={tmp_path_factory.mktemp('mypy')}"],
        cwd=PROJECT,
        env={"MYPYPATH": f"{PROJECT}:{REPOSITORY}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    lines = re.findall(r"^(\S+):(\d+): error: .*\[([a-z-]+)\]$", run.stdout, re.MULTILINE)
    assert len(lines) == run.stdout.count(": error: "), run.stdout
    return {(Path(file).name, int(line), code) for file, line, code in lines}


def test_right_calls_are_right_under_strict_rules(found: set[tuple[str, int, str]]) -> None:
    assert {error for error in found if error[0] != "wrong.py"} == set()


def test_every_wrong_call_is_found_for_what_it_is(found: set[tuple[str, int, str]]) -> None:
    wanted = {
        ("wrong.py", number, code)
        for number, line in enumerate((PROJECT / "shop" / "wrong.py").read_text().splitlines(), 1)
        for code in re.findall(r"\[([a-z-]+)\]", line.partition("  # ")[2])
    }
    assert found == wanted
    assert len(wanted) == 27
