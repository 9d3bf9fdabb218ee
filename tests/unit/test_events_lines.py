"""How events and what is known from them are shown: as lines, as tables that fit a terminal, chosen by a filter."""

from __future__ import annotations

import importlib
import io
import random
import time
from typing import Any

import pytest

from multi.app.events.state import State
from multi.cli.board import BAD, SELECTED
from multi.cli.events import layout, rows
from multi.cli.events.feed import Silent
from multi.cli.events.layout import TASKS, WORKERS, Table
from multi.cli.events.lines import line, shown
from multi.cli.events.matching import Filter
from multi.cli.events.prompt import Prompt
from multi.cli.screen import cells_of
from multi.errors import ConfigurationError

NOW = time.time()
CALL = {"uuid": "c0ffee", "name": "proj.tasks.add", "args": "(1, 2)", "kwargs": "{}", "retries": 0, "parent_id": None}
BASE = {"hostname": "w1@host", "utcoffset": 0, "pid": 5, "clock": 7, "timestamp": NOW, "local_received": NOW}
EVENTS: list[dict[str, Any]] = [
    {**BASE, "type": "worker-online", "freq": 2.0, "active": 0, "processed": 3, "loadavg": [1, 2, 3]},
    {**BASE, "type": "worker-heartbeat", "freq": 2.0},
    {**BASE, "type": "task-sent", **CALL, "queue": "celery", "hostname": "gen1@client"},
    {**BASE, "type": "task-received", **CALL},
    {**BASE, "type": "task-started", "uuid": "c0ffee"},
    {**BASE, "type": "task-failed", "uuid": "c0ffee", "exception": "ValueError('x')", "traceback": "Traceback\n  x\n"},
    {**BASE, "type": "deploy-begun", "version": "1.2"},
    {**BASE, "type": "worker-offline"},
]


def known(*events: dict[str, Any]) -> State:
    state = State()
    for number, event in enumerate(events):
        state.event({**BASE, "clock": number + 1, **event})
    return state


def test_lines_are_those_of_celerys_dump() -> None:
    out = io.StringIO()
    dumper = importlib.import_module("celery.events.dumper").Dumper(out)
    state = State()
    ours = []
    for event in EVENTS:
        dumper.on_event(dict(event))
        state.event(dict(event))
        ours.append(line(event, state.tasks.get(event.get("uuid", ""))))
    assert "".join(f"{each}\n" for each in ours) == out.getvalue()


def test_a_line_of_an_event_that_makes_no_sense_is_shown_all_the_same_and_steers_no_terminal() -> None:
    assert line({"type": "task-started"}, None) == "? [None] task started (?) "
    assert line({"type": "x", "timestamp": 1e99, "hostname": "w"}, None) == "w [1e+99] x "
    assert "\x1b" not in line({"type": "x", "hostname": "w\x1b[2J", "a": "\x07b"}, None)


def test_secrets_are_not_shown() -> None:
    event = shown({"type": "task-sent", "args": "('x',)", "kwargs": "{'password': 'geheim'}", "routing_key": "celery"})
    assert "geheim" not in str(event) and event["routing_key"] == "celery"
    assert shown({"type": "x", "api_key": "geheim"})["api_key"] == "***"
    state = known({**CALL, "type": "task-received", "kwargs": "{'token': 'geheim'}"})
    task = state.tasks["c0ffee"]
    assert "geheim" not in str(rows.task_details(task, NOW)) + line({**BASE, "type": "task-started", "uuid": "x"}, task)


# filters -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("state:FAILURE", True),
        ("state:success,failure", True),
        ("state:success", False),
        ("!state:success", True),
        ("worker:w1 task:tasks.add", True),
        ("worker:w2", False),
        ("task:proj.*", True),
        ("task:tasks.*", False),
        ("name:add !name:add", False),
        ("valueerror", True),
        ("'(1, 2)'", True),
        ("id:c0f", True),
        ("c0ffee nothing", False),
        ("redis://host", False),
    ],
)
def test_a_filter_chooses_tasks_and_their_events(text: str, fits: bool) -> None:
    state = known(*EVENTS[2:6])
    task = state.tasks["c0ffee"]
    assert Filter(text).takes_task(task) is fits
    if "valueerror" not in text:
        assert Filter(text).takes_event({**EVENTS[5]}, task) is fits


def test_a_filter_of_events_knows_types_and_of_workers_only_their_names() -> None:
    types = [event["type"] for event in EVENTS if Filter("type:worker-*").takes_event(event, None)]
    assert types == ["worker-online", "worker-heartbeat", "worker-offline"]
    assert Filter("state:FAILURE worker:w1").takes_worker("w1@host")
    assert not Filter("worker:w2").takes_worker("w1@host")
    assert Filter("host").takes_worker("w1@host")


