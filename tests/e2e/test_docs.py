"""The documentation: its links lead somewhere, and what README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.project import Project
from support.wait import until

from multi.app.states import ALL_STATES
from multi.config.table import TABLE
from multi.controller import node as node_view
from multi.controller.keeper import node as node_life
from multi.controller.keeper.worker import CURRENT, INCOMING, OUTGOING

ROOT = Path(__file__).parents[2]


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs" / "build.py"), str(target), str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_every_link_file_and_module_in_the_documentation_is_there(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "<title>multi</title>" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "docs" / "tour.html").exists()


def test_a_dead_link_a_missing_file_and_a_missing_module_are_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "README.md").write_text("# One\n\n[a](b.md) [c](#two) [fine](#one) `multi/none.py` and `multi.none`\n")
    done = build(tmp_path, tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "README.md: the link b.md leads nowhere",
        "README.md: the link #two names no heading of README.md",
        "README.md: there is no file multi/none.py",
        "README.md: there is no module multi.none",
    ]


def test_the_imports_that_migrating_programs_change_to_are_there() -> None:
    lines = re.findall(r"\| `(from multi import [^`]*)`", (ROOT / "docs" / "migrating.md").read_text())
    assert len(lines) >= 6
    for line in lines:
        exec(line, {})


def test_the_settings_of_multis_own_are_told_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", (ROOT / "docs" / "migrating.md").read_text(), re.MULTILINE)
    defaults = {"30 s": 30.0, "3": 3, '`"worker"`': "worker", "none": None}
    told = {name: defaults[text] for name, text in rows}
    assert told.keys() == {"worker_lease", "max_deliveries", "delayed_delivery", "drain_timeout"}
    assert told == {name: TABLE[name].default for name in told}


def test_every_state_is_drawn_and_explained() -> None:
    of_nodes = {
        value
        for name, value in vars(node_life).items()
        if name.isupper() and isinstance(value, str) and value.islower()
    } - {CURRENT, INCOMING, OUTGOING}
    of_nodes |= {node_view.CRASHED, node_view.ORPHANED}
    explained = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "states.md").read_text(), re.MULTILINE))
    assert explained - {"ack", "requeue", "park", "bury"} == of_nodes | ALL_STATES


def test_the_first_project_of_the_readme_works_as_it_stands_there(project: Project) -> None:
    section = (ROOT / "README.md").read_text().partition("## A first project in one minute")[2]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found
    activation, *lines = found[1].splitlines()
    assert activation.startswith(". .venv/bin/activate")
    done = subprocess.run(
        ["sh", "-eu"],
        input="\n".join(lines),
        cwd=project.path,
        env=project.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"> w1@\S+: OK \(pid \d+, ready in [\d.]+ s\)", done.stdout)
    assert "\n5\n" in done.stdout
    assert re.search(r"^w1@\S+ +running ", done.stdout, re.MULTILINE)
    until(lambda: project.multi("status", code=None).returncode != 0, what="no node running")
