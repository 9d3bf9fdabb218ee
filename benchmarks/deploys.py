"""Deploys to three hosts over real ssh: `multi deploy`, and the same steps as a plain fabfile.

    python -m benchmarks.deploys [--rounds 3] [--json] [--check]
    python -m benchmarks.deploys --ssh-config FILE --hosts host1,host2,host3 --manager systemd --python /usr/bin/python3

Without `--ssh-config` the hosts are made here of namespaces, each with an sshd of its own (tests/support/hosts.py; this needs
root), and multi's own keepers run the nodes. With it any hosts that its user may log in to as root: they are deployed to,
below /srv/bench-deploys.

Measured, each as one command from its start to its end, Python's start and all imports included: a push that finds nothing to
be done, a push of changed code, a rollback; the last two as `fab push` and `fab rollback` too (benchmarks/contenders/fabfile.py).
Both go host by host, node by node; both upload, link the environment of before, try the import, switch, restart, and look
whether the node is up. `min_healthy_time`, for which a plain fabfile has nothing, is 0. The plain one compares nothing, has
no way back and keeps no log. They take turns. "drain" is nothing here: nodes are idle.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAME = "bench-deploys"
#: Seconds, of `multi deploy`.
TARGETS = {"unchanged": 3.0, "code": 10.0, "rollback": 3.0}

APP = """
from multi import App

app = App("proj")


@app.task
def add(a, b):
    return a + b
"""
DESCRIPTION = """
name = "{name}"
[defaults]
app = "proj"
concurrency = 1
pool = "solo"
[nodes.w]
count = {nodes}
[deploy]
source = "git"
python = "{python}"
manager = "{manager}"
ssh_config = "{config}"
path = "/srv/{name}"
serial = 1
hardening = "off"
min_healthy_time = 0
"""


class Bench:
    """A project that is deployed, and the hosts."""

    def __init__(self, folder: Path, hosts: Sequence[str], config: str, manager: str, python: str, nodes: int) -> None:
        from support.hosts import write_wheel

        self.folder = folder / "project"
        self.folder.mkdir()
        self.hosts = hosts
        self.number = 0
        table = DESCRIPTION.format(name=NAME, nodes=nodes, python=python, manager=manager, config=config)
        (self.folder / "multi.toml").write_text(table + "".join(f"[hosts.{name}]\n" for name in hosts))
        (self.folder / "requirements.txt").write_text("--no-index\n--find-links wheels\nmulti-workers\n")
        write_wheel(self.folder / "wheels")
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MULTI_", "GIT_"))},
            "HOME": str(folder),
            "DEPLOY_HOSTS": ",".join(hosts),
            "DEPLOY_SSH_CONFIG": config,
            "DEPLOY_PATH": f"/srv/{NAME}",
            "DEPLOY_PROJECT": NAME,
            "DEPLOY_MANAGER": manager,
            "DEPLOY_NODES": ",".join(f"w{number + 1}" for number in range(nodes)),
            "SSH_AUTH_SOCK": "",
        }
        self._git("init", "-q")
        self.change()

    def _git(self, *words: str) -> None:
        subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@b", *words], check=True, cwd=self.folder)

    def change(self) -> None:
        """Other code."""
        self.number += 1
        (self.folder / "proj.py").write_text(f"{APP}\n# {self.number}\n")
        self._git("add", "-A")
        self._git("commit", "-q", "-m", str(self.number))

    def multi(self, *words: str) -> float:
        """How long it takes."""
        return self._timed(sys.executable, "-m", "multi", "deploy", *words)

    def plain(self, task: str) -> float:
        fab = str(Path(sys.executable).with_name("fab"))
        return self._timed(fab, "-r", str(ROOT / "benchmarks" / "contenders"), task)

    def _timed(self, *words: str) -> float:
        began = time.perf_counter()
        done = subprocess.run(
            words, check=False, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=600
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} has failed:\n{done.stdout}\n{done.stderr}")
        return seconds


def measure(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """All of it; seconds by what."""
    bench.multi("setup")
    bench.multi("push")
    found: dict[str, list[float]] = {}

    def note(what: str, seconds: float) -> None:
        found.setdefault(what, []).append(seconds)
        print(f"  {what}: {seconds:.2f} s", file=sys.stderr)

    def ours() -> None:
        bench.change()
        note("code", bench.multi("push"))
        note("unchanged", bench.multi("push"))
        note("rollback", bench.multi("rollback"))
        bench.multi("push")

    def theirs() -> None:
        bench.change()
        note("code, plain", bench.plain("push"))
        note("rollback, plain", bench.plain("rollback"))
        bench.multi("push")

    for number in range(rounds):
        turns: list[Callable[[], None]] = [ours, theirs]
        for turn in turns if number % 2 == 0 else reversed(turns):
            turn()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploys", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=2, help="on each host (default: 2)")
    parser.add_argument("--ssh-config", help="in place of hosts that are made here")
    parser.add_argument("--hosts", default="host1,host2,host3", help="their names there")
    parser.add_argument("--manager", choices=("multi", "systemd"), default="multi")
    parser.add_argument("--python", help="the hosts' interpreter")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT / "tests"))
    from support.hosts import SshHost, interpreter, write_config

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-deploys-")))
        names, config = options.hosts.split(","), options.ssh_config
        if config is None:
            made: list[Any] = []
            for name in names:
                made.append(SshHost(name))
                stack.callback(made[-1].stop)
                made[-1].start()
            config = str(write_config(folder, made))
        python = options.python or interpreter()
        before = os.getloadavg()[0]
        bench = Bench(folder, names, config, options.manager, python, options.nodes)
        found = measure(bench, options.rounds)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print(f"{len(names)} hosts, {options.nodes} nodes on each, {options.rounds} rounds, load {before:.1f} before, ")
        print(f"{os.getloadavg()[0]:.1f} after: median (least to greatest), seconds\n")
        print("| what | multi deploy | plain fabfile | target |\n|---|---:|---:|---:|")
        for what, target in TARGETS.items():
            plain = found.get(f"{what}, plain")
            print(f"| {what} | {_spread(found[what])} | {_spread(plain) if plain else ''} | {target:g} |")
    return 1 if options.check and _missed(found) else 0


def _missed(found: dict[str, list[float]]) -> bool:
    medians = {what: statistics.median(values) for what, values in found.items()}
    return any(medians[what] > min(target, medians.get(f"{what}, plain", target)) for what, target in TARGETS.items())


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
