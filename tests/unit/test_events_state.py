"""What is known of workers and tasks from their events: as Celery's own state has it, in whatever order they come."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from celery.events.state import State as CelerysState
from support.states import HOSTS, Story, feed, known

from multi.app.events import tracked
from multi.app.events.state import State


@pytest.mark.parametrize("seed", range(25))
def test_the_state_is_celerys_whatever_the_order_of_the_events(seed: int) -> None:
    story = Story(seed).tasks(40)
    late = sorted(story.events, key=lambda event: event["clock"] + story.random.random() * 12)
    shuffled = [*story.events]
    story.random.shuffle(shuffled)
    for events in (story.events, late, shuffled):
        theirs, ours = CelerysState(), State()
        feed(events, theirs, ours)
        assert known(ours) == known(theirs)
        theirs.rebuild_taskheap()
        ours.rebuild_taskheap()
        assert known(ours)["tasks"] == known(theirs)["tasks"]


def test_only_so_many_tasks_and_workers_are_kept_as_with_celery() -> None:
    events = Story(3).tasks(300).events
    theirs, ours = (kind(max_tasks_in_memory=20, max_workers_in_memory=4) for kind in (CelerysState, State))
    feed(events, theirs, ours)
    assert [*ours.tasks] == [*theirs.tasks]
    by_time = [uuid for uuid, _ in theirs.tasks_by_time()]
    assert [uuid for uuid, _ in ours.tasks_by_time()][: len(by_time)] == by_time
    indexed = {task.uuid for tasks in ours.tasks_by_type.values() for task in tasks}
    assert indexed == {task.uuid for tasks in ours.tasks_by_worker.values() for task in tasks} == {*ours.tasks}


def test_a_flood_is_forgotten_as_it_comes() -> None:
    state = State(max_tasks_in_memory=50, max_workers_in_memory=5)
    for number in range(300):
        call = {
            "uuid": f"t{number}",
            "name": f"n{number}",
            "parent_id": f"p{number}",
            "clock": number,
            "timestamp": 1.0,
        }
        state.event({"type": "task-received", "hostname": f"w{number}", "args": "x" * 70_000, **call})
        more = {f"field{number}-{place}": number for place in range(50)}
        state.event({"type": "task-note", "hostname": "w", **more, "big": [["x" * 70_000]] * 3, **call, "uuid": "same"})
        state.event({"type": "worker-heartbeat", "hostname": "w", "timestamp": 1.0, **more})
    assert len(state.tasks) == 50 and len(state.workers) == 5
    for index in (state.tasks_by_type, state.tasks_by_worker, state._children):
        assert sum(map(len, index.values())) <= 50
    assert len(state._taskheap) <= 50 * 4 * 1.25
    assert len(state.task_types()) == 50
    assert {len(task.args or "") for _, task in state.itertasks()} <= {0, tracked.LONGEST + 1}
    assert all(len(vars(task)) <= 130 for task in state.tasks.values())
    assert all(len(vars(worker)) <= 130 for worker in state.workers.values())


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": None},
        {"type": "task-received"},
        {"type": "task-received", "uuid": ["x"], "hostname": "w", "timestamp": 1.0, "clock": 1},
        {"type": "task-received", "uuid": "x", "hostname": None, "timestamp": 1.0, "clock": 1},
        {"type": "task-received", "uuid": "x", "hostname": "w", "timestamp": "now", "clock": 1},
        {"type": "task-received", "uuid": "x", "hostname": "w", "timestamp": 1.0, "clock": "late"},
        {"type": "worker-online", "hostname": "w"},
        {"type": "worker-online", "hostname": 5, "timestamp": 1.0},
    ],
)
def test_events_that_make_no_sense_are_counted_and_change_nothing(event: dict[str, Any]) -> None:
    state = State()
    assert state.event(event) is None
    assert (state.ignored, len(state.tasks), len(state.workers)) == (1, 0, 0)


def test_fields_of_strange_names_and_values_do_no_harm() -> None:
    state = State()
    for kind in ("task-received", "task-started"):
        strange = {
            "event": 1,
            "info": 2,
            "as_dict": 3,
            "state": "X",
            "worker": "y",
            "children": [1],
            "cluster_state": 4,
        }
        state.event({"type": kind, "uuid": "x", "hostname": "w", "timestamp": 1.0, "clock": 1, **strange})
    for freq in (0, "often", None, -1):
        state.event({"type": "worker-heartbeat", "hostname": "w", "timestamp": time.time(), "freq": freq, "event": 1})
    task = state.tasks["x"]
    assert task.state == "STARTED" and task.worker is state.workers["w"] and task.as_dict()["children"] == []
    assert state.workers["w"].alive and state.workers["w"].freq == 60


def test_workers_join_leave_and_fall_silent() -> None:
    told: list[tuple[str, str]] = []
    state = State(
        on_node_join=lambda worker: told.append(("join", worker.hostname)),
        on_node_leave=lambda worker: told.append(("leave", worker.hostname)),
    )
    now = time.time()
    for kind, received in (
        ("online", now),
        ("heartbeat", now),
        ("offline", now),
        ("offline", now),
        ("heartbeat", now - 5),
    ):
        state.event(
            {"type": f"worker-{kind}", "hostname": "w", "timestamp": received, "local_received": received, "freq": 2.0}
        )
    assert told == [("join", "w"), ("leave", "w"), ("leave", "w"), ("join", "w")]
    assert not state.workers["w"].alive, "it was heard more than twice two seconds ago"
    assert state.workers["w"].status_string == "OFFLINE" and [*state.alive_workers()] == []


def test_a_worker_of_which_a_task_is_heard_is_alive_by_our_clock() -> None:
    state = State()
    for host, moment in (("ahead", time.time() + 7200), ("behind", time.time() - 7200)):
        state.event({"type": "task-started", "uuid": host, "hostname": host, "timestamp": moment, "clock": 1})
    assert {worker.hostname for worker in state.alive_workers()} == {"ahead", "behind"}
    assert state.workers["ahead"].heartbeats[-1] <= time.time()


def test_groups_of_ones_own_have_their_handlers_and_the_callback_sees_all() -> None:
    seen: list[str] = []
    state = State(callback=lambda state, event: seen.append(event["type"]))
    state.handlers["order"] = lambda subject, event: event["sum"]
    paid: Any = state.event({"type": "order-paid", "sum": 5})
    assert paid == (5, "paid")
    assert state.event({"type": "other-thing"}) is None
    fields = {"uuid": "x", "hostname": "w", "timestamp": 1.0, "clock": 1}
    assert state.task_event("received", fields) == (state.tasks["x"], True)
    assert state.worker_event("heartbeat", fields) == (state.workers["w"], False)
    assert seen == ["order-paid", "other-thing", "task-received", "worker-heartbeat"]


def test_who_looks_while_nothing_changes_may_use_the_state_and_clear_it() -> None:
    state = State()
    feed(Story(1).tasks(30).events, state)
    unfinished = {uuid for uuid, task in state.itertasks() if not task.ready}
    looked = state.freeze_while(lambda least: len([*state.itertasks()]) > least, 5, clear_after=True)
    assert looked is True
    assert {*state.tasks} == unfinished and not state.workers and state.event_count == 0
    state.clear(ready=False)
    assert not state.tasks and not state.tasks_by_type and not state.tasks_by_worker


def test_a_state_can_be_pickled() -> None:
    state = State(max_tasks_in_memory=77)
    feed(Story(1).tasks(30).events, state)
    again = pickle.loads(pickle.dumps(state))
    assert {uuid: task.as_dict() | {"worker": str(task.worker)} for uuid, task in again.tasks.items()} == {
        uuid: task.as_dict() | {"worker": str(task.worker)} for uuid, task in state.tasks.items()
    }
    assert again.max_tasks_in_memory == 77
    assert {*again.tasks_by_worker} == {*state.tasks_by_worker}
    feed(Story(2).tasks(5).events, again)


def test_limits_count_tasks() -> None:
    state = State()
    feed(Story(1).tasks(30).events, state)
    assert len([*state.tasks_by_time(limit=7)]) == len([*state.itertasks(limit=7)]) == 7
    worker = HOSTS[0]
    listed = [task for _, task in state.tasks_by_worker(worker, limit=2)]
    assert len(listed) == 2 and {task.worker.hostname for task in listed if task.worker} == {worker}
    assert set(listed) <= state.tasks_by_worker[worker]
    assert not state.tasks_by_type["unheard of"] and "unheard of" not in state.tasks_by_type
    assert state.get_or_create_worker("new", active=3)[0].active == 3
    assert state.get_or_create_task("new") == (state.tasks["new"], True)
