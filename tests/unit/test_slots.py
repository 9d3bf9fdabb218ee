"""The memory that a child and its worker share."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest

from multi.brokers.base import Settlement
from multi.store import Store
from multi.worker.slots import CLAIMED, DONE, FREE, RUNNING, SENDING, Slot


@pytest.fixture
def slot() -> Iterator[Slot]:
    slot = Slot(4)
    yield slot
    slot.close()


def claim(slot: Slot, *indices: int) -> None:
    for index in indices:
        slot.put(index, f"tag{index}", f"fence{index}", "celery", "t.add")


def outcome(index: int, **fields: object) -> Settlement:
    return Settlement(f"tag{index}", f"fence{index}", "celery", **fields)  # type: ignore[arg-type]


def test_an_entry_goes_from_claimed_to_running_to_done_to_free(slot: Slot) -> None:
    claim(slot, 0)
    assert slot.states() == bytes([CLAIMED, FREE, FREE, FREE])
    assert slot.start(0, monotonic(), None, None)
    assert slot.states()[0] == RUNNING
    assert slot.finish(0, outcome(0))
    assert slot.states()[0] == DONE
    assert slot.send([0]) == [0]
    assert slot.states()[0] == SENDING
    slot.free([0])
    assert slot.states()[0] == FREE


def test_what_the_worker_has_taken_can_not_be_started(slot: Slot) -> None:
    claim(slot, 0, 1, 2)
    assert slot.start(0, monotonic(), None, None)
    taken = slot.take(unstarted=True, done=True)
    assert [(each.tag, each.verb, each.started) for each in taken] == [
        ("tag1", "requeue", False),
        ("tag2", "requeue", False),
    ]
    assert not slot.start(1, monotonic(), None, None)
    assert slot.states()[0] == RUNNING


def test_a_finished_outcome_is_taken_over_whole(slot: Slot) -> None:
    claim(slot, 0, 1)
    slot.start(0, monotonic(), None, None)
    told = outcome(0, stores=[Store("key", b"value", 60)], reason="why")
    slot.finish(0, told)
    slot.start(1, monotonic(), None, None)
    assert slot.take(unstarted=True, done=True) == [told]
    assert slot.send([0]) == []


def test_what_the_child_is_sending_is_left_to_it_while_it_lives(slot: Slot) -> None:
    claim(slot, 0)
    slot.start(0, monotonic(), None, None)
    slot.finish(0, outcome(0))
    slot.send([0])
    assert slot.take(unstarted=True, done=True) == []
    settlements, running = slot.inherit()
    assert settlements == [outcome(0)]
    assert running == []


def test_a_dead_child_leaves_outcomes_claims_and_runs(slot: Slot) -> None:
    claim(slot, 0, 1, 2)
    slot.start(0, monotonic(), None, None)
    slot.finish(0, outcome(0))
    slot.start(1, monotonic(), None, None)
    settlements, running = slot.inherit()
    assert settlements == [outcome(0), outcome(2, verb="requeue", started=False)]
    assert [(held.tag, held.fence, held.task) for held in running] == [("tag1", "fence1", "t.add")]
    assert slot.states() == bytes(4)


def test_a_child_that_died_holding_the_lock_is_inherited_all_the_same(slot: Slot) -> None:
    claim(slot, 0)
    slot._lock.acquire()
    assert slot.take(unstarted=True, done=True) == []
    settlements, _ = slot.inherit()
    assert [each.tag for each in settlements] == ["tag0"]


def test_an_outcome_too_large_for_the_memory_is_refused(slot: Slot) -> None:
    claim(slot, 0)
    slot.start(0, monotonic(), None, None)
    large = outcome(0, stores=[Store("key", bytes(300_000), 60)])
    assert not slot.finish(0, large)
    # the child sends it by itself; should it die meanwhile, the message is given out again
    slot.send([0])
    settlements, _ = slot.inherit()
    assert settlements == [outcome(0, verb="requeue", started=True)]


def test_the_room_of_outcomes_is_used_again(slot: Slot) -> None:
    for _ in range(10):
        claim(slot, 0)
        slot.start(0, monotonic(), None, None)
        assert slot.finish(0, outcome(0, stores=[Store("key", bytes(200_000), 60)]))
        slot.free(slot.send([0]))
        slot.rewind()


def test_limits_are_told_as_deadlines(slot: Slot) -> None:
    claim(slot, 0)
    slot.start(0, 100.0, 1.5, 2.0)
    assert slot.deadlines(0) == (101.5, 102.0)
    slot.free([0])
    claim(slot, 0)
    slot.start(0, 100.0, None, None)
    assert slot.deadlines(0) == (0.0, 0.0)


def test_names_of_any_length_fit(slot: Slot) -> None:
    slot.put(0, "t" * 40, "f" * 40, "q" * 255, "task." + "x" * 1000)
    held = slot.held()[0]
    assert (held.tag, held.queue, held.task[:5]) == ("t" * 40, "q" * 255, "task.")
