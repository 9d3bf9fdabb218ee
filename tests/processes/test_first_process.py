"""A node's keeper as the first process of a container (here of a namespace of processes): it reaps, and can be stopped. Nothing
but its own directories can be written to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
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


#: Nothing can be written but below HOME and TMPDIR, which are empty. In a namespace of mounts, so that nobody else notices.
_READ_ONLY = (
    'mount --make-rprivate / && mount -t tmpfs none "$HOME" && mount -t tmpfs none /mnt && mount -o remount,bind,ro / '
    '&& TMPDIR=/mnt exec "$@"'
)


@pytest.fixture
def container(nodes: Nodes) -> Iterator[subprocess.Popen[bytes]]:
    nodes.project.write(
        "app.py",
        f"""
        import subprocess
        from multi import App
        app = App("app", broker="sqlite:///{nodes.project.home}/tasks.db")

        @app.task
        def leave_behind():
            # ends at once, and leaves a process without a parent, which ends a moment later
            subprocess.run("sleep 0.05 & exit 0", shell=True)
        """,
    )
    words = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child", "sh", "-c", _READ_ONLY, "sh"]
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


def inside(nodes: Nodes, container: subprocess.Popen[bytes], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in there, as a health check does."""
    enter = ["nsenter", "--pid", "--mount", "--wd", "--target", str(first(container)), *words]
    return subprocess.run(enter, env=nodes.project.env, capture_output=True, text=True, check=False, timeout=30)


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
    def probe(*words: str) -> int:
        return inside(nodes, container, "multi", "probe", "w1", *words).returncode

    until(lambda: first(container), what="there is a process 1")
    until(lambda: probe("--ready") == 0, 30, what="the probe in there says ready")
    keeper = first(container)
    assert Path(f"/proc/{keeper}/status").read_text().split("NSpid:")[1].split()[1] == "1"
    assert probe() == 0
    assert "Read-only file system" in inside(nodes, container, "touch", "here").stderr
    program = "import app; [app.leave_behind.delay() for _ in range(5)]"
    assert inside(nodes, container, sys.executable, "-c", program).returncode == 0
    until(
        lambda: (
            '"succeeded": 5' in inside(nodes, container, "multi", "status", "w1", "--json").stdout
            and not zombies(keeper)
        ),
        20,
        what="five tasks have left processes behind, and none of them stays as a zombie",
    )
    # what a container's stop does: TERM to process 1, from outside
    os.kill(keeper, signal.SIGTERM)
    assert container.wait(30) == 0, (nodes.project.path / "out").read_text()