@pytest.mark.parametrize(
    ("text", "why"),
    [("status:x", "there is no status: to look for"), ("state:", "nothing to look for"), ("'x", "quotation mark")],
)
def test_a_filter_that_makes_no_sense_is_told(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Filter(text)


# tables --------------------------------------------------------------------------------------------------------------


def crowd(count: int) -> State:
    state = known(EVENTS[0], {**EVENTS[0], "hostname": "工人@host"})
    rng = random.Random(5)
    for number in range(count):
        uuid = f"{number:08d}-aaaa-bbbb-cccc-dddddddddddd"
        call = {**CALL, "uuid": uuid, "name": "proj.tasks." + "x" * rng.randrange(40), "args": "\x1b[31m\n工" * 3}
        clock = {"clock": number + 10}
        state.event({**BASE, **call, **clock, "type": "task-received"})
        kind = rng.choice(("started", "succeeded", "failed", "retried", "progress"))
        state.event({**BASE, **clock, "type": f"task-{kind}", "uuid": uuid, "runtime": 0.25, "exception": "e"})
    return state


@pytest.mark.parametrize("focus", [TASKS, WORKERS])
@pytest.mark.parametrize("size", [(1, 1), (20, 3), (40, 8), (79, 12), (80, 24), (200, 60)])
def test_the_view_fits_any_terminal(size: tuple[int, int], focus: str) -> None:
    width, height = size
    state = crowd(50)
    tasks = [task for _, task in state.tasks_by_time()]
    for at in (0, 25, 49):
        lines = layout.screen(
            "summary",
            Table(tasks, at, lambda task: rows.task_row(task, NOW)),
            Table([*state.workers.values()], 0, lambda worker: rows.worker_row(worker, NOW)),
            width,
            height,
            focus=focus,
            note="note",
        )
        assert len(lines) <= height and all(cells_of(each.text) <= width for each in lines)
        assert all(each.text.isprintable() for each in lines)
        if height >= 8:
            assert len(lines) == height
            selected = [each.text for each in lines if each.look == SELECTED]
            assert len(selected) == 1
            if focus == TASKS and width >= 80:
                assert tasks[at].uuid[:7] in selected[0]


def test_what_ended_badly_stands_out_and_columns_say_what_happened() -> None:
    state = known(*EVENTS[:6], {"type": "task-started", "uuid": "run", "timestamp": NOW - 61})
    row = rows.task_row(state.tasks["c0ffee"], NOW + 5)
    assert (row.look, row.cells) == (BAD, ("FAILURE", "5s", "<1ms", "w1@host", "proj.tasks.add", "c0ffee"))
    assert rows.task_row(state.tasks["run"], NOW).cells[:3] == ("STARTED", "1m01s", "1m01s")
    worker = state.workers["w1@host"]
    worker.heartbeats[:] = [time.time() + 600]  # however slow the machine is
    assert rows.worker_row(worker, NOW + 1).cells[:5] == ("w1@host", "online", "0", "3", "1.00 2.00 3.00")
    worker.heartbeats[:] = [NOW - 1000]
    assert rows.worker_row(worker, NOW).cells[1:3] == ("silent", "-") and rows.worker_row(worker, NOW).look == BAD
    assert rows.worker_row(worker, NOW, gone=True).cells[1] == "stopped"
    details = dict(rows.worker_details(worker, [*state.tasks.values()], NOW))
    assert details["heartbeats"] == "every 2 s" and "run" in details["task"]


def test_details_tell_all_of_a_task_in_lines_that_fit() -> None:
    child = {
        **CALL,
        "type": "task-sent",
        "uuid": "child",
        "parent_id": "c0ffee",
        "root_id": "c0ffee",
        "name": "proj.child",
    }
    state = known(*EVENTS[2:6], child)
    task = state.tasks["c0ffee"]
    task.args = "工" * 100
    found = rows.task_details(task, NOW)
    values = dict(found)
    assert values["exception"] == "ValueError('x')" and values["traceback"] == "Traceback\n  x"
    assert values["child"].startswith("child proj.child PENDING") and values["queue"] == "celery"
    assert {"sent", "received", "started", "failed"} <= {*values}
    for width in (12, 40, 100):
        assert all(cells_of(each.text) <= max(width, 32) for each in layout.details(found, width))
    page = layout.page("Task", layout.details(found, 60), 3, 60, 8, "back")
    assert len(page) == 8 and "(4-9 of" in page[0].text
    assert dict(rows.task_details(state.tasks["child"], NOW))["parent"] == "c0ffee proj.tasks.add"


# the rest ------------------------------------------------------------------------------------------------------------


def test_workers_that_run_tasks_and_tell_nothing_of_them_are_known() -> None:
    silent = Silent()
    for hostname, processed in (("told", 1), ("mute", 1), ("idle", 1), ("told", 2), ("mute", 2), ("idle", 1)):
        if hostname == "told":
            silent.hear({"type": "task-started", "hostname": hostname})
        silent.hear({"type": "worker-heartbeat", "hostname": hostname, "processed": processed})
    assert [*silent.names] == ["mute"]
    silent.hear({"type": "task-received", "hostname": "mute"})
    assert not silent.names
    for number in range(20_000):
        silent.hear({"type": "worker-heartbeat", "hostname": f"w{number}", "processed": number})
        silent.hear({"type": "task-started", "hostname": f"w{number}"})
    assert len(silent._processed) <= 5000 and len(silent._telling) <= 5000


def test_a_prompt_takes_a_line_or_one_key() -> None:
    answers: list[str] = []
    prompt = Prompt("rate: ", answers.append, "5")
    for key in ("\b", "1", "0", "x", "\b", "/", "m", "\x01"):
        assert not prompt.press(key)
    assert prompt.text == "rate: 10/m_"
    assert prompt.press("\n") and answers == ["10/m"]
    assert Prompt("", answers.append).press("\x1b") and len(answers) == 1
    sure = Prompt("sure? y/n", answers.append, keys="y")
    assert sure.press("n") and len(answers) == 1
    assert sure.press("y") and len(answers) == 2
