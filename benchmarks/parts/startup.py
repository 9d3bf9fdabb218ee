"""What the command line costs: `--version` and the import, over a bare interpreter, in turn."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.report import Column

RUNS = 15
APPS = {"multi": "App", "celery": "Celery"}


def run(bench: Bench) -> None:
    table = bench.report.table("Start-up", (Column("took", "ms: min / median / max", 1, spread=True),))
    bench.progress("start-up")
    commands: dict[tuple[str, str], list[str]] = {("python -c pass", "python"): [sys.executable, "-c", "pass"]}
    for contender in bench.contenders:
        if app := APPS.get(contender.name):
            module, python = contender.name, str(contender.bin / "python")
            for statement in (f"import {module}", f"from {module} import {app}"):
                commands[f"python -c '{statement}'", contender.name] = [python, "-c", statement]
            commands[f"{module} --version", contender.name] = contender.command((module, "--version"))
    away = Path(__file__).parent  # nothing to import by accident
    for turn in range(RUNS + 1):
        for (case, name), command in commands.items():
            began = time.perf_counter()
            done = subprocess.run(command, cwd=away, stdout=subprocess.DEVNULL, env=_variables(), check=False)
            took = time.perf_counter() - began
            if done.returncode:
                bench.report.faults.append(f"{' '.join(command)} exits with {done.returncode}")
            elif turn:  # the first one reads files into memory
                table.add(case, name, took=took * 1e3)
    if "multi" in {contender.name for contender in bench.contenders}:
        bench.report.target("multi --version, ms", table.median("multi --version", "multi", "took"), most=60)
        bare = table.median("python -c pass", "python", "took")
        ours = table.median("python -c 'import multi'", "multi", "took")
        over = ours - bare if ours is not None and bare is not None else None
        bench.report.target("import multi, over a bare interpreter, ms", over, most=25)


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
