"""Middleware and dependencies in the workers of every pool; and what is counted in their children, read by a command."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request

from support.project import Project

from multi.app.telemetry import metrics

POOLS = ["prefork", "threads", "asyncio", "solo"]

PROJECT = """
from pathlib import Path
from multi import App, Depends, Middleware
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

def get_one():
    yield 1

async def get_two():
    yield 2

class Layer(Middleware):
    def run(self, run, proceed):
        return ["plain", run.headers["mark"], proceed()]

    async def arun(self, run, proceed):
        return ["async", run.headers["mark"], await proceed()]

    def before_publish(self, sending):
        sending.headers["mark"] = sending.name.rpartition(".")[2]

class Exporter(SpanExporter):
    def export(self, spans):
        with open(Path(__file__).parent / "spans", "a") as file:
            for span in spans:
                file.write(f"{span.name} {span.attributes.get('celery.state')}\\n")
        return SpanExportResult.SUCCESS

# nothing is exported before the process ends
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Exporter(), schedule_delay_millis=600_000))
trace.set_tracer_provider(provider)
app = App("proj", middleware=["prometheus", "opentelemetry", Layer])

@app.task
def add(x, y, one=Depends(get_one)):
    return x + y + one

@app.task
async def aadd(x, y, two=Depends(get_two)):
    return x + y + two

@app.task
def fail():
    raise KeyError("no")
"""

CALLS = """
import datetime, proj
assert proj.add.delay(1, 2).get(timeout=30) == ["plain", "add", 4]
assert proj.aadd.delay(1, 2).get(timeout=30) == ["async", "aadd", 5]
try:
    proj.fail.delay().get(timeout=30)
except KeyError:
    pass
past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5)
assert proj.add.apply_async((1, 2), expires=past).get(timeout=30, propagate=False)
"""


def test_every_pool_runs_tasks_inside_and_counts_them(project: Project) -> None:
    project.write("proj.py", PROJECT)
    numbers = project.path / "numbers"
    project.env["PROMETHEUS_MULTIPROC_DIR"] = str(numbers)
    for pool in POOLS:
        process = project.popen(
            *("worker", "-A", "proj", "-n", "w1@here", "-P", pool, "-c", "2"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            project.python(CALLS)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    shown = metrics.text(str(numbers))
    found = dict(re.findall(r"^(multi_\S+) (\S+)$", shown, re.MULTILINE))
    count = float(len(POOLS))
    assert {name: float(value) for name, value in found.items() if name.startswith("multi_tasks_total")} == {
        'multi_tasks_total{state="SUCCESS",task="proj.add"}': count,
        'multi_tasks_total{state="REVOKED",task="proj.add"}': count,
        'multi_tasks_total{state="SUCCESS",task="proj.aadd"}': count,
        'multi_tasks_total{state="FAILURE",task="proj.fail"}': count,
    }
    assert float(found['multi_task_seconds_count{task="proj.fail"}']) == count
    assert float(found['multi_tasks_sent_total{queue="celery",task="proj.add"}']) == 2 * count
    spans = (project.path / "spans").read_text().splitlines()
    assert {span: spans.count(span) for span in spans if span.startswith("run/")} == {
        "run/proj.add SUCCESS": count,
        "run/proj.aadd SUCCESS": count,
        "run/proj.fail FAILURE": count,
    }
    _answers_prometheus(project, str(numbers), shown)


def _answers_prometheus(project: Project, directory: str, shown: str) -> None:
    done = project.multi("metrics", "--dir", directory)
    assert done.stdout == shown
    server = project.popen("metrics", "--dir", directory, "--listen", "0")
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/metrics", line)
        assert address, line
        with urllib.request.urlopen(address[0], timeout=30) as answer:
            assert "multi_tasks_total" in answer.read().decode()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
        assert server.returncode == 0
