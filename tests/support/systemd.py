"""A private systemd for a test: a real `systemd --user` in namespaces of its own, with only what the test puts there.

It works where the first process is not systemd, too (in a container, on a build machine): it sees a tree of control groups
whose root is its own, and a /run of its own. There is no journal. It needs root, cgroup v2, and the programs unshare, nsenter
and systemd itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.wait import until

SYSTEMD = "/lib/systemd/systemd"
#: What the namespaces are filled with, before the command in "$@" becomes their manager. $1 is the group.
_PREPARE = """
set -eu
group=$1
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/$group
echo $$ > /sys/fs/cgroup/$group/cgroup.procs
exec unshare --cgroup sh -eu -c '
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir -p /run/systemd /run/user
    mount -t tmpfs -o mode=755 tmpfs /run/systemd
    mkdir /run/systemd/system
    mount -t tmpfs -o mode=755 tmpfs /run/user
    mkdir -m 700 /run/user/0
    export XDG_RUNTIME_DIR=/run/user/0
    exec "$0" --user
' "$2"
"""
#: The control group outlives the namespaces; what was in it is gone.
_SWEEP = """
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /sys/fs/cgroup
[ -d "$1" ] || exit 0
echo 1 > "$1/cgroup.kill" 2>/dev/null || true
for i in 1 2 3 4 5 6 7 8 9 10; do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done
"""


class NoSystemd(Exception):
    """This machine can't have one; the message says what is missing."""


def check() -> None:
    """Raise `NoSystemd` where it can't work."""
    if os.geteuid() != 0:
        raise NoSystemd("a private systemd needs root")
    for program in (SYSTEMD, "systemctl", "unshare", "nsenter"):
        if shutil.which(program) is None:
            raise NoSystemd(f"a private systemd needs {program}: apt-get install systemd util-linux")
    with open("/proc/filesystems") as file:
        if "cgroup2" not in file.read():
            raise NoSystemd("a private systemd needs cgroup v2")


class PrivateSystemd:
    """Started with `env`, which its units get, too; its files (unit files among them) are in `home`."""

    def __init__(self, env: dict[str, str], home: Path) -> None:
        self.home = home
        self.group = f"multi-test-{os.getpid()}-{id(self)}"
        self.env = {**env, "HOME": str(home), "XDG_RUNTIME_DIR": "/run/user/0"}
        self.env.pop("DBUS_SESSION_BUS_ADDRESS", None)
        self.units = home / ".config" / "systemd" / "user"
        self.units.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes commands."""
        self.process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", _PREPARE, "sh", self.group, SYSTEMD],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, 20, what="the private systemd answers")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise NoSystemd(f"a private systemd does not start here (exit status {self.process.returncode})")
        return self.run("systemctl", "--user", "is-system-running").stdout.strip() in ("running", "degraded")

    def run(self, *words: str, cwd: Path | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as in a session of its user."""
        return subprocess.run(
            self._inside(words, cwd),
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def popen(self, *words: str, cwd: Path) -> subprocess.Popen[bytes]:
        """Start a command beside it."""
        return subprocess.Popen(
            self._inside(words, cwd), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def _inside(self, words: Sequence[str], cwd: Path | None) -> list[str]:
        assert self.process is not None
        return ["nsenter", "-t", str(self.process.pid), "-m", "-C", *([f"--wd={cwd}"] if cwd else []), "--", *words]

    def multi(self, *words: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `multi` beside it."""
        done = self.run(sys.executable, "-m", "multi", *words, cwd=cwd)
        assert code is None or done.returncode == code, f"multi {' '.join(words)}: {done}"
        return done

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "--user", "show", f"--property={name}", "--value", unit).stdout.strip()

    def stop(self) -> None:
        """End it with all that it runs."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", _SWEEP, "sh", self.group],
            check=False,
            capture_output=True,
        )


def require() -> None:
    """Skip the test where this machine can't have one; where everything is to be there, fail it."""
    try:
        check()
    except NoSystemd as missing:
        if any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in ("CI", "MULTI_CI")):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
