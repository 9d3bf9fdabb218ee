"""A node's keeper as the first process of a container (here of a namespace of processes): it reaps, and can be stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import in_ci
from support.nodes import Nodes
from support.wait import until


@pytest.fixture(autouse=True)
def namespaces() -> None:
    if os.geteuid() or shutil.which("unshare") is None:
        text = "needs root, and unshare of util-linux, to make a namespace of processes"
        pytest.fail(text, pytrace=False) if in_ci() else pytest.skip(text)


@pytest.fixture
def container(nodes: Nodes) -> Iterator[subprocess.Popen[bytes]]:
    nodes.project.write(
        "app.py",
        """
        import subprocess
        from multi import App
        app = App("app")

        @app.task
        def leave_behind():
            # ends at once, and leaves a process without a parent, which ends a moment later
            subprocess.run("sleep 0.05 & exit 0", shell=True)
        """,
    )
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    words += ["multi", "start", "w1", "--foreground", "-A", "app", "-c", "1", "-l", "INFO"]
    with (nodes.project.path / "out").open("wb") as out:
        found = subprocess.Popen(words, cwd=nodes.project.path, env=nodes.project.env, stdout=out, stderr=out)
    yield found
    if found.poll() is None:
        found.kill()
        found.wait(20)


def first(container: subprocess.Popen[bytes]) -> int:
    """The pid, seen from here, of what is process 1 in there."""
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
    return int(children[0]) if children else 0


def inside(nodes: Nodes, container: subprocess.Popen[bytes], *words: str) -> int:
    """Run a command in there, as a health check does; its exit code."""
    enter = ["nsenter", "--pid", "--mount", "--target", str(first(container)), "multi", *words]
    done = subprocess.run(
        enter, cwd=nodes.project.path, env=nodes.project.env, capture_output=True, check=False, timeout=30
    )
    return done.returncode


def zombies(pid: int) -> list[str]:
    """The dead children of a process that nobody has asked after."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            stat = Path(f"/proc/{child}/stat").read_text()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[0] == "Z":
            found.append(child)
    return found


def test_a_keeper_is_a_first_process_that_reaps_is_probed_and_stops(
    nodes: Nodes, container: subprocess.Popen[bytes]
) -> None:
    until(lambda: first(container), what="there is a process 1")
    until(lambda: inside(nodes, container, "probe", "w1", "--ready") == 0, 30, what="the probe in there says ready")
    keeper = first(container)
    assert Path(f"/proc/{keeper}/status").read_text().split("NSpid:")[1].split()[1] == "1"
    assert inside(nodes, container, "probe", "w1") == 0
    nodes.project.python("import app; [app.leave_behind.delay() for _ in range(5)]")
    until(
        lambda: (
            inside(nodes, container, "probe", "w1") == 0
            and '"succeeded": 5' in _status(nodes, container)
            and not zombies(keeper)
        ),
        20,
        what="five tasks have left processes behind, and none of them stays as a zombie",
    )
    # what a container's stop does: TERM to process 1, from outside
    os.kill(keeper, signal.SIGTERM)
    assert container.wait(30) == 0, (nodes.project.path / "out").read_text()


def _status(nodes: Nodes, container: subprocess.Popen[bytes]) -> str:
    enter = ["nsenter", "--pid", "--mount", "--target", str(first(container)), "multi", "status", "w1", "--json"]
    return subprocess.run(
        enter, cwd=nodes.project.path, env=nodes.project.env, capture_output=True, text=True, check=False, timeout=30
    ).stdout
