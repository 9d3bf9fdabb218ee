"""What it costs to learn when a crontab runs next, in Zurich: `next_after`, and `remaining_estimate` as Celery has it."""

from __future__ import annotations

import json
import os
import subprocess

from benchmarks.bench import Bench
from benchmarks.report import Column

MOST = 20
LINES = {"every 5 minutes": "*/5 * * * *", "daily": "30 7 * * *", "mondays": "0 0 * * mon", "29 February": "0 0 29 2 *"}
APPS = {"multi": ("multi", "App", "multi"), "celery": ("celery", "Celery", "celery.schedules")}
#: Run by each contender's own Python: the least of five turns, in µs a call.
PROGRAM = """
import json, sys, time
from datetime import datetime, timedelta, timezone
from {module} import {app}
from {schedules} import crontab
now = datetime(2026, 6, 3, 12, 34, 56, tzinfo=timezone.utc)
app = {app}("bench", timezone="Europe/Zurich")
found = {{}}
for name, line in json.loads(sys.argv[1]).items():
    schedule = crontab.from_string(line)
    schedule.app, schedule.nowfun = app, lambda: now
    for method in ("next_after", "remaining_estimate"):
        call, best = getattr(schedule, method, None), None
        for _ in range(5 if call else 0):
            began = time.process_time()
            for _ in range(2000):
                call(now)
            spent = (time.process_time() - began) / 2000 * 1e6
            best = spent if best is None else min(best, spent)
        if best is not None:
            found[f"{{name}}, {{method}}"] = best
print(json.dumps(found))
"""


def run(bench: Bench) -> None:
    table = bench.report.table("Schedules", (Column("took", "µs a call", 1, spread=True),))
    for contender in bench.contenders:
        if contender.name not in APPS:
            continue
        bench.progress(f"schedules, {contender.name}")
        module, app, schedules = APPS[contender.name]
        program = PROGRAM.format(module=module, app=app, schedules=schedules)
        command = [str(contender.bin / "python"), "-c", program, json.dumps(LINES)]
        for _ in range(bench.rounds):
            done = subprocess.run(command, cwd=os.path.dirname(__file__), capture_output=True, text=True, check=False)
            if done.returncode:
                bench.report.faults.append(f"schedules, {contender.name}: {done.stderr.strip()[-300:]}")
                break
            for case, took in json.loads(done.stdout).items():
                table.add(case, contender.name, took=took)
    if "multi" in {contender.name for contender in bench.contenders}:
        for name in LINES:
            bench.report.target(
                f"{name}: next_after, µs", table.median(f"{name}, next_after", "multi", "took"), most=MOST
            )
