"""`inspect ping` of ten nodes, over the command's own start: it lists its commands then, with the app imported."""

from __future__ import annotations

import json
import subprocess
import time

from benchmarks.bench import Bench
from benchmarks.environments import PROGRAMS
from benchmarks.node import Broken, Node, Scene
from benchmarks.report import Column
from benchmarks.resp import Resp

NODES = 10
ASKED = 5
COLUMNS = (
    Column("whole", "the command, s: min / median / max", 3, spread=True),
    Column("over", "over its own start, s: min / median / max", 3, spread=True),
)
_COMMANDS = {
    "multi": ("multi", "inspect", "-A", "multi_app"),
    "celery": ("celery", "-A", "celery_app", "inspect"),
}


def run(bench: Bench) -> None:
    table = bench.report.table("inspect ping of ten nodes", COLUMNS, "over")
    for contender in bench.turns(tuple(_COMMANDS)):
        bench.progress(f"ping: {contender.name}")
        control = Resp(bench.server.port)
        control.call("FLUSHALL")
        control.close()
        base = contender.command(_COMMANDS[contender.name])
        try:
            with Scene(contender, bench.server.url()) as scene:
                nodes = [scene.node("-n", f"w{number}@%h", "-c", "1", name=f"w{number}") for number in range(NODES)]
                _wait(scene, base, nodes)
                for _ in range(ASKED):
                    began = time.monotonic()
                    _said(scene, base, "--list")
                    start = time.monotonic() - began
                    began = time.monotonic()
                    found = json.loads(_said(scene, base, "ping", "--json"))
                    whole = time.monotonic() - began
                    if len(found) != NODES:
                        raise Broken(f"{len(found)} of {NODES} nodes answered")
                    table.add("ping", contender.name, whole=whole, over=whole - start)
        except Broken as error:
            bench.fault(f"ping, {contender.name}", error)
    bench.report.target(
        "inspect ping of ten nodes, over the command's own start, s",
        table.median("ping", "multi", "over"),
        most=0.3,
        digits=3,
    )


def _wait(scene: Scene, base: list[str], nodes: list[Node]) -> None:
    deadline = time.monotonic() + 120
    while len(json.loads(_said(scene, base, "ping", "--json") or "{}")) < NODES:
        for node in nodes:
            node.check()
        if time.monotonic() > deadline:
            raise Broken(f"not all of {NODES} nodes answer after 120 s")


def _said(scene: Scene, base: list[str], *words: str) -> str:
    done = subprocess.run(
        [*base, *words], cwd=PROGRAMS, env=scene.variables, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout
