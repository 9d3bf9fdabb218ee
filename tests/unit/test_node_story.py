"""The story of a node in sentences."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from multi.controller import story, unit_story
from multi.controller.keeper import proc
from multi.controller.node import Node, Status
from multi.controller.places import Places
from multi.controller.project import Project
from multi.nodes.names import NodeName

NOW = 1_795_000_000.0


def event(what: str, after: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"at": NOW + after, "event": what, **fields}


def told(*events: dict[str, Any]) -> list[str]:
    return [sentence.text for sentence in story.tell(events)]


START = event("starting", pid=7, generation=2, by="ann@pts/3: multi start w1")


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([START], "generation 2 was started (pid 7), by ann@pts/3: multi start w1"),
        ([START, event("ready", 1.24, pid=7, generation=2)], "generation 2 was ready after 1.2 s"),
        (
            [
                START,
                event("ready", 1, pid=7, generation=2),
                event("exit", 600, pid=7, kind="crash", text="exit status 1", code=1, reason="a\n  b\nValueError: bad"),
            ],
            "the worker (pid 7) ended: exit status 1, after 10 min; its own words: a … ValueError: bad",
        ),
        (
            [START, event("exit", 0.5, pid=7, kind="crash", text="exit status 2", code=2)],
            "the worker (pid 7) ended: exit status 2, after 0.5 s; it was never ready",
        ),
        (
            [event("exit", pid=7, kind="crash", text="killed by KILL", code=-9)],
            "the worker (pid 7) ended: killed by KILL; its keeper did not do that: somebody else sent KILL",
        ),
        (
            [event("exit", pid=7, kind="crash", text="killed by KILL, for want of memory", code=-9, oom=True)],
            (
                "the worker (pid 7) ended: killed by KILL, for want of memory; the kernel killed it, since the memory of "
                "its control group or of the machine was used up"
            ),
        ),
        (
            [
                event(
                    "exit",
                    pid=7,
                    kind="crash",
                    text="it stopped answering: killed by KILL",
                    code=-9,
                    verdict="watchdog",
                )
            ],
            "the worker (pid 7) ended: it stopped answering: killed by KILL",
        ),
        (
            [event("exit", pid=7, kind="stop", text="exit status 0", code=0, reason="TERM", role="outgoing")],
            "the outgoing worker of a reload (pid 7) has stopped: exit status 0",
        ),
        (
            [event("backoff", delay=4.0, crashes=3)],
            "its keeper waits 4 s before it starts the next one (crash 3 in a row)",
        ),
        ([event("gave_up", message="the worker has ended")], "it was given up: the worker has ended"),
        (
            [event("stopping", signal="TERM", by="bob: multi stop w1")],
            "TERM: it was told to stop, by bob: multi stop w1",
        ),
        ([event("stopping", signal="INT")], "INT: it was told to stop, by a signal from somebody"),
        ([event("climbing", step="kill")], "it was still running: its keeper sent KILL"),
        ([event("reload", generation=3, reason="age")], "reload (age): generation 3 was to take over"),
        ([event("reload_failed", message="no")], "the reload has failed, and the old worker went on: no"),
        ([event("paused", queues=["a", "b"], by="x")], "it stopped consuming from the queues a, b, by x"),
        ([event("resumed", queues="*")], "it took up consuming from all queues"),
        (
            [event("resumed", queues="*", later=True)],
            "what is started next is to consume as before from all queues",
        ),
        ([event("paused", queues=["a"], later=True)], "what is started next is not to consume from the queue a"),
        (
            [event("stopping", was="given up", by="bob: multi stop w1")],
            "it was given up, and was told to stay down, by bob: multi stop w1",
        ),
        (
            [event("lost", keeper=6, workers=[], state="backoff")],
            (
                "its keeper (pid 6), which had no worker, was found gone, and nobody saw how: killed, by somebody or for want "
                "of memory"
            ),
        ),
        ([event("adopted", pid=7)], "its keeper was gone; a new one adopted the worker (pid 7)"),
        ([event("adopted", pid=7, foreign=True)], "the worker 7, which ran already, became this node"),
        ([event("memory", used=300 << 10, limit=100 << 10)], "it had grown to 300 kB; at 100 kB it is replaced"),
        ([event("memory", used=1900 << 10, limit=1 << 20)], "it had grown to 1.9 MB; at 1.0 MB it is replaced"),
        ([event("memory", used=300 << 20, limit=256 << 20)], "it had grown to 300 MB; at 256 MB it is replaced"),
        ([event("age", seconds=90000)], "it was 25.0 h old; at that age it is replaced"),
        ([event("watchdog", silent=61.0)], "it was silent for 61 s; its keeper ended it"),
        ([event("of a later version", level=3)], "of a later version: level 3"),
        ([event("gave_up", message="redis://u:pw@h/0 refused")], "it was given up: redis://u:**@h/0 refused"),
    ],
)
def test_each_event_is_a_sentence(events: list[dict[str, Any]], text: str) -> None:
    assert told(*events)[-1] == text


def test_the_tasks_that_ran_are_told_with_their_secrets_masked() -> None:
    tasks = [
        {
            "name": "proj.pay",
            "id": "id-1",
            "since": NOW - 42,
            "args": "(3,), password='geheim', n=2",
            "pid": 8,
            "active": 1,
        },
        *({"name": f"t{n}", "id": "", "since": 0.0, "args": "", "pid": n, "active": 1} for n in range(4)),
    ]
    ended = event("exit", pid=7, kind="crash", text="killed by SEGV", code=-11, tasks=tasks)
    (text,) = told(ended)
    assert text.endswith("; it was running proj.pay[id-1](3,), password=***, n=2 for 42 s, t0, t1 and 2 more")
    assert "geheim" not in json.dumps(story.public(ended))


def test_an_end_on_no_record_is_told_before_the_next_start_but_not_of_workers_that_a_reload_lets_finish() -> None:
    incoming = event("starting", 1, pid=8, generation=3, role="incoming")
    third = event("starting", 3, pid=9, generation=4)
    assert told(START, third)[1].startswith("generation 2 (pid 7) has gone meanwhile, and its end is on no record")
    gone = event("exit", 2.5, pid=8, kind="crash", text="exit status 1", code=1)
    calm = told(START, incoming, event("reloaded", 2, pid=8, generation=3), gone, third)
    assert not any("gone meanwhile" in text for text in calm)
    assert len(told(START, event("lost", 1, keeper=6, workers=[7], state="running"), third)) == 3


def test_a_stop_before_the_last_start_is_not_the_cause_of_what_is_now() -> None:
    stop = event("stopping", -9, signal="TERM", by="root: multi restart w1")
    later = event("stopping", 9, signal="TERM", by="root: multi stop w1")
    status = Status("stopped", {"since": time.time(), "name": "w1@h"})
    assert "restart" not in story.present(status, [stop, START])[0]
    assert story.present(status, [stop, START, later])[0].endswith("by root: multi stop w1")


def test_the_verdict_on_an_end_is_not_told_twice() -> None:
    end = event("exit", pid=7, kind="crash", text="exit status 1", code=1)
    assert len(told(end, event("crashed", pid=7, message="exit status 1"))) == 1
    assert told(event("crashed", pid=7, message="exit status 1")) == ["it crashed: exit status 1"]


def node(tmp_path: Path) -> Node:
    places = Places(*(str(tmp_path / name) for name in ("nodes", "run", "log")))
    found = Node(NodeName("w1", "h"), places.node(Project("p", str(tmp_path)), "w1@h"))
    for folder in (found.place.kept, found.place.run):
        Path(folder).mkdir(parents=True)
    return found


def test_history_is_read_from_both_files_and_over_broken_lines(tmp_path: Path) -> None:
    w1 = node(tmp_path)
    kept = Path(w1.place.kept)
    (kept / "history.1.jsonl").write_text(json.dumps(event("starting", 0)) + "\n")
    (kept / "history.jsonl").write_text(
        f'{json.dumps(event("ready", 1))}\n{{"at": 3, "ev\n[]\n{{"at": "x", "event": "y"}}\n'
    )
    assert [one["event"] for one in story.read(w1)] == ["starting", "ready"]


def test_a_node_of_an_older_version_has_the_story_that_its_status_knows(tmp_path: Path) -> None:
    w1 = node(tmp_path)
    status = {
        "version": 1,
        "name": "w1@h",
        "state": "failed",
        "since": NOW + 5,
        "message": "given up",
        "last_end": {"pid": 7, "kind": "crash", "text": "exit status 3", "code": 3, "reason": "", "at": NOW},
        "workers": [],
    }
    (Path(w1.place.run) / "status.json").write_text(json.dumps(status))
    assert told(*story.read(w1)) == ["the worker (pid 7) ended: exit status 3", "it was given up: given up"]


@pytest.mark.parametrize(
    ("state", "record", "events", "text"),
    [
        ("stopped", {}, [], "it was never started"),
        (
            "stopped",
            {"since": -3600},
            [event("stopping", by="bob: multi stop w1")],
            "it has been stopped for 60 min, by bob: multi stop w1",
        ),
        (
            "failed",
            {"since": -3600, "message": "the worker has ended: exit status 3"},
            [],
            "it was given up 60 min ago: the worker has ended: exit status 3",
        ),
        (
            "backoff",
            {"message": "the worker has ended", "next_start": 3600, "crashes": 3},
            [],
            "the worker has ended; it is started again in 60 min",
        ),
        ("crashed", {"boot": "another"}, [], "its keeper and its worker are gone: the machine was restarted"),
        (
            "crashed",
            {"boot": proc.boot_id()},
            [],
            "its keeper and its worker are gone without a word: both were killed, by somebody or for want of memory",
        ),
        ("orphaned", {}, [], "its keeper was killed; the worker goes on, and the next start gives it a new keeper"),
        ("running", {"since": -3600}, [], "it has been running for 60 min"),
    ],
)
def test_the_present_state_comes_with_its_cause(
    state: str, record: dict[str, Any], events: list[dict[str, Any]], text: str
) -> None:
    now = time.time()
    moments: dict[str, Any] = {key: now + record[key] for key in ("since", "next_start") if key in record}
    assert story.present(Status(state, {**record, **moments}), events)[0] == text


def test_a_node_that_runs_again_tells_its_last_crash_and_its_failed_reload() -> None:
    end = {**event("exit", pid=7, kind="crash", text="exit status 1", code=1), "at": time.time() - 300}
    record = {"since": time.time() - 299, "reload": {"state": "failed", "message": "no"}, "paused": ["a"]}
    assert story.present(Status("running", record), [end])[1:] == [
        "the worker (pid 7) ended: exit status 1 (5 min ago)",
        "its last reload has failed: no",
        "it stopped consuming from the queue a",
    ]


def test_what_systemd_did_with_a_node_is_told_from_its_journal() -> None:
    def entry(at: int, message: str, boot: str = "b1", **more: str) -> str:
        return json.dumps(
            {"__REALTIME_TIMESTAMP": str(at * 1_000_000), "MESSAGE_ID": message, "_BOOT_ID": boot, **more}
        )

    lines = [
        entry(1, "39f53479d3a045ac8e11786248231fbf"),
        entry(
            5,
            "98e322203f7a4ed290d09fe03c09fe15",
            EXIT_CODE="killed",
            EXIT_STATUS="9",
            MESSAGE="x.service: Main process exited, code=killed, status=9/KILL",
        ),
        entry(5, "d9b373ed55a64feb8242e02dbe79a49c", UNIT_RESULT="signal"),
        entry(6, "5eb03494b6584870a536b337290809b3", N_RESTARTS="1"),
        entry(6, "9d1aaa27d60140bd96365438aad20286", JOB_TYPE="restart"),
        "cut off",
        entry(9, "d9b373ed55a64feb8242e02dbe79a49c", UNIT_RESULT="watchdog"),
        entry(20, "39f53479d3a045ac8e11786248231fbf", "b2"),
        entry(30, "9d1aaa27d60140bd96365438aad20286", "b2", JOB_TYPE="stop"),
    ]
    found = story.tell(unit_story.events(lines))
    assert [(one.at, one.text, one.good) for one in found] == [
        (1.0, "systemd has started it, and it was ready", True),
        (5.0, "the worker ended: killed by KILL", False),
        (6.0, "systemd starts it again (restart 1 in a row)", None),
        (9.0, "its main loop said nothing for too long, and it was ended", False),
        (20.0, "the machine was restarted", None),
        (20.0, "systemd has started it, and it was ready", True),
        (30.0, "everything of it has ended", None),
    ]
