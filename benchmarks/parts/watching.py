"""What watching costs: events that a receiver takes and a state keeps, in lists as workers send them, in one process each."""

from __future__ import annotations

import json
import os
import subprocess

from benchmarks.bench import Bench
from benchmarks.report import Column

TASKS = 20_000
#: The part of each contender's program that takes one list of events, as JSON text.
TAKERS = {
    "multi": """
from multi import App
from multi.message import Message
app = App("bench", broker="memory://")
state = app.events.State()
receiver = app.events.Receiver(handlers={"*": state.event})
lists = [Message({}, text.encode()) for text in lists]
take = receiver.receive
""",
    "celery": """
from celery import Celery
from kombu.utils.json import loads
app = Celery("bench", broker="memory://")
state = app.events.State()
receiver = app.events.Receiver(app.connection(), handlers={"*": state.event})
take = lambda text: receiver._receive(loads(text), None)
""",
}
PROGRAM = """
import json, sys, time
events, clock = [], 0
for number in range({tasks}):
    uuid = f"{{number:032x}}"
    for kind, fields in (
        ("received", {{"name": f"proj.task{{number % 20}}", "args": "(1, 2)", "kwargs": "{{}}", "root_id": uuid,
                       "parent_id": None, "retries": 0, "eta": None, "expires": None}}),
        ("started", {{}}),
        ("succeeded", {{"result": "3", "runtime": 0.001}}),
    ):
        clock += 1
        host = {{"hostname": f"w{{number % 4}}@host", "utcoffset": 0, "pid": 1, "clock": clock, "timestamp": time.time()}}
        events.append({{**host, "uuid": uuid, **fields, "type": f"task-{{kind}}"}})
lists = [json.dumps(events[start : start + 24]) for start in range(0, len(events), 24)]
{taker}
began = time.process_time()
for each in lists:
    take(each)
spent = time.process_time() - began
assert len(state.tasks) == 10000 and state.event_count == len(events)
print(spent / len(events) * 1e6)
"""


def run(bench: Bench) -> None:
    table = bench.report.table("Watching", (Column("took", "µs of processor time an event", 1, spread=True),))
    for contender in bench.contenders:
        if contender.name not in TAKERS:
            continue
        bench.progress(f"watching, {contender.name}")
        program = PROGRAM.format(tasks=TASKS, taker=TAKERS[contender.name])
        command = [str(contender.bin / "python"), "-c", program]
        for _ in range(bench.rounds):
            done = subprocess.run(command, cwd=os.path.dirname(__file__), capture_output=True, text=True, check=False)
            if done.returncode:
                bench.report.faults.append(f"watching, {contender.name}: {done.stderr.strip()[-300:]}")
                break
            table.add("receiver and state", contender.name, took=json.loads(done.stdout))
