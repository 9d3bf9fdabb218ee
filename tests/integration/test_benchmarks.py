"""The benchmarks run, on a small scale and without the peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.servers import Redis

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_drain_gives_figures_beside_their_targets(redis_server: Redis) -> None:
    done = bench("--only", "multi", "--parts", "drain,enqueue", "--rounds", "1", "--scale", "0.01", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    drain, enqueue = found["tables"]
    assert {row["case"] for row in drain["rows"]} == {"no results", "with results"}
    assert all(row["values"]["rate"][0] > 0 and row["values"]["node"][0] > 0 for row in drain["rows"])
    assert all(row["values"]["bulk"][0] > 0 for row in enqueue["rows"])
    # a ratio to Celery can't be met where Celery didn't run
    assert {target["met"] for target in found["targets"] if "Celery" in target["text"]} == {None}


def test_an_unknown_part_is_refused_and_the_known_ones_are_named() -> None:
    done = bench("--parts", "drian")
    assert done.returncode == 2
    assert "drian" in done.stderr
    assert "drain" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_plan_of_a_deploy_is_measured_in_memory_and_seconds() -> None:
    words = [sys.executable, "-m", "benchmarks.plan", "--hosts", "30", "--nodes", "4", "--rounds", "1", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unchanged"][0]["steps"] == 0 < found["code"][0]["steps"] < found["first"][0]["steps"]
    assert all(one["seconds"] < 2 and one["megabytes"] < 200 for rounds in found.values() for one in rounds)
