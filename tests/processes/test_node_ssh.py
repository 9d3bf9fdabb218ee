"""Nodes that are started over a real ssh connection: the command returns, the connection ends, the nodes go on."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.nodes import Nodes, is_alive
from support.servers import SBIN, free_port
from support.wait import until

Ssh = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
PidFile none
"""


@pytest.fixture
def ssh(nodes: Nodes, tmp_path: Path) -> Iterator[Ssh]:
    """Runs a command of multi through a server of the test's own."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if program is None or shutil.which("ssh") is None:
        text = "sshd or ssh is not installed; install them with: apt-get install openssh-server openssh-client"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # without it root's sshd doesn't start
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    port = free_port()
    (tmp_path / "config").write_text(CONFIG.format(port=port, folder=tmp_path))
    log = (tmp_path / "sshd.log").open("wb")
    server = subprocess.Popen([program, "-D", "-e", "-f", tmp_path / "config"], env=nodes.project.env, stderr=log)

    def listens() -> bool:
        said = (tmp_path / "sshd.log").read_text(errors="replace")
        assert server.poll() is None, said
        return "listening on" in said

    until(listens, what="sshd listens")

    def run(*words: str, terminal: bool = False) -> subprocess.CompletedProcess[str]:
        variables = [f"{name}={value}" for name, value in nodes.project.env.items()]
        remote = shlex.join(["env", "-i", *variables, sys.executable, "-m", "multi", *words])
        return subprocess.run(
            [
                *("ssh", "-F", "none", "-i", tmp_path / "key", "-p", str(port), "-tt" if terminal else "-T"),
                *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
                f"{getpass.getuser()}@127.0.0.1",
                f"cd {shlex.quote(str(nodes.project.path))} && exec {remote}",
            ],
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,  # a node that held on to the connection would let it wait for ever
            check=False,
        )

    yield run
    server.terminate()
    server.wait()
    log.close()


@pytest.mark.parametrize("terminal", [False, True], ids=["without a terminal", "with a terminal"])
def test_a_start_over_ssh_returns_at_once_and_its_nodes_survive_the_logout(
    nodes: Nodes, ssh: Ssh, *, terminal: bool
) -> None:
    began = time.monotonic()
    done = ssh(*("start", "w1", "w2", "-A", "ready", "--executable", str(nodes.python)), terminal=terminal)
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("OK (pid") == 2
    assert took < 20
    pids = [find(name) for name in ("w1", "w2") for find in (nodes.keeper, nodes.worker)]
    assert all(map(is_alive, pids))
    for pid in pids:
        assert not any(
            link.startswith(("/dev/pts", "/dev/tty"))
            for link in (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
        )
    shown = ssh("status", "w1", "w2", terminal=terminal)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert [find(name) for name in ("w1", "w2") for find in (nodes.keeper, nodes.worker)] == pids
    assert ssh("stopwait", "w1", "w2", terminal=terminal).returncode == 0
    assert not any(map(is_alive, pids))


def test_nodes_from_one_import_survive_the_logout_too(nodes: Nodes, ssh: Ssh) -> None:
    nodes.project.write("proj.py", "from multi import App\napp = App('proj')\n")
    done = ssh("start", "w1", "w2", "-A", "proj", "-c", "1", terminal=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pids = [nodes.worker("w1"), nodes.worker("w2")]
    assert ssh("status").returncode == 0
    assert all(map(is_alive, pids))
