"""Hosts for tests of deploys: each a real sshd on a port of its own, in namespaces where it sees this machine's files under a
layer of its own, with its own processes, /srv and /run. They run no systemd: nodes there are run by multi's own keepers.

It needs root and the programs unshare (util-linux) and sshd (openssh-server).
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

from support import leash
from support.servers import SBIN, NotInstalled, Server, program

_SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/multi-test/host
AuthorizedKeysFile /etc/multi-test/key.pub
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
Subsystem sftp internal-sftp
"""
#: The host's folder, then what else of this machine is to be seen there. In the end sshd takes the place of the shell.
_BOOT = """
set -eu
top=$1; shift
mount -t tmpfs -o mode=755 tmpfs "$top/disk"
mkdir "$top/disk/upper" "$top/disk/work"
mount -t overlay -o "lowerdir=/,upperdir=$top/disk/upper,workdir=$top/disk/work" overlay "$top/root"
cd "$top/root"
mount --rbind /dev dev
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs srv
mkdir -p run/sshd run/full etc/multi-test
mount -t tmpfs -o size=256k tmpfs run/full
cp "$top/host" "$top/key.pub" "$top/sshd_config" etc/multi-test/
chmod 600 etc/multi-test/host
for folder in "$@"; do mkdir -p "./$folder"; mount --rbind "$folder" "./$folder"; done
rm -rf var/lib/multi var/log/multi
# what shells of this machine's root read costs half a second for each command over ssh
rm -f root/.bashrc root/.profile root/.bash_profile root/.bash_login
if [ -n "$UV" ]; then ln -sf "$UV" usr/local/bin/uv; fi
exec chroot . "$SSHD" -D -e -f /etc/multi-test/sshd_config
"""


class SshHost(Server):
    """One host. `freeze` makes it fall silent, as behind a cut cable; `thaw` heals that."""

    def __init__(self, name: str) -> None:
        if os.geteuid() != 0:
            raise NotInstalled("hosts are made of namespaces by root; run these tests as root")
        for needed, package in (
            ("unshare", "util-linux"),
            ("ssh-keygen", "openssh-client"),
            ("sshd", "openssh-server"),
        ):
            program(needed, package)
        super().__init__()
        self.name = name

    def renew(self) -> None:
        super().renew()
        for folder in ("disk", "root"):
            (self.folder / folder).mkdir()
        for key in ("host", "key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)]
            subprocess.run(words, check=True)
        (self.folder / "sshd_config").write_text(_SSHD.format(port=self.port))
        (self.folder / "boot").write_text(_BOOT)

    def command(self) -> tuple[list[str], dict[str, str]]:
        sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{SBIN}") or "sshd"
        words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        # it makes environments many times as fast as pip
        uv = shutil.which("uv", path=os.path.dirname(sys.executable)) or ""
        return [*words, "sh", str(self.folder / "boot"), str(self.folder), *_elsewhere()], {"SSHD": sshd, "UV": uv}

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def pids(self) -> list[int]:
        return leash.family(self.process.pid) if self.process is not None else []

    def freeze(self) -> None:
        for pid in self.pids()[1:]:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    @property
    def known(self) -> str:
        """Its line in known_hosts."""
        kind, key, *_ = (self.folder / "host.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    @property
    def config(self) -> str:
        """What ssh_config says of it."""
        lines = (f"Host {self.name}", "HostName 127.0.0.1", f"Port {self.port}", "User root")
        return "\n  ".join((*lines, f"IdentityFile {self.folder / 'key'}", "IdentitiesOnly yes")) + "\n"

    def shell(self, line: str) -> str:
        """What a line of shell prints there, by plain ssh."""
        words = ["ssh", "-p", str(self.port), "-i", str(self.folder / "key"), "-o", "StrictHostKeyChecking=no"]
        words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@127.0.0.1", line]
        return subprocess.run(
            words, check=True, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        ).stdout


def write_config(folder: Path, hosts: list[SshHost]) -> Path:
    """An ssh_config for these hosts, with its known_hosts beside it."""
    known = folder / "known_hosts"
    known.write_text("".join(host.known for host in hosts))
    config = folder / "ssh_config"
    config.write_text("".join(host.config for host in hosts) + f"Host *\n  UserKnownHostsFile {known}\n")
    return config


def write_wheel(folder: Path) -> Path:
    """A wheel by which an environment on a host gets the multi that is tested, with what it needs: it leads to the place where
    they are installed here. pip installs it as any other, without an index."""
    folder.mkdir(exist_ok=True)
    wheel = folder / "multi_workers-0.0.0-py3-none-any.whl"
    info = "multi_workers-0.0.0.dist-info"
    place = sysconfig.get_path("purelib")
    files = {
        "multi_test.pth": f"import site; site.addsitedir({place!r})\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: multi-workers\nVersion: 0.0.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": _entry_points(),
    }
    record = ""
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record += f"{name},sha256={digest},{len(text.encode())}\n"
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return wheel


def _entry_points() -> str:
    """Those of the multi that is tested: the first distribution of a name is the one whose they are."""
    groups: dict[str, list[str]] = {}
    for point in metadata.distribution("multi-workers").entry_points:
        groups.setdefault(point.group, []).append(f"{point.name} = {point.value}\n")
    return "".join(f"[{group}]\n{''.join(lines)}" for group, lines in groups.items())


def interpreter() -> str:
    """The interpreter that environments on hosts are made with: this one, without its own environment."""
    return os.path.realpath(sys.executable)


def _elsewhere() -> list[str]:
    """Folders that a host has to see and that are on other file systems than /, which its layer shows alone."""
    root = os.stat("/").st_dev
    wanted = {os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix), str(Path(__file__).parents[2])}
    return sorted(folder for folder in wanted if os.stat(folder).st_dev != root)
