"""Ten nodes under the controller, and under `celery multi`: start, memory, stop."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contender import Contender
from benchmarks.environments import PROGRAMS
from benchmarks.node import Broken, Scene
from benchmarks.processes import memory
from benchmarks.report import Column
from benchmarks.resp import Resp

NODES = 10
START = (
    Column("returned", "start returns, s", 2),
    Column("ready", "all consume, s: min / median / max", 2, spread=True),
    Column("stopwait", "stopwait, s: min / median / max", 2, spread=True),
)
MEMORY = (
    Column("keeper", "keeper, MB (PSS)", 2),
    Column("node", "node: worker and children, MB (PSS)"),
    Column("greatest", "the greatest node, MB"),
)
CASE = f"{NODES} nodes of -c 1"


def run(bench: Bench) -> None:
    start = bench.report.table(f"Start and stop of {NODES} nodes of -c 1", START, "ready")
    size = bench.report.table(f"Memory of {NODES} idle nodes of -c 2", MEMORY, "node")
    for contender in bench.turns(only=("multi", "celery")):
        bench.progress(f"{NODES} nodes: {contender.name}")
        try:
            start.add(CASE, contender.name, **life(bench, contender))
        except Broken as error:
            bench.fault(f"{CASE}, {contender.name}", error)
    for contender in bench.turns(only=("multi", "celery"), rounds=1):
        bench.progress(f"memory of {NODES} nodes: {contender.name}")
        try:
            size.add("each", contender.name, **weigh(bench, contender))
        except Broken as error:
            bench.fault(f"memory, {contender.name}", error)
    report = bench.report
    report.target(
        f"{CASE} all consume, in units of celery multi's time",
        start.compare(CASE, "multi", "ready"),
        most=1 / 3,
        digits=2,
    )
    report.target(f"stopwait of {NODES} idle nodes, s", start.median(CASE, "multi", "stopwait"), most=0.5, digits=2)
    report.target("keeper, MB (PSS)", size.median("each", "multi", "keeper"), most=8)
    report.target("node of 2 children, MB (PSS)", size.median("each", "multi", "node"), most=45)


class Fleet:
    """The nodes w1, w2, … of one contender, started by its controller."""

    def __init__(self, scene: Scene, contender: Contender, children: int) -> None:
        self._scene = scene
        self._contender = contender
        self._files = [f"--pidfile={scene.directory}/%n.pid", f"--logfile={scene.directory}/%n.log"]
        self._names = [f"w{number}" for number in range(1, NODES + 1)]
        self._options = ["-A", f"{contender.name}_app", "-l", "INFO", "-c", str(children)]

    def start(self, timeout: float = 60) -> tuple[float, float]:
        """Seconds until the command returned, and until all nodes had logged that they are ready."""
        began = time.monotonic()
        command = self._command("start", [*self._options, *self._files])
        returned = ready = 0.0
        while not (returned and ready):
            now = time.monotonic() - began
            if not returned and (code := command.poll()) is not None:
                returned = now
                if code:
                    raise Broken(f"start exits with {code}:\n{self.output('start')}")
            if not ready and self._ready() == NODES:
                ready = now
            if now > timeout:
                raise Broken(
                    f"{self._ready()} of {NODES} nodes were ready after {timeout:.0f} s:\n{self.output('start')}"
                )
            time.sleep(0.005)
        return returned, ready

    def stopwait(self) -> float:
        """Seconds until the command returned; nothing may be left then."""
        began = time.monotonic()
        code = self._command("stopwait", self._files).wait()
        took = time.monotonic() - began
        if code:
            raise Broken(f"stopwait exits with {code}:\n{self.output('stopwait')}")
        if left := self._scene.group.parents():
            raise Broken(f"{len(left)} processes are left after stopwait")
        return took

    def output(self, action: str) -> str:
        return (self._scene.directory / f"{action}.out").read_text(errors="replace")

    def _command(self, action: str, more: list[str]) -> subprocess.Popen[bytes]:
        words = ("multi", action) if self._contender.name == "multi" else ("celery", "multi", action)
        with (self._scene.directory / f"{action}.out").open("wb") as out:
            return subprocess.Popen(
                [*self._contender.command(words), *self._names, *more],
                cwd=PROGRAMS,
                env=self._scene.variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def _ready(self) -> int:
        logs = (Path(self._scene.directory, f"{name}.log") for name in self._names)
        return sum(log.is_file() and b" ready." in log.read_bytes() for log in logs)


def life(bench: Bench, contender: Contender) -> dict[str, float]:
    """Start, wait, stop."""
    _flush(bench)
    with Scene(contender, bench.server.url()) as scene:
        fleet = Fleet(scene, contender, 1)
        returned, ready = fleet.start()
        time.sleep(1)  # idle
        return {"returned": returned, "ready": ready, "stopwait": fleet.stopwait()}


def weigh(bench: Bench, contender: Contender) -> dict[str, float]:
    """The memory of idle nodes; each is a tree whose root is the keeper, where there is one."""
    _flush(bench)
    with Scene(contender, bench.server.url()) as scene:
        fleet = Fleet(scene, contender, 2)
        fleet.start()
        time.sleep(1)
        roots = {root: below for root, below in scene.group.roots().items() if below}
        if len(roots) != NODES:
            raise Broken(f"{len(roots)} trees of processes were found for {NODES} nodes")
        if contender.name == "celery":
            nodes = [memory({root, *below}) for root, below in roots.items()]
            keepers = [0.0]
        else:
            nodes = [memory(below) for below in roots.values()]
            keepers = [memory([root]) for root in roots]
        return {"keeper": sum(keepers) / len(keepers), "node": sum(nodes) / len(nodes), "greatest": max(nodes)}


def _flush(bench: Bench) -> None:
    control = Resp(bench.server.port)
    control.call("FLUSHALL")
    control.close()
